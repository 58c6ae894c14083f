"""The audit trail: events in one chain, in which each record's digest covers the one before.

`SqlStudyStore.audit` is one. Records are only ever added; docs/audit.md tells how the chain is verified.
"""

import hashlib
import json
from collections.abc import Iterator
from datetime import datetime

import sqlalchemy as sa
from pydantic import RootModel
from sqlalchemy import Connection, Engine

from services.backends.store.engine import audit_held, reading, writing
from services.backends.store.tables import audit_record
from services.triage.audit import AuditEvent, AuditRecord

BEFORE_THE_FIRST = "0" * 64
_PAGE = 1000


class Audit:
    """`services.triage.ports.AuditTrail`. Raises StoreUnavailable."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def record(self, event: AuditEvent, *, now: datetime) -> None:
        """Add an event."""
        with writing(self._engine) as connection:
            append(connection, event, now=now)

    def records(self, *, after: int = 0) -> Iterator[AuditRecord]:
        """Every record after a sequence number, in order."""
        query = sa.select(audit_record).order_by(audit_record.c.sequence).limit(_PAGE)
        while True:
            with reading(self._engine) as connection:
                rows = connection.execute(query.where(audit_record.c.sequence > after)).all()
            for row in rows:
                yield AuditRecord(
                    sequence=row.sequence, recorded_at=row.recorded_at, document=row.document, digest=row.digest
                )
            if len(rows) < _PAGE:
                return
            after = rows[-1].sequence


def append(connection: Connection, event: AuditEvent, *, now: datetime) -> None:
    """Add an event in a transaction, as the last thing that it does: the trail is locked until it ends."""
    audit_held(connection)
    newest = sa.select(audit_record.c.sequence, audit_record.c.digest).order_by(audit_record.c.sequence.desc()).limit(1)
    last = connection.execute(newest).first()
    sequence, before = (last.sequence + 1, last.digest) if last else (1, BEFORE_THE_FIRST)
    document = as_document(event, sequence=sequence, now=now)
    row = {"sequence": sequence, "recorded_at": now, "document": document, "digest": chained(before, document)}
    connection.execute(sa.insert(audit_record), [row])


def as_document(event: AuditEvent, *, sequence: int, now: datetime) -> str:
    """The event as JSON in one form: keys in order, no white space."""
    told = {
        "sequence": sequence,
        "recorded_at": now.isoformat(),
        **RootModel[AuditEvent](event).model_dump(mode="json"),
    }
    return json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def chained(before: str, document: str) -> str:
    """The digest of a record, from that of the one before."""
    return hashlib.sha256(f"{before}\n{document}".encode()).hexdigest()
