"""Cards that staff has stopped, and which business is asked to approve one."""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("accounts_token", sa.Column("stopped_as", sa.String(length=20), nullable=True))
    op.add_column("accounts_token", sa.Column("approver_id", sa.Uuid(), nullable=True))
    op.create_foreign_key(
        op.f("fk_accounts_token_approver_id"),
        "accounts_token",
        "accounts_backoffice",
        ["approver_id"],
        ["id"],
    )
    op.create_index("ix_accounts_token_approver_id", "accounts_token", ["approver_id"])
    op.execute(
        "UPDATE accounts_token SET stopped_as = status"
        " WHERE driver_id IS NOT NULL AND card_status = 'Active' AND status <> 'Accepted'"
    )
