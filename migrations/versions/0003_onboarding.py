"""Chargers that nobody registered, and free vend."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "stations_charger", sa.Column("free_vend", sa.Boolean(), server_default="false", nullable=False)
    )
    op.add_column(
        "stations_charger", sa.Column("unregistered_since", sa.DateTime(timezone=True), nullable=True)
    )
    op.add_column("stations_charger", sa.Column("unregistered_from", sa.String(length=64), nullable=True))
    op.create_index(
        "ix_stations_charger_unregistered",
        "stations_charger",
        ["unregistered_from"],
        postgresql_where=sa.text("unregistered_since IS NOT NULL"),
    )
