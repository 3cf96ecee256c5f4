"""Configuration keys, templates."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "stations_next_password",
        sa.Column("charger_id", sa.String(length=48), nullable=False),
        sa.Column("password_hash", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["charger_id"],
            ["stations_charger.id"],
            name=op.f("fk_stations_next_password_charger_id"),
            onupdate="CASCADE",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("charger_id", "password_hash", name=op.f("pk_stations_next_password")),
    )
    op.create_table(
        "fleet_configuration_key",
        sa.Column("charger_id", sa.String(length=48), nullable=False),
        sa.Column("folded", sa.String(length=100), nullable=False),
        sa.Column("key", sa.String(length=100), nullable=False),
        sa.Column("value", sa.Text(), nullable=True),
        sa.Column("readonly", sa.Boolean(), nullable=True),
        sa.Column("supported", sa.Boolean(), server_default="true", nullable=False),
        sa.Column("read_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("read_by", sa.String(length=40), nullable=True),
        sa.Column("asked_value", sa.Text(), nullable=True),
        sa.Column("asked_status", sa.String(length=40), nullable=True),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("tries", sa.Integer(), server_default="0", nullable=False),
        sa.Column("tried_value", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["charger_id"],
            ["stations_charger.id"],
            name=op.f("fk_fleet_configuration_key_charger_id"),
            onupdate="CASCADE",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("charger_id", "folded", name=op.f("pk_fleet_configuration_key")),
    )
    op.create_table(
        "fleet_configuration_change",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("charger_id", sa.String(length=48), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("key", sa.String(length=100), nullable=False),
        sa.Column("from_value", sa.Text(), nullable=True),
        sa.Column("to_value", sa.Text(), nullable=True),
        sa.Column("command", sa.String(length=40), nullable=False),
        sa.Column("status", sa.String(length=40), nullable=True),
        sa.ForeignKeyConstraint(
            ["charger_id"],
            ["stations_charger.id"],
            name=op.f("fk_fleet_configuration_change_charger_id"),
            onupdate="CASCADE",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fleet_configuration_change")),
    )
    op.create_index(
        "ix_fleet_configuration_change_charger", "fleet_configuration_change", ["charger_id", "id"]
    )
    op.create_index(
        "ix_fleet_configuration_change_age", "fleet_configuration_change", ["at"], postgresql_using="brin"
    )
    op.create_table(
        "fleet_configuration_template",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("backoffice_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("keys", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("everywhere", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["backoffice_id"],
            ["accounts_backoffice.id"],
            name=op.f("fk_fleet_configuration_template_backoffice_id"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fleet_configuration_template")),
    )
    op.create_index(
        "uq_fleet_configuration_template_name",
        "fleet_configuration_template",
        ["backoffice_id", sa.literal_column("lower(name)")],
        unique=True,
    )
    op.create_index(
        "uq_fleet_configuration_template_everywhere",
        "fleet_configuration_template",
        ["backoffice_id"],
        unique=True,
        postgresql_where=sa.text("everywhere"),
    )
    op.create_table(
        "fleet_configuration_station",
        sa.Column("station_id", sa.Uuid(), nullable=False),
        sa.Column("template_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["station_id"],
            ["stations_station.id"],
            name=op.f("fk_fleet_configuration_station_station_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["template_id"],
            ["fleet_configuration_template.id"],
            name=op.f("fk_fleet_configuration_station_template_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("station_id", name=op.f("pk_fleet_configuration_station")),
    )
    op.create_index(
        op.f("ix_fleet_configuration_station_template_id"), "fleet_configuration_station", ["template_id"]
    )
    op.create_table(
        "fleet_configuration_turn",
        sa.Column("charger_id", sa.String(length=48), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("claimed_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("ending", sa.String(length=20), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["charger_id"],
            ["stations_charger.id"],
            name=op.f("fk_fleet_configuration_turn_charger_id"),
            onupdate="CASCADE",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("charger_id", name=op.f("pk_fleet_configuration_turn")),
    )
    op.create_index(
        "ix_fleet_configuration_turn_due",
        "fleet_configuration_turn",
        ["due_at"],
        postgresql_where=sa.text("due_at IS NOT NULL"),
    )
