"""Connections to PostgreSQL: a server that is gone, cut off or paused is noticed within `UNAVAILABLE_WITHIN_S`.

Each limit covers what the others cannot: a server that refuses or is not there (connect_timeout), a network cut while
bytes are on their way (tcp_user_timeout) or while none are (keepalives), a statement or a lock that takes too long
(the server's own timeouts), and a server that is paused, whose kernel still answers for it (`ANSWER_S`, on our side).
A process of ours that is paused in the midst of a transaction loses it, so that its locks do not stop the others.
Whoever needs other limits gives them in the URL's query (libpq's parameter names).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg.abc import RV, PQGen
from psycopg.pq import TransactionStatus
from sqlalchemy import Connection, Engine, event

CONNECT_S = 4
LOCK_S = 5
STATEMENT_S = 10
ANSWER_S = 12.0
IDLE_IN_TRANSACTION_S = 30
CHECKOUT_S = 10.0  # waiting for a connection while all of the pool's are in use

UNAVAILABLE_WITHIN_S = ANSWER_S + CONNECT_S
"""The longest that one call may wait for a server that does not answer: on the old connection, then for a new one."""

_LIMITS: dict[str, Any] = {
    "connect_timeout": CONNECT_S,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": int(ANSWER_S * 1000),
    "application_name": "vigie",
    # jit: of no use to queries that take milliseconds, which it makes into tenths of seconds
    "options": f"-c jit=off -c statement_timeout={STATEMENT_S}s -c lock_timeout={LOCK_S}s "
    f"-c idle_in_transaction_session_timeout={IDLE_IN_TRANSACTION_S}s",
}


class PatientConnection(psycopg.Connection[Any]):
    """A connection that waits for an answer so long and no longer (None: for ever)."""

    answer_s: float | None = ANSWER_S

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        """As in the parent; a connection whose answer did not come in time is closed."""
        try:
            return super().wait(gen, interval, self.answer_s if timeout is None else timeout)
        except psycopg.OperationalError:
            if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                self.close()
            raise


def connect_postgresql(url: sa.URL) -> Engine:
    """An engine with these limits. No connection is opened yet."""
    engine = sa.create_engine(
        url.set(drivername="postgresql+psycopg"), pool_pre_ping=True, pool_timeout=CHECKOUT_S, hide_parameters=True
    )
    event.listen(engine, "do_connect", _connect)
    return engine


@contextmanager
def unhurried(connection: Connection) -> Iterator[None]:
    """For a migration: statements may take as long as they need until the transaction ends; locks may not."""
    driver = connection.connection.driver_connection
    assert isinstance(driver, PatientConnection)  # noqa: S101 - for the type checker
    driver.answer_s = None
    connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
    try:
        yield
    finally:
        driver.answer_s = ANSWER_S


def _connect(_dialect: object, _record: object, arguments: Any, parameters: dict[str, Any]) -> PatientConnection:
    return PatientConnection.connect(*arguments, **{**_LIMITS, **parameters})
