"""Work on many chargers."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "fleet_campaign",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("backoffice_id", sa.Uuid(), nullable=True),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("parameters", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("selection", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("at_once", sa.Integer(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("retry_seconds", sa.Integer(), nullable=False),
        sa.Column("stop_at_error_percent", sa.Integer(), nullable=True),
        sa.Column("stop_after_items", sa.Integer(), nullable=False),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("judged_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.Uuid(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("state_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("at_once > 0", name=op.f("ck_fleet_campaign_at_once")),
        sa.ForeignKeyConstraint(
            ["backoffice_id"],
            ["accounts_backoffice.id"],
            name=op.f("fk_fleet_campaign_backoffice_id_accounts_backoffice"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fleet_campaign")),
    )
    op.create_index(op.f("ix_fleet_campaign_backoffice_id"), "fleet_campaign", ["backoffice_id"])
    op.create_index(
        "ix_fleet_campaign_created", "fleet_campaign", [sa.text("created_at DESC"), sa.text("id DESC")]
    )
    op.create_index(
        "ix_fleet_campaign_running",
        "fleet_campaign",
        ["id"],
        postgresql_where=sa.text("state = 'Running'"),
    )
    op.create_table(
        "fleet_campaign_item",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("campaign_id", sa.Uuid(), nullable=False),
        sa.Column("charger_id", sa.String(length=48), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("tries", sa.Integer(), server_default="0", nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("lease", sa.Uuid(), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("wait_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("begun_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("evidence", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("told", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.ForeignKeyConstraint(
            ["campaign_id"],
            ["fleet_campaign.id"],
            name=op.f("fk_fleet_campaign_item_campaign_id_fleet_campaign"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["charger_id"],
            ["stations_charger.id"],
            name=op.f("fk_fleet_campaign_item_charger_id_stations_charger"),
            onupdate="CASCADE",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fleet_campaign_item")),
        sa.UniqueConstraint(
            "campaign_id", "charger_id", name=op.f("uq_fleet_campaign_item_campaign_id_charger_id")
        ),
        postgresql_with={"fillfactor": "80"},
    )
    op.create_index(
        "uq_fleet_campaign_item_at_work",
        "fleet_campaign_item",
        ["charger_id", "kind"],
        unique=True,
        postgresql_where=sa.text("state IN ('Running', 'Waiting')"),
    )
    op.create_index("ix_fleet_campaign_item_state", "fleet_campaign_item", ["campaign_id", "state"])
    op.create_index(
        "ix_fleet_campaign_item_queue",
        "fleet_campaign_item",
        ["campaign_id", "id"],
        postgresql_where=sa.text("state = 'Queued'"),
    )
    op.create_index(
        "ix_fleet_campaign_item_open",
        "fleet_campaign_item",
        ["charger_id"],
        postgresql_where=sa.text("state IN ('Queued', 'Away')"),
    )
    op.create_index("ix_fleet_campaign_item_charger", "fleet_campaign_item", ["charger_id"])
