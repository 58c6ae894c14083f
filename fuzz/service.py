"""The service under fire: `vigie gateway` with every listener, in a folder whose surroundings are watched."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from services.backends.files import FolderStudyFiles
from tests.support.peers import free_port, listens, wait_until

REPOSITORY = Path(__file__).resolve().parents[1]
VIGIE = Path(sys.executable).parent / "vigie"
AE_TITLE = "FUZZ"
MAX_INSTANCE_MB = 4
QUIET_PERIOD_S = 0.2


@dataclass(frozen=True, kw_only=True)
class Service:
    """A running gateway. `around`: the folder in which it may write nowhere but in `data` and to `log`."""

    around: Path
    process: subprocess.Popen[bytes]
    dicom_port: int
    http_port: int
    hl7_port: int
    data: Path = field(init=False)
    log: Path = field(init=False)
    files: FolderStudyFiles = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "data", self.around / "a" / "b" / "data")
        object.__setattr__(self, "log", self.around / "service.log")
        object.__setattr__(self, "files", FolderStudyFiles(self.data))

    @property
    def url(self) -> str:
        """Where HTTP is spoken."""
        return f"http://127.0.0.1:{self.http_port}"

    def lines(self) -> Iterator[str]:
        """What it has logged."""
        with self.log.open(encoding="utf-8", errors="replace") as log:
            yield from log

    def parts(self) -> dict[str, int]:
        """Process id of each part, as last started."""
        started = [event for event in map(event_of, self.lines()) if event.get("event") == "part_started"]
        return {str(event["part"]): int(event["pid"]) for event in started}


def event_of(line: str) -> dict[str, Any]:
    """A logged event; {} for a line that is none."""
    try:
        event = json.loads(line)
    except ValueError:
        return {}
    return event if isinstance(event, dict) else {}


@contextmanager
def running(around: Path) -> Iterator[Service]:
    """Run it until the end of the block; returns once all its parts listen."""
    ports = {name: free_port() for name in ("dicom", "http", "hl7")}
    elsewhere = around / "tmp"
    elsewhere.mkdir(parents=True)
    settings = {name: f"127.0.0.1:{number}" for name, number in ports.items()} | {
        "data": around / "a" / "b" / "data",
        "quiet_period_s": QUIET_PERIOD_S,
        "max_instance_mb": MAX_INSTANCE_MB,
        "completion_signals": "true",
        "min_free_mb": 0,
        "requests_per_minute": 0,  # one caller asks thousands of times
    }
    environment = os.environ | {f"VIGIE_{name.upper()}": str(value) for name, value in settings.items()}
    # it runs in another folder, and must be of this tree
    environment |= {"TMPDIR": str(elsewhere), "HOME": str(elsewhere), "PYTHONPATH": str(REPOSITORY)}
    with (
        (around / "service.log").open("wb") as log,
        subprocess.Popen(
            [VIGIE, "gateway"], env=environment, stderr=log, stdout=log, cwd=elsewhere, start_new_session=True
        ) as process,
    ):
        try:
            wait_until(lambda: process.poll() is not None or all(map(listens, ports.values())), what="the service")
            yield Service(
                around=around,
                process=process,
                dicom_port=ports["dicom"],
                http_port=ports["http"],
                hl7_port=ports["hl7"],
            )
            process.terminate()
            process.wait(60)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def children(pid: int) -> list[int]:
    """The processes that a process has made and that are not gone."""
    try:
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def memory_mb(pid: int) -> float:
    """Resident memory of a process that is its own (RssAnon), in MB; 0 when it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    found = re.search(r"RssAnon:\s+(\d+) kB", status)
    return int(found[1]) / 1024 if found else 0.0


def open_files(pid: int) -> int:
    """How many file descriptors a process has open."""
    try:
        return len(list(Path(f"/proc/{pid}/fd").iterdir()))
    except FileNotFoundError:
        return 0
