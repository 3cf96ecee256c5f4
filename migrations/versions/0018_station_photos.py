"""Photos of stations that are stored here."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("stations_station", sa.Column("photo_id", sa.Uuid(), nullable=True))
    op.create_foreign_key(
        op.f("fk_stations_station_photo_id_core_file"),
        "stations_station",
        "core_file",
        ["photo_id"],
        ["id"],
        ondelete="SET NULL",
    )
    op.create_index(op.f("ix_stations_station_photo_id"), "stations_station", ["photo_id"])
