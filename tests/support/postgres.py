"""A real PostgreSQL 15 from the Debian package, on a port of its own, with all it keeps in one folder."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

import psycopg

from services.backends.store.engine import connect
from services.backends.store.migrate import upgrade
from tests.support.peers import free_port, wait_until

BINARIES = Path("/usr/lib/postgresql/15/bin")
READY_S = 60.0
TEMPLATE = "vigie_template"
# It refuses to run as root; the package has made a user for it.
AS_POSTGRES = ("setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "--reset-env", "--")

# Ends all other connections, and empties the tables that hold anything (TRUNCATE takes longer for few rows); `replica`:
# no trigger, of foreign keys or of ours, is asked.
_EMPTY = """
DO $$
DECLARE name text; is_filled bool;
BEGIN
    SET LOCAL session_replication_role = replica;
    PERFORM pg_terminate_backend(pid, 5000) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid();
    FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version' LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM %I)', name) INTO is_filled;
        IF is_filled THEN EXECUTE format('DELETE FROM %I', name); END IF;
    END LOOP;
    PERFORM setval(format('%I', sequencename), 1, false) FROM pg_sequences WHERE last_value IS NOT NULL;
END $$
"""


class Postgres:
    """A server; kill it, pause it, start it again."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.port = free_port()
        self._folder = folder
        self._log = folder.parent / f"{folder.name}.log"
        self._options = [option for one in options for option in ("-c", one)]
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = count(1)
        self._emptied: list[str] = []

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://vigie@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Returns when it answers; after a kill it first waits for what is left of its predecessor."""
        wait_until(self._try_to_start, timeout_s=READY_S, what=f"PostgreSQL, see {self._log}, answering")

    def kill(self) -> None:
        """kill -9 of all of it."""
        assert self._process is not None
        _tell(self._pids(), signal.SIGKILL)
        self._process.wait()

    def pause(self) -> None:
        """SIGSTOP: the kernel still answers for it, nobody else does."""
        _tell(self._pids(), signal.SIGSTOP)

    def resume(self) -> None:
        _tell(reversed(self._pids()), signal.SIGCONT)

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.resume()
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait()

    @contextmanager
    def database(self, *, template: str = TEMPLATE) -> Iterator[str]:
        """The URL of a database like a template ("template0": with no tables), the caller's alone in the block."""
        if template == TEMPLATE and self._emptied:
            name = self._emptied.pop()
        else:
            name = f"test_{next(self._numbers)}"
            self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        yield self.url(name)
        if template == TEMPLATE:
            # a fresh copy takes four times as long
            with psycopg.connect(self.url(name), autocommit=True) as connection:
                connection.execute(_EMPTY)
            self._emptied.append(name)
        else:
            self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def execute(self, statement: str) -> None:
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(statement)

    def _pids(self) -> list[int]:
        assert self._process is not None
        parent = self._process.pid
        return [parent, *map(int, Path(f"/proc/{parent}/task/{parent}/children").read_text().split())]

    def _try_to_start(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            where = ["-c", "unix_socket_directories=", "-c", "listen_addresses=127.0.0.1", "-c", f"port={self.port}"]
            with self._log.open("ab") as log:
                self._process = _run("postgres", "-D", str(self._folder), *where, *self._options, output=log.fileno())
        try:
            psycopg.connect(self.url(), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True


@contextmanager
def postgres(*options: str) -> Iterator[Postgres]:
    """Run PostgreSQL until the end of the block. options: as in postgresql.conf, "fsync=off"."""
    assert (BINARIES / "postgres").exists(), "PostgreSQL is needed: apt-get install postgresql-15"
    parent = Path(tempfile.mkdtemp(prefix="vigie-postgres-"))
    try:
        if os.getuid() == 0:
            shutil.chown(parent, "postgres", "postgres")
        initdb = _run("initdb", "-D", str(parent / "data"), "-U", "vigie", "-A", "trust", "-N", "--locale=C.UTF-8")
        assert initdb.wait() == 0
        server = Postgres(parent / "data", *options)
        try:
            server.start()
            server.execute(f"CREATE DATABASE {TEMPLATE}")
            engine = connect(server.url(TEMPLATE))
            upgrade(engine)
            engine.dispose()
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(parent)


def _tell(pids: Iterable[int], what: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):  # a connection that ends meanwhile takes its process with it
            os.kill(pid, what)


def _run(program: str, *arguments: str, output: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
    command: Sequence[str] = [str(BINARIES / program), *arguments]
    if os.getuid() == 0:
        command = [*AS_POSTGRES, *command]
    return subprocess.Popen(command, stdout=output, stderr=output, cwd="/")
