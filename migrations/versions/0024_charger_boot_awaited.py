"""Which chargers were adopted and have not booted since: they are asked to."""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "stations_charger",
        sa.Column("boot_awaited", sa.Boolean(), nullable=False, server_default=sa.text("false")),
    )
