"""Charging profiles."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "energy_profile",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), sa.Identity(always=False, start=1_000), nullable=False),
        sa.Column("backoffice_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("profile", postgresql.JSONB(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["backoffice_id"], ["accounts_backoffice.id"], name=op.f("fk_energy_profile_backoffice_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_energy_profile")),
    )
    op.create_index(
        "uq_energy_profile_name", "energy_profile", ["backoffice_id", sa.text("lower(name)")], unique=True
    )
    op.create_index("uq_energy_profile_number", "energy_profile", ["number"], unique=True)
    op.create_table(
        "energy_installed_profile",
        sa.Column("charger_id", sa.String(length=48), nullable=False),
        sa.Column("charging_profile_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("connector_id", sa.Integer(), nullable=True),
        sa.Column("purpose", sa.String(length=30), nullable=False),
        sa.Column("stack_level", sa.Integer(), nullable=False),
        sa.Column("transaction_id", sa.Integer(), nullable=True),
        sa.Column("profile", postgresql.JSONB(), nullable=False),
        sa.Column("profile_id", sa.Uuid(), nullable=True),
        sa.Column("told_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["charger_id"],
            ["stations_charger.id"],
            name=op.f("fk_energy_installed_profile_charger_id"),
            onupdate="CASCADE",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["profile_id"],
            ["energy_profile.id"],
            name=op.f("fk_energy_installed_profile_profile_id"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint(
            "charger_id", "charging_profile_id", name=op.f("pk_energy_installed_profile")
        ),
    )
    op.create_index(
        "ix_energy_installed_profile_place",
        "energy_installed_profile",
        ["charger_id", "connector_id", "purpose", "stack_level"],
    )
    op.create_index("ix_energy_installed_profile_profile_id", "energy_installed_profile", ["profile_id"])
