"""A process of the set as the campaign sees it: started, killed, paused, let go on, ready or not."""

import os
import signal
import subprocess
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from tests.support.peers import wait_until

READY_S = 90.0


class Member(Protocol):
    """One server of the set. A kill is -9; a pause is SIGSTOP, to all processes it consists of."""

    name: str

    def start(self) -> None:
        """Start it; need not wait until it is ready."""

    def kill(self) -> None:
        """End it at once."""

    def pause(self) -> None:
        """Stop it where it stands; its connections stay open."""

    def resume(self) -> None:
        """Let it go on."""

    def is_ready(self) -> bool:
        """Whether it does its work. Raises EndedByItself."""


class EndedByItself(AssertionError):
    """A process ended that nobody had killed."""


class Process:
    """A member that is one command with its children, in a process group of its own. `log`: gets its output."""

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        log: Path,
        ready: Callable[[], bool],
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self._command = [str(word) for word in command]
        self.log = log
        self._ready = ready
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """See Member."""
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command, stdout=output, stderr=output, env=self._environment, start_new_session=True
            )

    def kill(self) -> None:
        """See Member."""
        self._signal(signal.SIGKILL)
        self._running.wait()

    def pause(self) -> None:
        """See Member."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """See Member."""
        self._signal(signal.SIGCONT)

    def is_ready(self) -> bool:
        """See Member."""
        code = self._running.poll()
        if code is not None:
            raise EndedByItself(f"{self.name} ended by itself with exit code {code}; see {self.log}")
        return self._ready()

    def stop(self) -> None:
        """End it for good, in whatever state it is."""
        if self._process is not None and self._process.poll() is None:
            self.kill()

    @property
    def pid(self) -> int:
        """Of the command itself."""
        return self._running.pid

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, f"{self.name} was never started"
        return self._process

    def _signal(self, number: int) -> None:
        os.killpg(self._running.pid, number)


class Stoppable(Protocol):
    """A server of tests/support."""

    def start(self) -> None:
        """Start it and wait for it."""

    def kill(self) -> None:
        """As Member."""

    def pause(self) -> None:
        """As Member."""

    def resume(self) -> None:
        """As Member."""


class Server:
    """A member that is a server of tests/support, already running; who made it will end it."""

    def __init__(self, name: str, server: Stoppable, *, ready: Callable[[], bool]) -> None:
        self.name = name
        self.start = server.start
        self.kill = server.kill
        self.pause = server.pause
        self.resume = server.resume
        self._ready = ready

    def is_ready(self) -> bool:
        """See Member."""
        return self._ready()


class Supervised(Server):
    """A server of somebody else's that may crash by itself: it is started again, as a supervisor does, and counted."""

    def __init__(
        self, name: str, server: Stoppable, *, ready: Callable[[], bool], has_ended: Callable[[], bool]
    ) -> None:
        super().__init__(name, server, ready=ready)
        self._has_ended = has_ended
        self.crashes = 0

    def is_ready(self) -> bool:
        """See Member."""
        if self._has_ended():
            self.crashes += 1
            self.start()
        return super().is_ready()


class Part:
    """A member that is made of children of another, which has to start them again by itself."""

    def __init__(self, name: str, pids: Callable[[], Collection[int]]) -> None:
        self.name = name
        self._pids = pids

    def start(self) -> None:
        """Nothing to do: whoever they are children of does it."""

    def kill(self) -> None:
        """See Member."""
        self._signal(signal.SIGKILL)

    def pause(self) -> None:
        """See Member."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """See Member."""
        self._signal(signal.SIGCONT)

    def is_ready(self) -> bool:
        """See Member."""
        return all(Path(f"/proc/{pid}").exists() for pid in self._pids())

    def _signal(self, number: int) -> None:
        for pid in self._pids():
            with suppress(ProcessLookupError):  # the parent may have been killed a moment ago
                os.kill(pid, number)


def wait_ready(members: Sequence[Member]) -> None:
    """Return when all are ready. Raises TimeoutError, EndedByItself."""
    for member in members:
        wait_until(member.is_ready, timeout_s=READY_S, what=f"{member.name} being ready")
