"""Python programs as processes of their own, forked from one that has imported Vigie: a start costs milliseconds.

Each is as fresh as a new interpreter is, but for its imports; a program that patches what others import starts cold.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import IO

from services.settings import Settings

IMPORTS = (
    "services.cli",
    "services.deliver.main",
    "services.gateway.adt.listener",
    "services.gateway.app",
    "services.gateway.dispatcher",
    "services.gateway.door",
    "services.gateway.observatory.observing",
    "services.worker.main",
    "tests.support.standalone",
)
FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload([*IMPORTS, "tests.support.other_process"])


class Program:
    """As `subprocess.Popen`, as far as tests need it."""

    def __init__(
        self,
        code: str,
        *,
        env: Mapping[str, str],
        stderr: IO[bytes] | None = None,
        arguments: Sequence[str] = (),
        start_new_session: bool = False,
    ) -> None:
        where = f"/proc/{os.getpid()}/fd/{stderr.fileno()}" if stderr is not None else None
        self._process = FORKED.Process(target=_run, args=(code, dict(env), where, list(arguments), start_new_session))
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    def poll(self) -> int | None:
        """Its exit code, negative where a signal has ended it; None: it runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code once it has ended. Raises subprocess.TimeoutExpired."""
        self._process.join(timeout)
        if (code := self.poll()) is None:
            raise subprocess.TimeoutExpired("a program", timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        """Unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)

    def __enter__(self) -> "Program":
        return self

    def __exit__(self, *_: object) -> None:
        self.wait()


def exit_code(part: Callable[[Settings], None], settings: Settings, *, within_s: float = 20) -> int | None:
    """Of a part in a process of its own; None: it went on, and was killed."""
    process = FORKED.Process(target=part, args=(settings,))
    process.start()
    process.join(within_s)
    code = process.exitcode
    process.kill()
    process.join()
    return code


def _run(code: str, env: dict[str, str], stderr: str | None, arguments: list[str], new_session: bool) -> None:
    if new_session:
        os.setsid()
    if stderr is not None:
        os.dup2(os.open(stderr, os.O_WRONLY | os.O_APPEND), 2)
    os.environ.clear()
    os.environ.update(env)
    sys.argv = ["vigie", *arguments]
    exec(code, {"__name__": "__main__"})
