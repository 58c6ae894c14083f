"""Real peers for tests: dcmtk's storescp as a PACS, free ports, waiting for a condition."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import cycle
from pathlib import Path

# below those that the system gives out by itself, and other ones for each of the workers that test side by side: a port
# on which a test wants nobody to listen is nobody else's meanwhile
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw3").removeprefix("gw")) % 4
_PORTS = cycle(range(20_000 + 3_000 * _WORKER, 23_000 + 3_000 * _WORKER))


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens on now."""
    for port in _PORTS:
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("unreachable: the ports go round")


def wait_until(condition: Callable[[], object], *, timeout_s: float = 180, what: str = "the condition") -> None:
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


@contextmanager
def dcmqrscp(folder: Path, move_to: int) -> Iterator[str]:
    """Run dcmtk's archive, which counts nothing and tells no SOP classes; VIGIE is at the port `move_to`."""
    program = shutil.which("dcmqrscp")
    assert program, "dcmtk is needed: apt-get install dcmtk"
    (folder / "archive").mkdir(parents=True)
    port = free_port()
    (folder / "dcmqrscp.cfg").write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 16384\nMaxAssociations = 16\n"
        f"HostTable BEGIN\nvigie = (VIGIE, 127.0.0.1, {move_to})\nHostTable END\n"
        "VendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\nARCHIVE {folder / 'archive'} RW (200, 1024mb) ANY\nAETable END\n"
    )
    command = [program, "--config", str(folder / "dcmqrscp.cfg")]
    with subprocess.Popen(command, env={"TCP_NODELAY": "1"}, stderr=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: listens(port), what="dcmqrscp listening")
            yield f"ARCHIVE@127.0.0.1:{port}"
        finally:
            process.terminate()


def received(folder: Path) -> Sequence[Path]:
    """Files that a storescp has kept."""
    return sorted(path for path in folder.iterdir() if path.is_file())
