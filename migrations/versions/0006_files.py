"""Files, firmware, diagnostics."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def moment(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def of_charger(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["charger_id"],
        ["stations_charger.id"],
        name=op.f(f"fk_{table}_charger_id_stations_charger"),
        onupdate="CASCADE",
        ondelete="CASCADE",
    )


def upgrade() -> None:
    files()
    links()
    firmware()
    diagnostics()


def files() -> None:
    op.create_table(
        "core_file",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=True),
        sa.Column("name", sa.String(length=200), server_default="", nullable=False),
        sa.Column("size", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=True),
        moment("created_at"),
        moment("kept_at", nullable=True),
        moment("dropped_at", nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_core_file")),
    )
    op.create_index(
        "ix_core_file_sweep",
        "core_file",
        ["created_at"],
        postgresql_where=sa.text("kept_at IS NULL OR dropped_at IS NOT NULL"),
    )


def links() -> None:
    op.create_table(
        "core_file_link",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("file_id", sa.Uuid(), nullable=False),
        moment("until"),
        moment("ended_at", nullable=True),
        sa.ForeignKeyConstraint(
            ["file_id"],
            ["core_file.id"],
            name=op.f("fk_core_file_link_file_id_core_file"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_core_file_link")),
    )
    op.create_index("ix_core_file_link_file", "core_file_link", ["file_id"])
    op.create_index("ix_core_file_link_until", "core_file_link", ["until"])


def firmware() -> None:
    op.create_table(
        "fleet_firmware",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("backoffice_id", sa.Uuid(), nullable=True),
        sa.Column("vendor", sa.String(length=50), nullable=False),
        sa.Column("model", sa.String(length=50), nullable=True),
        sa.Column("version", sa.String(length=50), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("file_id", sa.Uuid(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        moment("created_at"),
        sa.ForeignKeyConstraint(
            ["backoffice_id"],
            ["accounts_backoffice.id"],
            name=op.f("fk_fleet_firmware_backoffice_id_accounts_backoffice"),
        ),
        sa.ForeignKeyConstraint(
            ["file_id"], ["core_file.id"], name=op.f("fk_fleet_firmware_file_id_core_file")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fleet_firmware")),
    )
    op.create_index(
        "uq_fleet_firmware",
        "fleet_firmware",
        ["backoffice_id", sa.text("lower(vendor)"), sa.text("lower(model)"), sa.text("lower(version)")],
        unique=True,
        postgresql_nulls_not_distinct=True,
    )
    table = "fleet_firmware_update"
    op.create_table(
        table,
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("charger_id", sa.String(length=48), nullable=False),
        sa.Column("request_id", sa.Integer(), nullable=False),
        sa.Column("firmware_id", sa.Uuid(), nullable=True),
        sa.Column("link_id", sa.Uuid(), nullable=True),
        sa.Column("location", sa.String(length=512), nullable=True),
        sa.Column("version", sa.String(length=50), nullable=True),
        sa.Column("signed", sa.Boolean(), nullable=False),
        moment("retrieve_at"),
        moment("install_at", nullable=True),
        sa.Column("retries", sa.Integer(), nullable=True),
        sa.Column("retry_interval", sa.Integer(), nullable=True),
        sa.Column("patience_seconds", sa.Integer(), nullable=False),
        sa.Column("by_campaign", sa.Boolean(), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("status", sa.String(length=40), nullable=True),
        sa.Column("detail", sa.String(length=500), server_default="", nullable=False),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("version_before", sa.String(length=50), nullable=True),
        sa.Column("version_after", sa.String(length=50), nullable=True),
        sa.Column("confirmed", sa.Boolean(), nullable=True),
        moment("created_at"),
        moment("updated_at"),
        moment("deadline_at"),
        moment("ended_at", nullable=True),
        of_charger(table),
        sa.ForeignKeyConstraint(
            ["firmware_id"],
            ["fleet_firmware.id"],
            name=op.f("fk_fleet_firmware_update_firmware_id_fleet_firmware"),
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(
            ["link_id"],
            ["core_file_link.id"],
            name=op.f("fk_fleet_firmware_update_link_id_core_file_link"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fleet_firmware_update")),
        sa.UniqueConstraint("charger_id", "request_id", name="uq_fleet_firmware_update_request"),
    )
    still_open = sa.text("ended_at IS NULL")
    op.create_index(
        "uq_fleet_firmware_update_open", table, ["charger_id"], unique=True, postgresql_where=still_open
    )
    op.create_index("ix_fleet_firmware_update_charger", table, ["charger_id", "created_at", "id"])
    op.create_index("ix_fleet_firmware_update_time", table, ["created_at", "id"])
    op.create_index("ix_fleet_firmware_update_image", table, ["firmware_id"])
    op.create_index("ix_fleet_firmware_update_link", table, ["link_id"])
    op.create_index("ix_fleet_firmware_update_deadline", table, ["deadline_at"], postgresql_where=still_open)
    events("fleet_firmware_event", "update_id", table)


def diagnostics() -> None:
    table = "fleet_diagnostics"
    op.create_table(
        table,
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("charger_id", sa.String(length=48), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("request_id", sa.Integer(), nullable=True),
        sa.Column("location", sa.String(length=512), nullable=True),
        moment("since", nullable=True),
        moment("until", nullable=True),
        sa.Column("retries", sa.Integer(), nullable=True),
        sa.Column("retry_interval", sa.Integer(), nullable=True),
        sa.Column("patience_seconds", sa.Integer(), nullable=False),
        sa.Column("by_campaign", sa.Boolean(), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("status", sa.String(length=40), nullable=True),
        sa.Column("detail", sa.String(length=500), server_default="", nullable=False),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("file_name", sa.String(length=255), nullable=True),
        sa.Column("file_id", sa.Uuid(), nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=True),
        sa.Column("sha256", sa.String(length=64), nullable=True),
        moment("created_at"),
        moment("updated_at"),
        moment("deadline_at"),
        moment("received_at", nullable=True),
        moment("ended_at", nullable=True),
        of_charger(table),
        sa.ForeignKeyConstraint(
            ["file_id"],
            ["core_file.id"],
            name=op.f("fk_fleet_diagnostics_file_id_core_file"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fleet_diagnostics")),
        sa.UniqueConstraint("charger_id", "request_id", name="uq_fleet_diagnostics_request"),
    )
    op.create_index("ix_fleet_diagnostics_charger", table, ["charger_id", "created_at", "id"])
    op.create_index("ix_fleet_diagnostics_time", table, ["created_at", "id"])
    op.create_index("ix_fleet_diagnostics_file", table, ["file_id"])
    op.create_index(
        "ix_fleet_diagnostics_deadline",
        table,
        ["deadline_at"],
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    events("fleet_diagnostics_event", "job_id", table)


def events(table: str, owner: str, owners: str) -> None:
    op.create_table(
        table,
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column(owner, sa.Uuid(), nullable=False),
        moment("at"),
        moment("last_at"),
        sa.Column("status", sa.String(length=40), nullable=False),
        sa.Column("detail", sa.String(length=500), server_default="", nullable=False),
        sa.Column("times", sa.Integer(), server_default="1", nullable=False),
        sa.ForeignKeyConstraint(
            [owner], [f"{owners}.id"], name=op.f(f"fk_{table}_{owner}_{owners}"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{table}")),
    )
    op.create_index(f"ix_{table}_{owner.removesuffix('_id')}", table, [owner, "id"])
