"""Guesses, counted over all processes."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "accounts_sign_in_attempts",
        sa.Column("pair", sa.LargeBinary(length=32), nullable=False),
        sa.Column("begun", sa.ARRAY(sa.DateTime(timezone=True)), nullable=False),
        sa.Column("waits", sa.Integer(), server_default="0", nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("over_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("pair", name=op.f("pk_accounts_sign_in_attempts")),
    )
    op.create_index("ix_accounts_sign_in_attempts_over_at", "accounts_sign_in_attempts", ["over_at"])
