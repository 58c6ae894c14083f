"""The embedded queue: two tables in the SQLite file of the store.

A message in hand is claimed for `claim`: its receiver acknowledges right after it has leased the job, so a claim that
runs out means that the process died, and the message is there again. One held longer may come twice: harmless, for
the lease decides.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy import Column, Connection, Engine, Float, Integer, String, Text

from services.backends.queue.message import decode, encode
from services.backends.store.engine import connect, reading, writing
from services.triage.errors import DeadLetterError, Reason
from services.triage.job import JobMessage
from services.triage.ports import DeadLetter, QueueDepth

CLAIM = timedelta(seconds=30)
_POLL_S = 0.02  # the dispatch of a lone study waits for this, and a look costs a fraction of a millisecond

# Not under Alembic: what is in a queue can be published again from the store. A changed table gets another name.
# Times are Unix seconds.
_metadata = sa.MetaData()

_message = sa.Table(
    "queue_bell",
    _metadata,
    Column("id", Integer, primary_key=True),
    Column("body", Text, nullable=False),
    Column("traceparent", String(55)),
    Column("visible_at", Float, nullable=False),
    Column("claim", String(32)),
)

_dead_letter = sa.Table(
    "queue_dead_bell",
    _metadata,
    Column("id", Integer, primary_key=True),
    Column("body", Text, nullable=False),
    Column("traceparent", String(55)),
    Column("reason_code", Text, nullable=False),
    Column("reason_text", Text, nullable=False),
)


class EmbeddedJobQueue:
    """`JobQueue` in an SQLite file; safe for several processes and threads. Raises StoreUnavailable."""

    def __init__(self, url: str, *, claim: timedelta = CLAIM) -> None:
        self._engine = connect(url)
        self._claim = claim
        self._in_hand: set[str] = set()
        with writing(self._engine) as connection:
            _metadata.create_all(connection)

    def publish(self, message: JobMessage) -> None:
        """Returns once the message is committed."""
        with writing(self._engine) as connection:
            _insert(connection, encode(message), message.traceparent)

    def receive(self, *, timeout: timedelta) -> "EmbeddedMessage | None":
        """The next message, or None when none came in time. One that cannot be read becomes a dead letter."""
        deadline = time.monotonic() + timeout.total_seconds()
        while True:
            claimed = self._claim_next()
            if claimed is not None:
                return claimed
            rest = deadline - time.monotonic()
            if rest <= 0:
                return None
            time.sleep(min(_POLL_S, rest))

    def depth(self) -> QueueDepth:
        """What waits in the queue now."""
        with reading(self._engine) as connection:
            due = _message.c.visible_at <= time.time()
            return QueueDepth(
                ready=_count(connection, _message, due),
                delayed=_count(connection, _message, ~due & _message.c.claim.is_(None)),
                dead=_count(connection, _dead_letter, sa.true()),
            )

    def dead_letters(self, *, limit: int = 1000) -> list[DeadLetter]:
        """Dead letters, oldest first; they stay."""
        with reading(self._engine) as connection:
            rows = connection.execute(sa.select(_dead_letter).order_by(_dead_letter.c.id).limit(limit)).all()
        return [
            DeadLetter(
                body=row.body,
                message=_readable(row.body, row.traceparent),
                reason=Reason(code=row.reason_code, text=row.reason_text),
            )
            for row in rows
        ]

    def requeue(self, *, limit: int = 1000) -> int:
        """Put the oldest dead letters that can be read back; answers how many."""
        with writing(self._engine) as connection:
            rows = connection.execute(sa.select(_dead_letter).order_by(_dead_letter.c.id).limit(limit)).all()
            good = [row for row in rows if _readable(row.body, row.traceparent)]
            for row in good:
                connection.execute(sa.delete(_dead_letter).where(_dead_letter.c.id == row.id))
                _insert(connection, row.body, row.traceparent)
        return len(good)

    def close(self) -> None:
        """Messages in hand go back to the queue."""
        if self._in_hand:
            with writing(self._engine) as connection:
                mine = _message.c.claim.in_(self._in_hand)
                connection.execute(sa.update(_message).where(mine).values(claim=None, visible_at=0.0))
            self._in_hand.clear()
        self._engine.dispose()

    def _claim_next(self) -> "EmbeddedMessage | None":
        # a look without the write lock first: an idle worker disturbs nobody
        with reading(self._engine) as connection:
            if connection.execute(_next(time.time())).first() is None:
                return None
        with writing(self._engine) as connection:
            now = time.time()
            row = connection.execute(_next(now)).first()
            if row is None:
                return None
            try:
                message = decode(row.body, traceparent=row.traceparent)
            except DeadLetterError as error:
                _bury(connection, row.id, Reason(code="unreadable_message", text=str(error)))
                return None
            claim = uuid4().hex
            visible_at = now + self._claim.total_seconds()
            mine = _message.c.id == row.id
            connection.execute(sa.update(_message).where(mine).values(claim=claim, visible_at=visible_at))
        self._in_hand.add(claim)
        return EmbeddedMessage(message, engine=self._engine, row_id=row.id, claim=claim, in_hand=self._in_hand)


class EmbeddedMessage:
    """`ReceivedMessage`; ending it after its claim ran out changes nothing."""

    def __init__(self, message: JobMessage, *, engine: Engine, row_id: int, claim: str, in_hand: set[str]) -> None:
        self.message = message
        self._engine = engine
        self._id = row_id
        self._claim = claim
        self._in_hand = in_hand

    def ack(self) -> None:
        """Forget the message."""
        with self._ending() as connection:
            connection.execute(sa.delete(_message).where(*self._mine()))

    def retry(self, *, delay: timedelta) -> None:
        """Bring the message again after a delay; it keeps its place by age."""
        with self._ending() as connection:
            visible_at = time.time() + delay.total_seconds()
            connection.execute(sa.update(_message).where(*self._mine()).values(claim=None, visible_at=visible_at))

    def dead_letter(self, reason: Reason) -> None:
        """Keep the message for a person."""
        with self._ending() as connection:
            if connection.execute(sa.select(_message.c.id).where(*self._mine())).first() is not None:
                _bury(connection, self._id, reason)

    @contextmanager
    def _ending(self) -> Iterator[Connection]:
        with writing(self._engine) as connection:
            yield connection
        self._in_hand.discard(self._claim)

    def _mine(self) -> tuple[sa.ColumnElement[bool], ...]:
        return _message.c.id == self._id, _message.c.claim == self._claim


def _next(now: float) -> sa.Select[Any]:
    return sa.select(_message).where(_message.c.visible_at <= now).order_by(_message.c.id).limit(1)


def _insert(connection: Connection, body: str, traceparent: str | None) -> None:
    connection.execute(sa.insert(_message).values(body=body, traceparent=traceparent, visible_at=time.time()))


def _bury(connection: Connection, row_id: int, reason: Reason) -> None:
    row = connection.execute(sa.select(_message).where(_message.c.id == row_id)).one()
    connection.execute(sa.delete(_message).where(_message.c.id == row_id))
    connection.execute(
        sa.insert(_dead_letter).values(
            body=row.body, traceparent=row.traceparent, reason_code=reason.code, reason_text=reason.text
        )
    )


def _count(connection: Connection, table: sa.Table, condition: sa.ColumnElement[bool]) -> int:
    return connection.execute(sa.select(sa.func.count()).select_from(table).where(condition)).scalar_one()


def _readable(body: str, traceparent: str | None) -> JobMessage | None:
    try:
        return decode(body, traceparent=traceparent)
    except DeadLetterError:
        return None
