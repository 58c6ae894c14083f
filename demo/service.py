"""`vigie standalone` as the demo's child process, and what its HTTP API says of a study."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

VIGIE = Path(sys.executable).with_name("vigie")
QUIET_PERIOD_S = 3.0
PUSHES = 3
START_S = 60.0
STOP_S = 60.0
FINAL_STATES = frozenset({"analysed", "not_analysed", "failed", "out_of_scope"})


class ServiceFailed(Exception):
    """`vigie standalone` did not start, ended by itself, or did not answer in time."""


@dataclass(frozen=True, kw_only=True)
class Service:
    """A running `vigie standalone`: where it listens, and its log."""

    api: str
    dicom: str
    log: Path
    process: subprocess.Popen[bytes]

    def push(self, paths: Sequence[Path]) -> float:
        """C-STORE the files with `vigie send`; answers how many seconds it took. Raises ServiceFailed.

        Like a PACS it tries again: what was kept already is harmless to send twice.
        """
        begin = time.monotonic()
        command = [str(VIGIE), "send", *map(str, paths), f"VIGIE@{self.dicom}"]
        for _ in range(PUSHES):
            done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603, our own command
            if done.returncode == 0:
                return time.monotonic() - begin
            self.check()
        raise ServiceFailed(f"vigie send ended with {done.returncode}: {done.stderr.strip()[-500:]}")

    def study(self, study_instance_uid: str) -> dict[str, Any] | None:
        """GET /api/studies/{uid}; None while nothing is known of it. Raises ServiceFailed."""
        self.check()
        try:
            answer = httpx.get(f"{self.api}/api/studies/{study_instance_uid}", timeout=30)
        except httpx.TransportError:
            # it may be busy: the caller asks again until its deadline
            return None
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        answer.raise_for_status()
        return dict(answer.json())

    def check(self) -> None:
        """Raises ServiceFailed, with the end of the log, when the process has ended."""
        if self.process.poll() is not None:
            raise ServiceFailed(f"vigie standalone ended with {self.process.returncode}:\n{tail(self.log)}")


def is_final(detail: dict[str, Any] | None) -> bool:
    """Whether a study has come to its end, with every delivery done or given up."""
    if detail is None or detail["summary"]["state"] not in FINAL_STATES:
        return False
    results = [job["result"] for job in detail["versions"][0]["jobs"] if job["result"]]
    return all(delivery["state"] != "pending" for result in results for delivery in result["deliveries"])


@contextmanager
def standalone(*, data: Path, send_to: str, log: Path, **settings: Path) -> Iterator[Service]:
    """Run `vigie standalone` on free ports of loopback; it is stopped in any case.

    send_to: where results go, AET@HOST:PORT or a folder. settings: others, by name. Raises ServiceFailed.
    """
    http, dicom = (f"127.0.0.1:{port}" for port in _free_ports(2))
    options = {"--data": data, "--http": http, "--dicom": dicom, "--quiet-period": QUIET_PERIOD_S, "--send-to": send_to}
    command = [str(VIGIE), "standalone", *(str(word) for option in options.items() for word in option)]
    environment = os.environ | {f"VIGIE_{name.upper()}": str(value) for name, value in settings.items()}
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)  # noqa: S603, our own command
    try:
        service = Service(api=f"http://{http}", dicom=dicom, log=log, process=process)
        _wait_until_ready(service)
        yield service
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until(done: Callable[[], bool], *, deadline_s: float, what: str, pause_s: float = 0.5) -> None:
    """Ask until `done`. Raises ServiceFailed after `deadline_s`."""
    end = time.monotonic() + deadline_s
    while not done():
        if time.monotonic() > end:
            raise ServiceFailed(f"{what}: not within {deadline_s:.0f} s")
        time.sleep(pause_s)


def tail(log: Path, lines: int = 15) -> str:
    """The last lines of a log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def _wait_until_ready(service: Service) -> None:
    host, port = service.dicom.split(":")

    def ready() -> bool:
        service.check()
        try:
            with socket.create_connection((host, int(port)), timeout=1):
                return httpx.get(f"{service.api}/readyz", timeout=5).is_success
        except (OSError, httpx.TransportError):
            return False

    wait_until(ready, deadline_s=START_S, what="vigie standalone answers")


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports
