"""Shortening the audit trail at its beginning, with an anchor left behind, from which the rest is still verified."""

from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy import Engine

from services.backends.store.audit import append, person, pruned
from services.backends.store.engine import reading, writing
from services.backends.store.tables import audit_feed, audit_pruned, audit_record
from services.triage.audit import AuditAnchor, AuditObject, AuditObjectKind
from services.triage.audit_types import AuditType, audited

SHORTEST = timedelta(days=183)
"""Records younger than six months stay (EU AI Act, Articles 19 and 26): `vigie audit prune` refuses to go further."""

_BATCH = 2000


def prune(engine: Engine, *, before: datetime, actor: str, now: datetime) -> AuditAnchor | None:
    """Take away every record of before a time, but the last of all, and none that a receiver still lacks.

    First the anchor is written, with a record of who did it, then the records go, batch by batch: a kill in between
    leaves some, which nobody counts and the next call takes away. None: there is nothing to take away.
    Raises StoreUnavailable.
    """
    with writing(engine) as connection:
        last = sa.select(sa.func.max(audit_record.c.sequence))
        wanted = connection.scalar(last.where(audit_record.c.recorded_at < before)) or 0
        # times are those of many machines: the first record that is younger ends it
        younger = connection.scalar(
            sa.select(sa.func.min(audit_record.c.sequence)).where(audit_record.c.recorded_at >= before)
        )
        lacked = connection.scalar(sa.select(sa.func.min(audit_feed.c.sequence)))
        head = connection.scalar(last) or 0
        until = min(wanted, head - 1, *(each for each in (younger and younger - 1, lacked) if each is not None))
        gone = pruned(connection)
        row = connection.execute(sa.select(audit_record).where(audit_record.c.sequence == until)).first()
        if row is not None and until > (gone.sequence if gone else 0):
            gone = AuditAnchor(sequence=until, digest=row.digest, at=now)
            values = {"sequence": gone.sequence, "digest": gone.digest, "pruned_at": now}
            connection.execute(sa.insert(audit_pruned).values(values))
            what = AuditObject(kind=AuditObjectKind.RECORD, object_id=str(until), details={"digest": gone.digest})
            append(connection, audited(AuditType.TRAIL_PRUNED, person(actor), objects=(what,)), now=now)
    if gone is None or not _take_away(engine, gone.sequence):
        return None
    return gone


def _take_away(engine: Engine, sequence: int) -> int:
    """Records up to this one; answers how many."""
    with reading(engine) as connection:
        first = connection.scalar(sa.select(sa.func.min(audit_record.c.sequence)))
    done = 0
    while first is not None and first <= sequence:
        until = min(first + _BATCH, sequence + 1)
        with writing(engine) as connection:
            these = sa.delete(audit_record).where(audit_record.c.sequence < until)
            done += connection.execute(these).rowcount
        first = until
    return done
