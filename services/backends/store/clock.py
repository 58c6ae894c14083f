"""The clock of the database's server, beside ours. On SQLite they are the same."""

import time
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Engine

from services.backends.store.engine import reading

_ASK = {
    "postgresql": "SELECT extract(epoch FROM clock_timestamp())",
    "sqlite": "SELECT (julianday('now') - 2440587.5) * 86400.0",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Offset:
    """How far another clock is ahead of ours, in seconds, and by how much that may be wrong."""

    seconds: float
    uncertainty_s: float

    @classmethod
    def between(cls, asked_s: float, told_s: float, answered_s: float) -> "Offset":
        """Of a clock that told its time at some moment between two of ours (Cristian 1989)."""
        middle = (asked_s + answered_s) / 2
        return cls(seconds=told_s - middle, uncertainty_s=(answered_s - asked_s) / 2)


def database_offset(engine: Engine) -> Offset:
    """Raises StoreUnavailable."""
    with reading(engine) as connection:
        connection.execute(sa.text("SELECT 1"))  # the connection's own set-up is not the clock's
        asked = time.time()
        told = float(connection.execute(sa.text(_ASK[engine.dialect.name])).scalar_one())
        return Offset.between(asked, told, time.time())
