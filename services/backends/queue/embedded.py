"""The embedded queue: two tables in the SQLite file of the store.

A message in hand is claimed for `claim`: its receiver acknowledges right after it has leased the job, so a claim that
runs out means that the process died, and the message is there again. One held longer may come twice: harmless, for
the lease decides. Which message is next: order priority first, but every `AGEING` of waiting counts as one step up,
so that routine work is never starved.
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

CLAIM = timedelta(seconds=30)
AGEING = timedelta(minutes=30)
_POLL_S = 0.2

# Not under Alembic: what is in a queue can be published again from the store. Times are Unix seconds.
_metadata = sa.MetaData()

_message = sa.Table(
    "queue_message",
    _metadata,
    Column("id", Integer, primary_key=True),
    Column("body", Text, nullable=False),
    Column("rank", Float, nullable=False, index=True),  # smaller comes first
    Column("visible_at", Float, nullable=False),
    Column("claim", String(32)),
)

_dead_letter = sa.Table(
    "queue_dead_letter",
    _metadata,
    Column("id", Integer, primary_key=True),
    Column("body", Text, nullable=False),
    Column("reason_code", Text, nullable=False),
    Column("reason_text", Text, nullable=False),
    Column("at", Float, nullable=False),
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
        now = time.time()
        rank = now + message.priority * AGEING.total_seconds()
        with writing(self._engine) as connection:
            connection.execute(sa.insert(_message).values(body=encode(message), rank=rank, visible_at=now))

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

    def dead_letters(self) -> list[tuple[str, Reason]]:
        """Bodies and reasons, oldest first."""
        with reading(self._engine) as connection:
            rows = connection.execute(sa.select(_dead_letter).order_by(_dead_letter.c.id)).all()
        return [(row.body, Reason(code=row.reason_code, text=row.reason_text)) for row in rows]

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
                message = decode(row.body)
            except DeadLetterError as error:
                _bury(connection, row.id, row.body, Reason(code="unreadable_message", text=str(error)))
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
                _bury(connection, self._id, encode(self.message), reason)

    @contextmanager
    def _ending(self) -> Iterator[Connection]:
        with writing(self._engine) as connection:
            yield connection
        self._in_hand.discard(self._claim)

    def _mine(self) -> tuple[sa.ColumnElement[bool], ...]:
        return _message.c.id == self._id, _message.c.claim == self._claim


def _next(now: float) -> sa.Select[Any]:
    visible = sa.select(_message.c.id, _message.c.body).where(_message.c.visible_at <= now)
    return visible.order_by(_message.c.rank, _message.c.id).limit(1)


def _bury(connection: Connection, row_id: int, body: str, reason: Reason) -> None:
    connection.execute(sa.delete(_message).where(_message.c.id == row_id))
    connection.execute(
        sa.insert(_dead_letter).values(body=body, reason_code=reason.code, reason_text=reason.text, at=time.time())
    )
