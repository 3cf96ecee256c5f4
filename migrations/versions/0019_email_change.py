"""Links by which an e-mail address is changed."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("accounts_mailed_token", sa.Column("session_id", sa.Uuid(), nullable=True))
