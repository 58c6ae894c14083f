"""How far a receiver of the audit trail has come: one process at a time sends to it, and after a kill another goes on.

What was sent and not noted is sent again: at least once, in order.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from services.backends.store.audit import pruned
from services.backends.store.engine import insert_new, reading, writing
from services.backends.store.tables import audit_feed, audit_record

SYSLOG, ANCHORS = "syslog", "anchors"
"""The receivers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FeedClaim:
    """That this process sends now, and after which record it goes on."""

    name: str
    claim: str
    sequence: int


@dataclass(frozen=True, kw_only=True, slots=True)
class FeedState:
    """sequence: the last record that the receiver has. backlog: how many it lacks, from `oldest_at` on."""

    name: str
    sequence: int
    told_at: datetime | None
    backlog: int
    oldest_at: datetime | None


class AuditFeeds:
    """`SqlStudyStore.audit_feeds`. Raises StoreUnavailable."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def claim(self, name: str, *, now: datetime, duration: timedelta) -> FeedClaim | None:
        """Begin to send, or go on; None: there is nothing to send, or another process does."""
        with reading(self._engine) as connection:  # a look without the write lock: an idle process disturbs nobody
            row = connection.execute(sa.select(audit_feed).where(audit_feed.c.name == name)).first()
            head = connection.scalar(sa.select(sa.func.max(audit_record.c.sequence))) or 0
            if (row.sequence if row else 0) >= head or (row and row.claim and row.claim_expires_at > now):
                return None
        free = sa.or_(audit_feed.c.claim.is_(None), audit_feed.c.claim_expires_at <= now)
        mine = uuid4().hex
        with writing(self._engine) as connection:
            gone = pruned(connection)
            first = {"name": name, "sequence": gone.sequence if gone else 0, "told_at": now}
            insert_new(connection, audit_feed, [first])
            taken = sa.update(audit_feed).where(audit_feed.c.name == name, free)
            if not connection.execute(taken.values(claim=mine, claim_expires_at=now + duration)).rowcount:
                return None
            sequence = connection.scalar(sa.select(audit_feed.c.sequence).where(audit_feed.c.name == name))
        return FeedClaim(name=name, claim=mine, sequence=int(sequence or 0))

    def told(self, claim: FeedClaim, sequence: int, *, now: datetime, duration: timedelta) -> bool:
        """The receiver has all up to this record; the claim is renewed, or with no duration let go.

        False, and nothing changes: it is another's now.
        """
        until = {"claim": claim.claim, "claim_expires_at": now + duration}
        if not duration:
            until = {"claim": None, "claim_expires_at": None}
        mine = audit_feed.c.name == claim.name, audit_feed.c.claim == claim.claim
        with writing(self._engine) as connection:
            changed = sa.update(audit_feed).where(*mine).values(sequence=sequence, told_at=now, **until)
            return connection.execute(changed).rowcount == 1

    def states(self) -> list[FeedState]:
        """Of every receiver that there ever was."""
        with reading(self._engine) as connection:
            rows = connection.execute(sa.select(audit_feed).order_by(audit_feed.c.name)).all()
            return [_state(connection, row.name, row.sequence, row.told_at) for row in rows]

    def state(self, name: str) -> FeedState:
        """Of one; who has never got anything lacks all that there is."""
        with reading(self._engine) as connection:
            row = connection.execute(sa.select(audit_feed).where(audit_feed.c.name == name)).first()
            if row is not None:
                return _state(connection, row.name, row.sequence, row.told_at)
            gone = pruned(connection)
            return _state(connection, name, gone.sequence if gone else 0, None)

    def forget(self, name: str) -> None:
        """There is no such receiver any more."""
        with writing(self._engine) as connection:
            connection.execute(sa.delete(audit_feed).where(audit_feed.c.name == name))


def _state(connection: Connection, name: str, sequence: int, told_at: datetime | None) -> FeedState:
    left = sa.select(sa.func.count(), sa.func.min(audit_record.c.recorded_at)).where(audit_record.c.sequence > sequence)
    backlog, oldest_at = connection.execute(left).one()
    return FeedState(name=name, sequence=sequence, told_at=told_at, backlog=backlog, oldest_at=oldest_at)
