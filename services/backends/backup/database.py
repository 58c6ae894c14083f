"""The database, copied and put back by its own engine's means: SQLite's online backup, pg_dump and pg_restore."""

import os
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import sqlalchemy as sa

from services.triage.errors import BackupRefused

SQLITE, DUMP = "database.sqlite", "database.dump"


def copy_database(url: str, folder: Path) -> str:
    """Copy what is committed at this moment into a folder; answers the file's name. Raises BackupRefused."""
    parsed = sa.make_url(url)
    if parsed.get_backend_name() == "postgresql":
        _run("pg_dump", "--format=custom", "--no-owner", "--no-privileges", f"--file={folder / DUMP}", url=parsed)
        return DUMP
    live = f"{Path(str(parsed.database)).resolve().as_uri()}?mode=ro"
    with (
        closing(sqlite3.connect(live, uri=True, timeout=30)) as source,
        closing(sqlite3.connect(folder / SQLITE)) as target,
    ):
        source.backup(target)
    return SQLITE


def put_back(copy: Path, url: str) -> None:
    """Make the database of a copy, where there is none. Raises BackupRefused."""
    parsed = sa.make_url(url)
    is_dump = copy.name == DUMP
    if is_dump != (parsed.get_backend_name() == "postgresql"):
        kinds = ("SQLite", "PostgreSQL")
        text = f"the copy is of {kinds[is_dump]}, and VIGIE_DATABASE_URL is of {kinds[not is_dump]}"
        raise BackupRefused("other_engine", text)
    if is_dump:
        _run(
            "pg_restore",
            "--no-owner",
            "--no-privileges",
            "--exit-on-error",
            "--single-transaction",
            str(copy),
            url=parsed,
        )
        return
    path = Path(str(parsed.database))
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(_read_only(copy)) as source, closing(sqlite3.connect(path)) as target:
        source.backup(target)


def check_database(copy: Path) -> str | None:
    """What is wrong with a copy; None: nothing."""
    if copy.name == DUMP:
        try:
            _run("pg_restore", "--list", str(copy))
        except BackupRefused as error:
            return error.reason.text
        return None
    with closing(_read_only(copy)) as connection:
        try:
            (told,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
        except sqlite3.DatabaseError as error:
            return str(error)
    return None if told == "ok" else str(told)


def _read_only(copy: Path) -> sqlite3.Connection:
    """Nothing is written beside it either."""
    return sqlite3.connect(f"{copy.resolve().as_uri()}?mode=ro&immutable=1", uri=True)


def _run(program: str, *words: str, url: sa.URL | None = None) -> None:
    """The password goes by the environment, which other users of the machine do not see."""
    environment = dict(os.environ)
    if url is not None:
        if url.password:
            environment["PGPASSWORD"] = str(url.password)
        # not render_as_string() of it with a password: that would show in the list of processes
        plain = url.set(drivername="postgresql", password=None)
        words = (f"--dbname={plain.render_as_string(hide_password=False)}", *words)
    try:
        done = subprocess.run([program, *words], env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    except FileNotFoundError as error:
        text = f"{program} is not here: install PostgreSQL's client of the server's version, or newer"
        raise BackupRefused("no_client", text) from error
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no reason told"]
        raise BackupRefused("database_failed", f"{program}: {lines[0]}")
