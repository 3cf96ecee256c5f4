"""Local authorization lists."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "fleet_local_list_rule",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("backoffice_id", sa.Uuid(), nullable=False),
        sa.Column("station_id", sa.Uuid(), nullable=True),
        sa.Column("charger_id", sa.String(length=48), nullable=True),
        sa.Column("tags", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("keep_up_to_date", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "station_id IS NULL OR charger_id IS NULL", name=op.f("ck_fleet_local_list_rule_one_scope")
        ),
        sa.ForeignKeyConstraint(
            ["backoffice_id"],
            ["accounts_backoffice.id"],
            name=op.f("fk_fleet_local_list_rule_backoffice_id"),
        ),
        sa.ForeignKeyConstraint(
            ["station_id"],
            ["stations_station.id"],
            name=op.f("fk_fleet_local_list_rule_station_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["charger_id"],
            ["stations_charger.id"],
            name=op.f("fk_fleet_local_list_rule_charger_id"),
            onupdate="CASCADE",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fleet_local_list_rule")),
    )
    op.create_index(
        "uq_fleet_local_list_rule_scope",
        "fleet_local_list_rule",
        ["backoffice_id", "station_id", "charger_id"],
        unique=True,
        postgresql_nulls_not_distinct=True,
    )
    op.create_index("ix_fleet_local_list_rule_station_id", "fleet_local_list_rule", ["station_id"])
    op.create_index("ix_fleet_local_list_rule_charger_id", "fleet_local_list_rule", ["charger_id"])
    op.create_table(
        "fleet_local_list",
        sa.Column("charger_id", sa.String(length=48), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=True),
        sa.Column("entries", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("digest", sa.String(length=64), nullable=True),
        sa.Column("acknowledged_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reported_version", sa.BigInteger(), nullable=True),
        sa.Column("reported_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("highest_version", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("open_version", sa.BigInteger(), nullable=True),
        sa.Column("open_entries", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("ending", sa.String(length=20), nullable=True),
        sa.Column("detail", sa.Text(), server_default="", nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("tried", sa.String(length=64), nullable=True),
        sa.Column("claimed_until", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["charger_id"],
            ["stations_charger.id"],
            name=op.f("fk_fleet_local_list_charger_id"),
            onupdate="CASCADE",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("charger_id", name=op.f("pk_fleet_local_list")),
    )
