"""API keys."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "accounts_api_key",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("backoffice_id", sa.Uuid(), nullable=True),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("begins_with", sa.String(length=12), nullable=False),
        sa.Column("key_hash", sa.String(length=64), nullable=False),
        sa.Column("permissions", postgresql.ARRAY(sa.String(length=60)), nullable=False),
        sa.Column(
            "station_ids",
            postgresql.ARRAY(postgresql.UUID(as_uuid=True)),
            server_default=sa.text("'{}'"),
            nullable=False,
        ),
        sa.Column("created_by", sa.Uuid(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["backoffice_id"], ["accounts_backoffice.id"], name=op.f("fk_accounts_api_key_backoffice_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_accounts_api_key")),
    )
    table = "accounts_api_key"
    op.create_index("uq_accounts_api_key_hash", table, ["key_hash"], unique=True)
    op.create_index("ix_accounts_api_key_backoffice_id", table, ["backoffice_id"])
    op.create_index("ix_accounts_api_key_created", table, [sa.text("created_at DESC"), sa.text("id DESC")])
