"""A person who was forgotten has a row without a key, and never gets another one."""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.alter_column("accounts_person_key", "wrapped", existing_type=sa.LargeBinary(), nullable=True)
