"""When a charger accepted to stop a session: one that does not keep its word is overruled later."""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "charging_session", sa.Column("stop_accepted_at", sa.DateTime(timezone=True), nullable=True)
    )
