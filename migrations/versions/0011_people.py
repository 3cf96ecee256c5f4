"""Businesses, users, drivers, invites."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name, kind in (
        ("contact_name", sa.String(length=200)),
        ("contact_email", sa.String(length=254)),
        ("contact_phone", sa.String(length=40)),
        ("decided_at", sa.DateTime(timezone=True)),
        ("rejection_reason", sa.String(length=500)),
    ):
        op.add_column("accounts_backoffice", sa.Column(name, kind, nullable=True))
    op.add_column(
        "accounts_backoffice",
        sa.Column(
            "billing",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
        ),
    )
    op.drop_index("uq_accounts_backoffice_name", "accounts_backoffice")
    op.create_index(
        "uq_accounts_backoffice_name",
        "accounts_backoffice",
        [sa.literal_column("lower(name)")],
        unique=True,
        postgresql_where=sa.text("status = 'Active'"),
    )
    op.add_column("accounts_user", sa.Column("name", sa.String(length=200), nullable=True))
    op.add_column("accounts_user", sa.Column("phone", sa.String(length=40), nullable=True))
    op.add_column("accounts_user", sa.Column("email_verified_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column(
        "accounts_user",
        sa.Column("must_change_password", sa.Boolean(), server_default=sa.text("false"), nullable=False),
    )
    op.create_table(
        "accounts_driver",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("nic", sa.String(length=20), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["accounts_user.id"], name=op.f("fk_accounts_driver_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_accounts_driver")),
        sa.UniqueConstraint("nic", name=op.f("uq_accounts_driver_nic")),
    )
    op.create_table(
        "accounts_vehicle",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("driver_id", sa.Uuid(), nullable=False),
        sa.Column("plate", sa.String(length=20), nullable=False),
        sa.Column("model", sa.String(length=100), nullable=True),
        sa.Column("battery_kwh", sa.Numeric(precision=6, scale=2), nullable=True),
        sa.Column("connector", sa.String(length=40), nullable=True),
        sa.Column("max_kw", sa.Numeric(precision=6, scale=2), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["driver_id"],
            ["accounts_user.id"],
            name=op.f("fk_accounts_vehicle_driver_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_accounts_vehicle")),
    )
    op.create_index(
        "uq_accounts_vehicle_plate",
        "accounts_vehicle",
        ["driver_id", sa.literal_column("lower(plate)")],
        unique=True,
    )
    op.add_column("accounts_token", sa.Column("driver_id", sa.Uuid(), nullable=True))
    op.add_column("accounts_token", sa.Column("card_status", sa.String(length=10), nullable=True))
    op.add_column("accounts_token", sa.Column("label", sa.String(length=80), nullable=True))
    op.create_foreign_key(
        op.f("fk_accounts_token_driver_id"), "accounts_token", "accounts_user", ["driver_id"], ["id"]
    )
    op.create_index(op.f("ix_accounts_token_driver_id"), "accounts_token", ["driver_id"], unique=False)
    op.create_table(
        "accounts_mailed_token",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("purpose", sa.String(length=20), nullable=False),
        sa.Column("email", sa.String(length=254), nullable=False),
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["accounts_user.id"],
            name=op.f("fk_accounts_mailed_token_user_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_accounts_mailed_token")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_accounts_mailed_token_token_hash")),
    )
    op.create_index(
        "ix_accounts_mailed_token_user", "accounts_mailed_token", ["user_id", "purpose"], unique=False
    )
