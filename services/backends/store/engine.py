"""Connections and transactions, the same for SQLite and PostgreSQL.

PostgreSQL: writers read what is committed (READ COMMITTED) and lock the study they change first, always in one order;
readers see one snapshot (REPEATABLE READ). A deadlock that the server finds all the same is StoreUnavailable.
SQLite: WAL (readers never wait), synchronous=FULL (a commit survives a power cut), and BEGIN IMMEDIATE for writers:
a transaction that begins as a reader and then wants to write could fail at once when another process has written
meanwhile; taking the write lock first makes it wait its turn instead.
"""

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine, event, exc

from services.backends.store.tables import study
from services.triage.errors import StoreUnavailable

_BUSY_TIMEOUT_S = 30
_BUSY_PAUSE_S = 0.02
_PLACES, _AUDIT = 7_216_001, 7_216_002  # advisory locks of PostgreSQL; no others have these numbers
_READ_ONLY_SERVER = "25006"  # after a failover we may still talk to the one that became the standby
_NOT_THERE_YET = "42P01", "42703"  # a table, a column: SQLite calls them operational errors itself
_READ_ONLY: dict[str, dict[str, Any]] = {
    "sqlite": {"vigie_read_only": True},
    "postgresql": {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True},
}


def connect(url: str) -> Engine:
    """An engine for a URL; the folder of an SQLite file is made. No connection is opened yet.

    Parameters stay out of error texts: they hold patient names.
    """
    parsed = sa.make_url(url)
    if parsed.get_backend_name() == "postgresql":
        # only here: who runs on SQLite need not have the driver
        from services.backends.store.postgresql import connect_postgresql

        return connect_postgresql(parsed)
    if not parsed.database or parsed.database == ":memory:":
        raise ValueError("an SQLite store needs a file: several processes share it")
    Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    # hide_parameters: an error's text goes to the log, and the parameters are patient data
    engine = sa.create_engine(parsed, hide_parameters=True, connect_args={"timeout": _BUSY_TIMEOUT_S})
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """One transaction that may write; committed at the end. Raises StoreUnavailable."""
    with _as_store_unavailable(), engine.begin() as connection:
        yield connection


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """One transaction that only reads, from one snapshot. Raises StoreUnavailable."""
    options = _READ_ONLY[engine.dialect.name]
    with _as_store_unavailable(), engine.connect().execution_options(**options) as connection:
        yield connection


def locked(connection: Connection, study_instance_uids: Sequence[str]) -> None:
    """Lock studies until the transaction ends, in one order everywhere, so that no two wait for each other."""
    uids = sorted(set(study_instance_uids))
    rows = sa.select(study.c.study_instance_uid).where(study.c.study_instance_uid.in_(uids))
    # key_share: what refers to a locked study may still be inserted
    connection.execute(rows.order_by(study.c.study_instance_uid).with_for_update(key_share=True)).all()


def places_held(connection: Connection, *, alone: bool = False) -> None:
    """Until the transaction ends no model is switched, or, if `alone`, nobody else gives a study its place.

    Else a result frozen beside the switch would keep the flag that it had a moment before. On SQLite writers are alone.
    """
    if connection.dialect.name == "postgresql":
        shared = "" if alone else "_shared"
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock{shared}({_PLACES})")


def audit_held(connection: Connection) -> None:
    """Until the transaction ends nobody else adds to the audit trail. On SQLite writers are alone."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_AUDIT})")


def insert_new(connection: Connection, table: sa.Table, rows: Sequence[dict[str, Any]]) -> None:
    """Insert the rows whose primary key is not there yet."""
    connection.execute(_insert(connection)(table).on_conflict_do_nothing(), list(rows))


def insert_one(connection: Connection, table: sa.Table, row: dict[str, Any]) -> bool:
    """Insert a row; False: its primary key is there already, if only since another transaction ended meanwhile."""
    keys = list(table.primary_key)
    insert = _insert(connection)(table).values(row).on_conflict_do_nothing(index_elements=keys)
    return connection.execute(insert.returning(*keys)).first() is not None


def put(connection: Connection, table: sa.Table, rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows; where the primary key is there already, its row gets these values."""
    insert = _insert(connection)(table)
    values = {column.name: insert.excluded[column.name] for column in table.columns if not column.primary_key}
    if rows:
        connection.execute(
            insert.on_conflict_do_update(index_elements=list(table.primary_key), set_=values), list(rows)
        )


def add_one(connection: Connection, table: sa.Table, key: dict[str, Any], counter: str) -> None:
    """Count up the row of this primary key; the first time it is inserted, with 1."""
    add(connection, table, key, counter, 1)


def add(connection: Connection, table: sa.Table, key: dict[str, Any], counter: str, count: int) -> None:
    """Count up the row of this primary key by so many; the first time it is inserted, with them."""
    insert = _insert(connection)(table).values({**key, counter: count})
    up = {counter: table.c[counter] + count}
    connection.execute(insert.on_conflict_do_update(index_elements=list(table.primary_key), set_=up))


def _insert(connection: Connection) -> Any:
    """The dialect's own INSERT, which knows what to do on a conflict."""
    if connection.dialect.name == "sqlite":
        from sqlalchemy.dialects import sqlite

        return sqlite.insert
    from sqlalchemy.dialects import postgresql

    return postgresql.insert


@contextmanager
def _as_store_unavailable() -> Iterator[None]:
    try:
        yield
    except (exc.OperationalError, exc.InterfaceError, exc.TimeoutError) as error:
        raise StoreUnavailable(type(error).__name__) from error
    except exc.DBAPIError as error:
        passes = getattr(error.orig, "sqlstate", None) in (_READ_ONLY_SERVER, *_NOT_THERE_YET)
        if not error.connection_invalidated and not passes:
            raise
        raise StoreUnavailable(type(error).__name__) from error


def _configure_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # no hidden BEGIN: `_begin_sqlite` says which
    _write_ahead(connection)
    for pragma in ("synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Of processes that do this to a new file together, SQLite refuses some at once, whatever the busy timeout."""
    deadline = time.monotonic() + _BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(_BUSY_PAUSE_S)
        else:
            return


def _begin_sqlite(connection: Connection) -> None:
    read_only = connection.get_execution_options().get("vigie_read_only", False)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")
