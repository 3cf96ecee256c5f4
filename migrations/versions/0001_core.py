"""Core: accounts, stations, sessions, the OCPP edge, alerts, the job queue."""

import sqlalchemy as sa
from alembic import op
from procrastinate.schema import SchemaManager
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "accounts_backoffice",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("time_zone", sa.String(length=64), nullable=False),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_accounts_backoffice")),
    )
    op.create_index(
        "uq_accounts_backoffice_name", "accounts_backoffice", [sa.literal_column("lower(name)")], unique=True
    )
    op.create_table(
        "charging_meter_value",
        sa.Column("charger_id", sa.String(length=48), nullable=False),
        sa.Column("connector_id", sa.Integer(), nullable=False),
        sa.Column("transaction_id", sa.Integer(), nullable=True),
        sa.Column("sampled_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("digest", sa.BigInteger(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("register_wh", sa.Numeric(precision=16, scale=3), nullable=True),
        sa.Column("power_w", sa.Double(), nullable=True),
        sa.Column("soc_percent", sa.Double(), nullable=True),
        sa.Column("sampled_values", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        postgresql_partition_by="RANGE (sampled_at)",
    )
    op.create_index(
        "uq_charging_meter_value",
        "charging_meter_value",
        ["charger_id", "connector_id", "transaction_id", "sampled_at", "digest"],
        unique=True,
        postgresql_nulls_not_distinct=True,
    )
    op.execute("CREATE SEQUENCE gateway_message_id_seq")
    op.create_table(
        "gateway_message",
        sa.Column(
            "id", sa.BigInteger(), server_default=sa.text("nextval('gateway_message_id_seq')"), nullable=False
        ),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("charger_id", sa.String(length=48), nullable=False),
        sa.Column("connection_id", sa.Uuid(), nullable=True),
        sa.Column("direction", sa.String(length=3), nullable=False),
        sa.Column("message_id", sa.String(length=36), nullable=True),
        sa.Column("action", sa.String(length=64), nullable=True),
        sa.Column("request", sa.Text(), nullable=False),
        sa.Column("response", sa.Text(), nullable=True),
        sa.Column("error_code", sa.String(length=40), nullable=True),
        sa.Column("note", sa.String(length=500), nullable=True),
        sa.Column("duration_ms", sa.Double(), nullable=True),
        postgresql_partition_by="RANGE (received_at)",
    )
    op.create_index(
        "ix_gateway_message_charger", "gateway_message", ["charger_id", "received_at", "id"], unique=False
    )
    op.create_index(
        "ix_gateway_message_error",
        "gateway_message",
        ["received_at", "id"],
        unique=False,
        postgresql_where=sa.text("error_code IS NOT NULL"),
    )
    op.create_index("ix_gateway_message_time", "gateway_message", ["received_at", "id"], unique=False)
    op.create_table(
        "gateway_refusal",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("charger_id", sa.String(length=64), nullable=False),
        sa.Column("backoffice_id", sa.Uuid(), nullable=True),
        sa.Column("station_id", sa.Uuid(), nullable=True),
        sa.Column("address", sa.String(length=64), nullable=True),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("reason", sa.String(length=60), nullable=False),
        sa.Column("detail", sa.String(length=300), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gateway_refusal")),
    )
    op.create_index("ix_gateway_refusal_at", "gateway_refusal", ["at"], unique=False)
    op.create_table(
        "accounts_token",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("backoffice_id", sa.Uuid(), nullable=True),
        sa.Column("id_tag", sa.String(length=20), nullable=False),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("parent_id_tag", sa.String(length=20), nullable=True),
        sa.Column("owner", sa.String(length=200), nullable=True),
        sa.Column("max_concurrent_sessions", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["backoffice_id"], ["accounts_backoffice.id"], name=op.f("fk_accounts_token_backoffice_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_accounts_token")),
    )
    op.create_index(
        op.f("ix_accounts_token_backoffice_id"), "accounts_token", ["backoffice_id"], unique=False
    )
    op.create_index(
        "uq_accounts_token_id_tag",
        "accounts_token",
        [sa.literal_column("lower(id_tag)"), "backoffice_id"],
        unique=True,
        postgresql_nulls_not_distinct=True,
    )
    op.create_table(
        "accounts_user",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("email", sa.String(length=254), nullable=False),
        sa.Column("password_hash", sa.String(length=255), nullable=True),
        sa.Column("role", sa.String(length=20), nullable=False),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("backoffice_id", sa.Uuid(), nullable=True),
        sa.Column(
            "operator_station_ids", sa.ARRAY(sa.UUID()), server_default=sa.text("'{}'"), nullable=False
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("last_login_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["backoffice_id"], ["accounts_backoffice.id"], name=op.f("fk_accounts_user_backoffice_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_accounts_user")),
    )
    op.create_index(op.f("ix_accounts_user_backoffice_id"), "accounts_user", ["backoffice_id"], unique=False)
    op.create_index(
        "uq_accounts_user_email", "accounts_user", [sa.literal_column("lower(email)")], unique=True
    )
    op.create_table(
        "stations_station",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("backoffice_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("address", sa.String(length=300), nullable=True),
        sa.Column("city", sa.String(length=120), nullable=True),
        sa.Column("country", sa.String(length=2), nullable=True),
        sa.Column("latitude", sa.Double(), nullable=True),
        sa.Column("longitude", sa.Double(), nullable=True),
        sa.Column("time_zone", sa.String(length=64), server_default="UTC", nullable=False),
        sa.Column(
            "amenities",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'[]'"),
            nullable=False,
        ),
        sa.Column("photo_url", sa.String(length=2000), nullable=True),
        sa.Column("opening_hours", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("support_phone", sa.String(length=40), nullable=True),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("latitude BETWEEN -90 AND 90", name=op.f("ck_stations_station_latitude")),
        sa.CheckConstraint("longitude BETWEEN -180 AND 180", name=op.f("ck_stations_station_longitude")),
        sa.ForeignKeyConstraint(
            ["backoffice_id"], ["accounts_backoffice.id"], name=op.f("fk_stations_station_backoffice_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_stations_station")),
        sa.UniqueConstraint("id", "backoffice_id", name=op.f("uq_stations_station_id_backoffice_id")),
    )
    op.create_index(
        op.f("ix_stations_station_backoffice_id"), "stations_station", ["backoffice_id"], unique=False
    )
    op.create_table(
        "stations_charger",
        sa.Column("id", sa.String(length=48), nullable=False),
        sa.Column("backoffice_id", sa.Uuid(), nullable=True),
        sa.Column("station_id", sa.Uuid(), nullable=True),
        sa.Column("name", sa.String(length=200), nullable=True),
        sa.Column("status", sa.String(length=20), server_default="Active", nullable=False),
        sa.Column("registration", sa.String(length=20), nullable=False),
        sa.Column("ocpp_version", sa.String(length=10), server_default="1.6", nullable=False),
        sa.Column("security_profile", sa.Integer(), server_default="0", nullable=False),
        sa.Column("password_hash", sa.String(length=64), nullable=True),
        sa.Column("tolerant", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("simulated", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("vendor", sa.String(length=50), nullable=True),
        sa.Column("model", sa.String(length=50), nullable=True),
        sa.Column("serial_number", sa.String(length=50), nullable=True),
        sa.Column("firmware_version", sa.String(length=50), nullable=True),
        sa.Column("iccid", sa.String(length=20), nullable=True),
        sa.Column("imsi", sa.String(length=20), nullable=True),
        sa.Column("meter_type", sa.String(length=25), nullable=True),
        sa.Column("meter_serial_number", sa.String(length=25), nullable=True),
        sa.Column("online", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("last_seen", sa.DateTime(timezone=True), nullable=True),
        sa.Column("presence_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_boot_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("firmware_status", sa.String(length=40), nullable=True),
        sa.Column("diagnostics_status", sa.String(length=40), nullable=True),
        sa.Column("retired_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "security_profile BETWEEN 0 AND 3", name=op.f("ck_stations_charger_security_profile")
        ),
        sa.ForeignKeyConstraint(
            ["backoffice_id"], ["accounts_backoffice.id"], name=op.f("fk_stations_charger_backoffice_id")
        ),
        sa.ForeignKeyConstraint(
            ["station_id", "backoffice_id"],
            ["stations_station.id", "stations_station.backoffice_id"],
            name="fk_stations_charger_station",
            onupdate="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_stations_charger")),
    )
    op.create_index(
        op.f("ix_stations_charger_backoffice_id"), "stations_charger", ["backoffice_id"], unique=False
    )
    op.create_index("ix_stations_charger_station", "stations_charger", ["station_id"], unique=False)
    op.create_table(
        "charging_session",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("ocpp_transaction_id", sa.BigInteger(), nullable=True),
        sa.Column("charger_id", sa.String(length=48), nullable=False),
        sa.Column("station_id", sa.Uuid(), nullable=True),
        sa.Column("backoffice_id", sa.Uuid(), nullable=True),
        sa.Column("connector_id", sa.Integer(), nullable=True),
        sa.Column("id_tag", sa.String(length=20), nullable=True),
        sa.Column("id_tag_status", sa.String(length=20), nullable=True),
        sa.Column("stop_id_tag", sa.String(length=20), nullable=True),
        sa.Column("token_id", sa.Uuid(), nullable=True),
        sa.Column("reservation_id", sa.Integer(), nullable=True),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("unmatched", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("simulated", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("stopped_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("closed_by", sa.String(length=20), nullable=True),
        sa.Column("meter_start", sa.BigInteger(), nullable=True),
        sa.Column("meter_stop", sa.BigInteger(), nullable=True),
        sa.Column("energy_wh", sa.Numeric(precision=16, scale=3), nullable=True),
        sa.Column("stop_reason", sa.String(length=40), nullable=True),
        sa.Column("last_sample_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("register_wh", sa.Numeric(precision=16, scale=3), nullable=True),
        sa.Column("power_w", sa.Double(), nullable=True),
        sa.Column("soc_percent", sa.Double(), nullable=True),
        sa.Column(
            "anomalies",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'[]'"),
            nullable=False,
        ),
        sa.Column("fingerprint", sa.String(length=64), nullable=True),
        sa.Column("raw", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.ForeignKeyConstraint(
            ["backoffice_id"], ["accounts_backoffice.id"], name=op.f("fk_charging_session_backoffice_id")
        ),
        sa.ForeignKeyConstraint(
            ["charger_id"],
            ["stations_charger.id"],
            name=op.f("fk_charging_session_charger_id"),
            onupdate="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["station_id"], ["stations_station.id"], name=op.f("fk_charging_session_station_id")
        ),
        sa.ForeignKeyConstraint(
            ["token_id"],
            ["accounts_token.id"],
            name=op.f("fk_charging_session_token_id"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_charging_session")),
        postgresql_with={"fillfactor": "80"},
    )
    op.create_index(
        "ix_charging_session_active",
        "charging_session",
        ["charger_id", "connector_id"],
        unique=False,
        postgresql_where=sa.text("status = 'Active' AND NOT unmatched"),
    )
    op.create_index(
        "ix_charging_session_backoffice",
        "charging_session",
        ["backoffice_id", sa.literal_column("occurred_at DESC"), sa.literal_column("id DESC")],
        unique=False,
    )
    op.create_index(
        "ix_charging_session_charger",
        "charging_session",
        ["charger_id", sa.literal_column("occurred_at DESC"), sa.literal_column("id DESC")],
        unique=False,
    )
    op.create_index("ix_charging_session_token", "charging_session", ["token_id"], unique=False)
    op.create_index(
        "ix_charging_session_occurred",
        "charging_session",
        [sa.literal_column("occurred_at DESC"), sa.literal_column("id DESC")],
        unique=False,
    )
    op.create_index(
        "ix_charging_session_station",
        "charging_session",
        ["station_id", sa.literal_column("occurred_at DESC"), sa.literal_column("id DESC")],
        unique=False,
    )
    op.create_index(
        "uq_charging_session_open_start",
        "charging_session",
        ["charger_id", "connector_id", "started_at", "meter_start", sa.literal_column("lower(id_tag)")],
        unique=True,
        postgresql_where=sa.text("status = 'Active' AND NOT unmatched"),
    )
    op.create_index(
        "uq_charging_session_transaction",
        "charging_session",
        ["ocpp_transaction_id"],
        unique=True,
        postgresql_where=sa.text("NOT unmatched"),
    )
    op.create_index(
        "uq_charging_session_unmatched",
        "charging_session",
        ["charger_id", "fingerprint"],
        unique=True,
        postgresql_where=sa.text("unmatched"),
    )
    op.create_table(
        "gateway_connection",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("charger_id", sa.String(length=48), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("address", sa.String(length=64), nullable=True),
        sa.Column("subprotocol", sa.String(length=20), nullable=True),
        sa.Column("security_profile", sa.Integer(), nullable=False),
        sa.Column("close_code", sa.Integer(), nullable=True),
        sa.Column("close_reason", sa.String(length=200), nullable=True),
        sa.ForeignKeyConstraint(
            ["charger_id"],
            ["stations_charger.id"],
            name=op.f("fk_gateway_connection_charger_id"),
            onupdate="CASCADE",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gateway_connection")),
    )
    op.create_index(
        "ix_gateway_connection_charger", "gateway_connection", ["charger_id", "opened_at"], unique=False
    )
    op.create_index(
        "ix_gateway_connection_open",
        "gateway_connection",
        ["charger_id"],
        unique=False,
        postgresql_where=sa.text("closed_at IS NULL"),
    )
    op.create_table(
        "notifications_alert",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("subject", sa.String(length=120), nullable=False),
        sa.Column("severity", sa.String(length=10), nullable=False),
        sa.Column("title", sa.String(length=200), nullable=False),
        sa.Column("message", sa.String(length=1000), nullable=False),
        sa.Column("backoffice_id", sa.Uuid(), nullable=True),
        sa.Column("station_id", sa.Uuid(), nullable=True),
        sa.Column("charger_id", sa.String(length=48), nullable=True),
        sa.Column("raised_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("cleared_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "data", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False
        ),
        sa.ForeignKeyConstraint(
            ["backoffice_id"], ["accounts_backoffice.id"], name=op.f("fk_notifications_alert_backoffice_id")
        ),
        sa.ForeignKeyConstraint(
            ["charger_id"],
            ["stations_charger.id"],
            name=op.f("fk_notifications_alert_charger_id"),
            onupdate="CASCADE",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["station_id"],
            ["stations_station.id"],
            name=op.f("fk_notifications_alert_station_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notifications_alert")),
    )
    op.create_index(
        op.f("ix_notifications_alert_backoffice_id"), "notifications_alert", ["backoffice_id"], unique=False
    )
    op.create_index("ix_notifications_alert_raised", "notifications_alert", ["raised_at", "id"], unique=False)
    op.create_index(
        "uq_notifications_alert_open",
        "notifications_alert",
        ["kind", "subject"],
        unique=True,
        postgresql_where=sa.text("cleared_at IS NULL"),
    )
    op.create_table(
        "stations_connector",
        sa.Column("charger_id", sa.String(length=48), nullable=False),
        sa.Column("connector_id", sa.Integer(), nullable=False),
        sa.Column("type", sa.String(length=20), nullable=True),
        sa.Column("current", sa.String(length=2), nullable=True),
        sa.Column("phases", sa.Integer(), nullable=True),
        sa.Column("max_power_kw", sa.Numeric(precision=8, scale=3, asdecimal=False), nullable=True),
        sa.Column("status", sa.String(length=20), nullable=True),
        sa.Column("error_code", sa.String(length=40), nullable=True),
        sa.Column("info", sa.String(length=50), nullable=True),
        sa.Column("vendor_id", sa.String(length=255), nullable=True),
        sa.Column("vendor_error_code", sa.String(length=50), nullable=True),
        sa.Column("status_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("status_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("status_received_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("connector_id >= 0", name=op.f("ck_stations_connector_connector_id")),
        sa.ForeignKeyConstraint(
            ["charger_id"],
            ["stations_charger.id"],
            name=op.f("fk_stations_connector_charger_id"),
            onupdate="CASCADE",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("charger_id", "connector_id", name=op.f("pk_stations_connector")),
        postgresql_with={"fillfactor": "70"},
    )
    op.create_table(
        "stations_report",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("charger_id", sa.String(length=48), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("action", sa.String(length=64), nullable=False),
        sa.Column("payload", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.ForeignKeyConstraint(
            ["charger_id"],
            ["stations_charger.id"],
            name=op.f("fk_stations_report_charger_id"),
            onupdate="CASCADE",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_stations_report")),
    )
    op.create_index("ix_stations_report_charger", "stations_report", ["charger_id", "id"], unique=False)
    op.create_table(
        "stations_status_event",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("charger_id", sa.String(length=48), nullable=False),
        sa.Column("connector_id", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("error_code", sa.String(length=40), nullable=False),
        sa.Column("info", sa.String(length=50), nullable=True),
        sa.Column("vendor_id", sa.String(length=255), nullable=True),
        sa.Column("vendor_error_code", sa.String(length=50), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_stations_status_event")),
        sa.UniqueConstraint(
            "charger_id", "connector_id", "at", "status", "error_code", name="uq_stations_status_event"
        ),
    )
    op.create_index(
        "ix_stations_status_event_at", "stations_status_event", ["charger_id", "at", "id"], unique=False
    )
    for table in ("stations_status_event", "stations_report"):
        op.create_index(f"ix_{table}_age", table, ["received_at"], unique=False, postgresql_using="brin")
    for table in ("charging_meter_value", "gateway_message"):
        op.execute(f"CREATE TABLE {table}_p_default PARTITION OF {table} DEFAULT")
    # The job queue brings its own schema; later versions of it bring their own migrations.
    op.get_bind().connection.driver_connection.execute(SchemaManager.get_schema())
