"""Bringing a database to the newest revision, and finding out whether this program can work on it as it is.

Revisions are numbers with leading zeros, so that their order can be told by whoever does not know the newest ones: an
older program goes on working on a newer database as long as that says so (`compatibility.oldest_revision`).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine

from services.backends.store.engine import reading, writing
from services.backends.store.tables import compatibility, metadata
from services.triage.errors import SchemaBehind, SchemaRefused

HEAD = "head"
_LOCK = 0x56494749  # any number that nobody else uses


def upgrade(engine: Engine, revision: str = HEAD) -> None:
    """Upgrade in one transaction: of several that start together, one does it and the others wait.

    A database that is newer than this program stays as it is. Raises StoreUnavailable (a lock could not be had in time:
    nothing has changed).
    """
    with _alone(engine) as connection:
        found = _revision(connection)
        is_newest = revision == HEAD and found == known_revisions()[-1]
        if not is_newest and found in {None, *known_revisions()}:
            command.upgrade(_config(connection), revision)


def downgrade(engine: Engine, revision: str) -> None:
    """Go back to a revision ("base": nothing), in one transaction."""
    with _alone(engine) as connection:
        command.downgrade(_config(connection), revision)


@cache
def known_revisions() -> tuple[str, ...]:
    """Those that this program knows, oldest first; it needs the last."""
    script = ScriptDirectory.from_config(_config(None))
    return tuple(one.revision for one in script.walk_revisions())[::-1]


def current_revision(engine: Engine) -> str | None:
    """The database's; None for an empty one."""
    with reading(engine) as connection:
        return _revision(connection)


def drift(engine: Engine) -> list[str]:
    """How the tables differ from those that this program expects; empty when they do not."""
    with reading(engine) as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return [repr(one) for one in compare_metadata(context, metadata)]


def require_usable(engine: Engine) -> None:
    """Raises SchemaBehind (until it is upgraded) or SchemaRefused when this program cannot work on the database."""
    *_, needed = known = known_revisions()
    with reading(engine) as connection:
        found = _revision(connection)
        if found == needed:
            return
        if found is None:
            raise SchemaBehind("the database has no tables yet: run 'vigie db upgrade'")
        if found in known:
            text = f"the database is at revision {found}, this program needs {needed}: run 'vigie db upgrade'"
            raise SchemaBehind(text)
        oldest = connection.scalar(sa.select(compatibility.c.oldest_revision)) or found
    if needed < oldest:
        text = f"the database is at revision {found}, for programs from {oldest} on; this one knows {needed}: update it"
        raise SchemaRefused("schema_too_new", text)


@contextmanager
def _alone(engine: Engine) -> Iterator[Connection]:
    """A transaction to change the tables in; other upgrades wait, and SQLite's writer is alone already."""
    with writing(engine) as connection:
        if connection.dialect.name != "postgresql":
            yield connection
            return
        from services.backends.store.postgresql import LOCK_S, unhurried

        with unhurried(connection):
            connection.exec_driver_sql("SET LOCAL lock_timeout = 0")
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
            # a table that is in use is not waited for long: whoever came after us would wait behind us
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_S}s'")
            yield connection


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _config(connection: Connection | None) -> Config:
    found = Config()
    found.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    found.attributes["connection"] = connection
    return found
