"""Since when a charger is its business's: what it said before is not for that business."""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("stations_charger", sa.Column("owned_since", sa.DateTime(timezone=True), nullable=True))
    op.execute("UPDATE stations_charger SET owned_since = created_at")
