"""Export and erasure of personal data."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    table = "accounts_personal_data"
    op.create_table(
        table,
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("parts", sa.ARRAY(sa.String(length=40)), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("detail", sa.String(length=300), nullable=True),
        sa.Column("asked_by", sa.Uuid(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("file_id", sa.Uuid(), nullable=True),
        sa.Column("link_id", sa.Uuid(), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["user_id"], ["accounts_user.id"], name=op.f("fk_accounts_personal_data_user_id")
        ),
        sa.ForeignKeyConstraint(
            ["file_id"],
            ["core_file.id"],
            name=op.f("fk_accounts_personal_data_file_id"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_accounts_personal_data")),
    )
    op.create_index(
        "ix_accounts_personal_data_created", table, [sa.text("created_at DESC"), sa.text("id DESC")]
    )
    op.create_index("ix_accounts_personal_data_user_id", table, ["user_id"])
    op.create_index(
        "uq_accounts_personal_data_open",
        table,
        ["user_id", "kind"],
        unique=True,
        postgresql_where=sa.text("ended_at IS NULL"),
    )
