"""Several server processes."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "core_process",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("shares", sa.Boolean(), nullable=False),
        sa.Column("lease_seconds", sa.Double(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_core_process")),
    )
    op.add_column("gateway_connection", sa.Column("process_id", sa.Uuid(), nullable=True))
    op.create_index(
        "ix_gateway_connection_process",
        "gateway_connection",
        ["process_id"],
        postgresql_where=sa.text("closed_at IS NULL"),
    )
    op.add_column("stations_charger", sa.Column("presence_since", sa.DateTime(timezone=True), nullable=True))
