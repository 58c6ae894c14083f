"""The audit trail: searched, sent on, and guarded by triggers that refuse to change or delete a record.

Older processes run on beside it, and write nothing into it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_COLUMNS = {
    "type": sa.String(length=32),
    "asked_by": sa.Text(),
    "study_instance_uid": sa.String(length=64),
    "patient": sa.String(length=64),
    "event_key": sa.String(length=64),
}
_SEARCHED = ("asked_by", "study_instance_uid", "patient")
_PRUNED = "OLD.sequence <= (SELECT COALESCE(MAX(sequence), 0) FROM audit_pruned)"
_SAYS = "the audit trail is only added to"
_SQLITE = (
    f"CREATE TRIGGER audit_record_update BEFORE UPDATE ON audit_record BEGIN SELECT RAISE(ABORT, '{_SAYS}'); END",
    f"CREATE TRIGGER audit_record_delete BEFORE DELETE ON audit_record WHEN NOT ({_PRUNED}) "
    f"BEGIN SELECT RAISE(ABORT, '{_SAYS}'); END",
)
_POSTGRESQL = (
    "CREATE FUNCTION audit_record_guard() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
    f"IF TG_OP = 'DELETE' THEN IF {_PRUNED} THEN RETURN OLD; END IF; END IF; "
    f"RAISE EXCEPTION '{_SAYS}'; END $$",
    "CREATE TRIGGER audit_record_change BEFORE UPDATE OR DELETE ON audit_record "
    "FOR EACH ROW EXECUTE FUNCTION audit_record_guard()",
    "CREATE TRIGGER audit_record_truncate BEFORE TRUNCATE ON audit_record "
    "FOR EACH STATEMENT EXECUTE FUNCTION audit_record_guard()",
)


def upgrade() -> None:
    """Columns that older rows leave empty, two tables, and the triggers."""
    for name, type_ in _COLUMNS.items():
        op.add_column("audit_record", sa.Column(name, type_, nullable=True))
    for name in _SEARCHED:
        op.create_index(f"ix_audit_record_{name}_sequence", "audit_record", [name, "sequence"])
    op.create_index("ix_audit_record_event_key", "audit_record", ["event_key"], unique=True)
    op.create_table(
        "audit_pruned",
        sa.Column("sequence", _NUMBER, autoincrement=False, nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("pruned_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("sequence", name="pk_audit_pruned"),
    )
    op.create_table(
        "audit_feed",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("told_at", _TIME, nullable=False),
        sa.Column("claim", sa.String(length=32), nullable=True),
        sa.Column("claim_expires_at", _TIME, nullable=True),
        sa.PrimaryKeyConstraint("name", name="pk_audit_feed"),
    )
    for statement in _POSTGRESQL if _is_postgresql() else _SQLITE:
        op.execute(statement)


def downgrade() -> None:
    """The trail stays, unguarded; how far receivers have come is lost."""
    if _is_postgresql():
        op.execute("DROP TRIGGER audit_record_change ON audit_record")
        op.execute("DROP TRIGGER audit_record_truncate ON audit_record")
        op.execute("DROP FUNCTION audit_record_guard()")
    else:
        op.execute("DROP TRIGGER audit_record_update")
        op.execute("DROP TRIGGER audit_record_delete")
    for table in ("audit_feed", "audit_pruned"):
        op.drop_table(table)
    op.drop_index("ix_audit_record_event_key", "audit_record")
    for name in _SEARCHED:
        op.drop_index(f"ix_audit_record_{name}_sequence", "audit_record")
    for name in _COLUMNS:
        op.drop_column("audit_record", name)


def _is_postgresql() -> bool:
    return op.get_bind().dialect.name == "postgresql"
