"""The audit trail."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

GUARD = """
CREATE FUNCTION accounts_audit_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND TG_TABLE_NAME = 'accounts_audit_entry' THEN
        IF OLD.seal_id IS NULL AND NEW.seal_id IS NOT NULL
           AND to_jsonb(OLD) - 'seal_id' = to_jsonb(NEW) - 'seal_id' THEN
            RETURN NEW;
        END IF;
    END IF;
    RAISE EXCEPTION 'the audit trail is append-only' USING ERRCODE = 'insufficient_privilege';
END $$
"""


def upgrade() -> None:
    op.create_table(
        "accounts_audit_seal",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("sealed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("entries", sa.Integer(), nullable=False),
        sa.Column("previous", sa.LargeBinary(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_accounts_audit_seal")),
    )
    op.create_table(
        "accounts_audit_entry",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("action", sa.String(length=60), nullable=False),
        sa.Column("entity", sa.String(length=40), nullable=False),
        sa.Column("entity_id", sa.String(length=64), nullable=False),
        sa.Column("actor_kind", sa.String(length=12), nullable=False),
        sa.Column("actor_id", sa.String(length=64), nullable=True),
        sa.Column("actor_role", sa.String(length=20), nullable=True),
        sa.Column("actor_person_id", sa.Uuid(), nullable=True),
        sa.Column("actor_personal", sa.LargeBinary(), nullable=True),
        sa.Column(
            "operator_station_ids",
            postgresql.ARRAY(postgresql.UUID(as_uuid=True)),
            server_default=sa.text("'{}'"),
            nullable=False,
        ),
        sa.Column("backoffice_id", sa.Uuid(), nullable=True),
        sa.Column("station_id", sa.Uuid(), nullable=True),
        sa.Column("before", postgresql.JSONB(), nullable=True),
        sa.Column("after", postgresql.JSONB(), nullable=True),
        sa.Column("reason", sa.String(length=500), nullable=True),
        sa.Column("person_id", sa.Uuid(), nullable=True),
        sa.Column("personal", sa.LargeBinary(), nullable=True),
        sa.Column("request_id", sa.String(length=64), nullable=True),
        sa.Column("seal_id", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["seal_id"], ["accounts_audit_seal.id"], name=op.f("fk_accounts_audit_entry_seal_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_accounts_audit_entry")),
    )
    table = "accounts_audit_entry"
    op.create_index("ix_accounts_audit_entry_at", table, [sa.text("at DESC"), sa.text("id DESC")])
    op.create_index("ix_accounts_audit_entry_entity", table, ["entity", "entity_id", "id"])
    op.create_index("ix_accounts_audit_entry_actor", table, ["actor_id", "id"])
    op.create_index("ix_accounts_audit_entry_backoffice", table, ["backoffice_id", "id"])
    op.create_index("ix_accounts_audit_entry_person_id", table, ["person_id"])
    op.create_index("ix_accounts_audit_entry_seal", table, ["seal_id"])
    op.create_index(
        "ix_accounts_audit_entry_unsealed", table, ["id"], postgresql_where=sa.text("seal_id IS NULL")
    )
    op.create_table(
        "accounts_person_key",
        sa.Column("person_id", sa.Uuid(), nullable=False),
        sa.Column("wrapped", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("person_id", name=op.f("pk_accounts_person_key")),
    )
    op.execute(GUARD)
    for name in ("accounts_audit_entry", "accounts_audit_seal"):
        op.execute(
            f"CREATE TRIGGER {name}_rows BEFORE UPDATE OR DELETE ON {name}"
            " FOR EACH ROW EXECUTE FUNCTION accounts_audit_guard()"
        )
        op.execute(
            f"CREATE TRIGGER {name}_all BEFORE TRUNCATE ON {name}"
            " FOR EACH STATEMENT EXECUTE FUNCTION accounts_audit_guard()"
        )
