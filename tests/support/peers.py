"""Real peers for tests: dcmtk's storescp as a PACS, free ports, waiting for a condition."""

import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(condition: Callable[[], object], *, timeout_s: float = 60, what: str = "the condition") -> None:
    """Return when the condition holds. Raises TimeoutError."""
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"{what} did not come true in {timeout_s} s")
        time.sleep(0.05)


def listens(port: int) -> bool:
    """Whether someone accepts connections on this port of the loopback interface."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def storescp(folder: Path, port: int, *options: str) -> Iterator[str]:
    """Run dcmtk's storescp, which keeps what it receives byte for byte; answers its address AET@HOST:PORT."""
    folder.mkdir(parents=True, exist_ok=True)
    program = shutil.which("storescp")
    assert program, "dcmtk is needed: apt-get install dcmtk"
    command = [program, "--bit-preserving", "--output-directory", str(folder), "--aetitle", "PACS", *options, str(port)]
    with subprocess.Popen(command, env={"TCP_NODELAY": "1"}, stdout=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: listens(port), what="storescp listening")
            yield f"PACS@127.0.0.1:{port}"
        finally:
            process.kill()


def received(folder: Path) -> Sequence[Path]:
    """Files that a storescp has kept."""
    return sorted(path for path in folder.iterdir() if path.is_file())
