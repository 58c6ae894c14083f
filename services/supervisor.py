"""A supervisor: each part of a service as a child process of its own.

A part that dies is started again; when the supervisor dies, so do the parts, at once: what they promised is on disk.
"""

import errno
import multiprocessing
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing.context import ForkProcess

import structlog

from services import tracing
from services.auditing import in_the_trail
from services.lifetime import exit_on_signals, stop_on_signals
from services.logs import where
from services.memory import share_one_arena
from services.settings import Settings
from services.triage.errors import VigieError

log = structlog.get_logger(__name__)

Part = Callable[[Settings], None]

STOP_PATIENCE_S = 30.0
"""A part that has not ended so long after SIGTERM is killed; more than any part's own grace."""

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0
STABLE_S = 60.0
"""A part that ran for so long and then dies is started again after the first pause."""

ORPHANS_END_S = 2.0
"""After a supervisor was killed, its parts hold their ports for less than this."""

_CHECK_S = 0.2


class CannotStart(Exception):
    """Why the supervisor does not start; the text is for the person who typed the command."""


def supervise(
    parts: Sequence[Part],
    settings: Settings,
    *,
    listens_on: Sequence[str],
    announce: Callable[[], None] = lambda: None,
) -> None:
    """Run all parts until SIGTERM or SIGINT; they are stopped in their order, and started in the reverse one.

    listens_on: HOST:PORT of each part that listens. `announce` is called once all are started. Raises CannotStart.
    """
    stop = stop_on_signals()
    for address in listens_on:
        _require_free(address)
    children = [Child(part, settings) for part in parts]
    try:
        for child in reversed(children):
            child.start()
        announce()
        while not stop.wait(_CHECK_S):
            for child in children:
                child.revive()
    finally:
        for child in children:
            child.stop()


class Child:
    """One part in a process of its own."""

    def __init__(self, part: Part, settings: Settings) -> None:
        self._part = part
        self._settings = settings
        self._process: ForkProcess | None = None
        self._started_at = 0.0
        self._pause_s = FIRST_PAUSE_S
        self._start_at: float | None = None

    @property
    def name(self) -> str:
        """The part's name."""
        return self._part.__name__

    def start(self) -> None:
        """Start the process."""
        # forked, not spawned: the supervisor has one thread, and what it has imported need not be imported five times
        self._process = multiprocessing.get_context("fork").Process(
            target=_run, args=(self._part, self._settings, os.getpid()), name=f"vigie-{self.name}"
        )
        self._process.start()
        self._started_at, self._start_at = time.monotonic(), None
        log.info("part_started", part=self.name, pid=self._process.pid)

    def revive(self) -> None:
        """Start the process again if it died, after a pause that doubles while it keeps dying."""
        if self._process is None or self._process.is_alive():
            return
        now = time.monotonic()
        if self._start_at is None:
            if now - self._started_at >= STABLE_S:
                self._pause_s = FIRST_PAUSE_S
            log.error("part_died", part=self.name, exit_code=self._process.exitcode, restart_in_s=self._pause_s)
            self._start_at = now + self._pause_s
            self._pause_s = min(LONGEST_PAUSE_S, 2 * self._pause_s)
        elif now >= self._start_at:
            self.start()

    def stop(self) -> None:
        """Ask the process to stop, and wait for it."""
        if self._process is None or not self._process.is_alive():
            return
        self._process.terminate()
        self._process.join(STOP_PATIENCE_S)
        if self._process.is_alive():
            log.error("part_killed", part=self.name)
            self._process.kill()
            self._process.join()
        log.info("part_stopped", part=self.name, exit_code=self._process.exitcode)


def run_part(part: Part, settings: Settings) -> None:
    """Run a part in this process. Raises SystemExit (1) when it fails; the log says why."""
    share_one_arena()
    exit_on_signals()
    tracing.begin(part.__name__)
    try:
        with in_the_trail(part.__name__, settings):
            part(settings)
    except VigieError as error:
        log.error("part_failed", part=part.__name__, error=str(error))  # noqa: TRY400 - our own texts hold no values
        sys.exit(1)
    except Exception as error:  # noqa: BLE001 - the border: Python would print the text, which may hold patient data
        log.error("part_broke", part=part.__name__, **where(error))  # noqa: TRY400
        sys.exit(1)
    finally:
        tracing.flush()


def _run(part: Part, settings: Settings, supervisor: int) -> None:
    """The child's side."""
    share_one_arena()  # before the first thread
    threading.Thread(target=_die_with, args=(supervisor,), daemon=True).start()
    run_part(part, settings)


def _die_with(supervisor: int) -> None:
    """End this process when the supervisor has died without stopping it."""
    while os.getppid() == supervisor:
        time.sleep(_CHECK_S)
    os._exit(1)


def _require_free(address: str) -> None:
    """Raises CannotStart when nobody can listen on HOST:PORT."""
    host, _, port = address.rpartition(":")
    patience = time.monotonic() + ORPHANS_END_S
    while True:
        try:
            family, kind, protocol, _, place = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)[0]
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(place)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() > patience:
                raise CannotStart(f"Cannot listen on {address}: {error.strerror}. Choose another address.") from error
            time.sleep(_CHECK_S)
        else:
            return
