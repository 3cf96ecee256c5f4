"""What chargers were seen to do."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "stations_observation",
        sa.Column("charger_id", sa.String(length=48), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("first_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("examples", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.ForeignKeyConstraint(
            ["charger_id"],
            ["stations_charger.id"],
            name=op.f("fk_stations_observation_charger_id"),
            onupdate="CASCADE",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("charger_id", "kind", "day", name=op.f("pk_stations_observation")),
    )
    op.create_index("ix_stations_observation_last", "stations_observation", ["last_at"])
    op.create_index("ix_gateway_refusal_charger", "gateway_refusal", ["charger_id", "at"])
    op.create_index(
        "ix_gateway_message_fault",
        "gateway_message",
        ["charger_id", "received_at"],
        postgresql_where=sa.text("error_code IS NOT NULL"),
    )
    op.create_index(
        "ix_charging_session_ruled",
        "charging_session",
        ["closed_at"],
        postgresql_where=sa.text("closed_by = 'rule'"),
    )
    op.create_index("ix_charging_session_age", "charging_session", ["received_at"], postgresql_using="brin")
