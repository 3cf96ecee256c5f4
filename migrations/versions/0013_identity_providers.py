"""Sign-in by other providers."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "accounts_identity_provider",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("issuer", sa.String(length=500), nullable=False),
        sa.Column("client_id", sa.String(length=255), nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=True),
        sa.Column("scopes", sa.String(length=300), nullable=False),
        sa.Column(
            "role_rules",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'[]'"),
            nullable=False,
        ),
        sa.Column("allow_system_admin", sa.Boolean(), nullable=False),
        sa.Column("backoffice_id", sa.Uuid(), nullable=True),
        sa.Column("make_users", sa.Boolean(), nullable=False),
        sa.Column("require_verified_email", sa.Boolean(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["backoffice_id"],
            ["accounts_backoffice.id"],
            name=op.f("fk_accounts_identity_provider_backoffice_id"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_accounts_identity_provider")),
    )
    op.create_index(
        "uq_accounts_identity_provider_name",
        "accounts_identity_provider",
        [sa.literal_column("lower(name)")],
        unique=True,
    )
    op.create_index(
        op.f("ix_accounts_identity_provider_backoffice_id"), "accounts_identity_provider", ["backoffice_id"]
    )
    op.create_table(
        "accounts_identity",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("provider_id", sa.Uuid(), nullable=True),
        sa.Column("issuer", sa.String(length=500), nullable=False),
        sa.Column("subject", sa.String(length=255), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("email", sa.String(length=254), nullable=True),
        sa.Column("made", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("last_login_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["provider_id"],
            ["accounts_identity_provider.id"],
            name=op.f("fk_accounts_identity_provider_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["accounts_user.id"], name=op.f("fk_accounts_identity_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_accounts_identity")),
    )
    op.create_index(
        "uq_accounts_identity_subject",
        "accounts_identity",
        ["provider_id", "issuer", "subject"],
        unique=True,
        postgresql_nulls_not_distinct=True,
    )
    op.create_index(op.f("ix_accounts_identity_user_id"), "accounts_identity", ["user_id"])
    op.create_table(
        "accounts_identity_handover",
        sa.Column("code_hash", sa.String(length=64), nullable=False),
        sa.Column("challenge", sa.String(length=43), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("provider_id", sa.Uuid(), nullable=False),
        sa.Column("issuer", sa.String(length=500), nullable=False),
        sa.Column("subject", sa.String(length=255), nullable=False),
        sa.Column("email", sa.String(length=254), nullable=True),
        sa.ForeignKeyConstraint(
            ["provider_id"],
            ["accounts_identity_provider.id"],
            name=op.f("fk_accounts_identity_handover_provider_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["accounts_user.id"],
            name=op.f("fk_accounts_identity_handover_user_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("code_hash", name=op.f("pk_accounts_identity_handover")),
    )
    op.create_index(
        op.f("ix_accounts_identity_handover_expires_at"), "accounts_identity_handover", ["expires_at"]
    )
    op.create_table(
        "accounts_used_sign_in",
        sa.Column("state_hash", sa.String(length=64), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("state_hash", name=op.f("pk_accounts_used_sign_in")),
    )
    op.create_index(op.f("ix_accounts_used_sign_in_expires_at"), "accounts_used_sign_in", ["expires_at"])
