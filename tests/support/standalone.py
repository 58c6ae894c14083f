"""`vigie standalone` as a process group of its own: started, watched, stopped, killed.

With a worker whose segmenter is fast and deterministic, for tests that force faults, the rest is real, and starts warm.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from services.parts import STANDALONE
from services.parts import worker as real_worker
from services.settings import Settings
from services.standalone import run_standalone
from services.worker import main
from services.worker.attempt import Attempts
from services.worker.main import run_worker
from tests.support.peers import free_port, wait_until
from tests.support.segmenter import BrightSegmenter
from tests.support.warm import Program

FAKE_SECONDS = "TEST_SEGMENTER_SECONDS"
VIGIE = str(Path(sys.executable).parent / "vigie")
RUN = "from tests.support.standalone import run; run()"


def worker(settings: Settings) -> None:
    """The worker with a fake segmenter."""
    main.Attempts = partial(Attempts, retry_s=0.1)  # type: ignore[assignment,misc]
    run_worker(settings, BrightSegmenter(takes_s=float(os.environ[FAKE_SECONDS])))


@dataclass
class Running:
    """A supervisor that runs. `log`: its standard error."""

    process: subprocess.Popen[bytes] | Program
    log: Path
    http_port: int
    dicom_port: int
    address: str = field(init=False)

    def __post_init__(self) -> None:
        self.address = f"VIGIE@127.0.0.1:{self.dicom_port}"

    def events(self, name: str) -> list[dict[str, object]]:
        """Logged events of this name, oldest first."""
        lines = (line for line in self.log.read_text().splitlines() if line.startswith("{"))
        return [event for event in map(json.loads, lines) if event["event"] == name]

    def pid_of(self, part: str) -> int:
        """The process id of a part as last started."""
        return int(str([event["pid"] for event in self.events("part_started") if event["part"] == part][-1]))

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ask the supervisor to stop; answers its exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout=60)

    def kill_all(self) -> None:
        """SIGKILL to the supervisor and to every process it has started."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@contextmanager
def standalone(
    data: Path,
    *,
    send_to: Sequence[str] = (),
    quiet_period_s: float = 0.5,
    fake_segmenter_s: float | None = None,
    ports: tuple[int, int] | None = None,
    **settings: object,
) -> Iterator[Running]:
    """Run it until the end of the block, and wait until it listens. `settings`: by name, passed as VIGIE_..."""
    http_port, dicom_port = ports or (free_port(), free_port())
    flags = ["--data", data, "--http", f"127.0.0.1:{http_port}", "--dicom", f"127.0.0.1:{dicom_port}"]
    flags += ["--quiet-period", quiet_period_s, *(part for each in send_to for part in ("--send-to", each))]
    words = [str(flag) for flag in flags]
    environment = os.environ | {f"VIGIE_{name.upper()}": str(value) for name, value in settings.items()}
    environment[FAKE_SECONDS] = str(fake_segmenter_s)
    data.mkdir(parents=True, exist_ok=True)
    log = data.parent / f"{data.name}.{dicom_port}.{len(list(data.parent.iterdir()))}.log"
    with (
        log.open("wb") as stderr,
        (
            subprocess.Popen([VIGIE, "standalone", *words], stderr=stderr, env=environment, start_new_session=True)
            if fake_segmenter_s is None
            else Program(RUN, arguments=words, env=environment, stderr=stderr, start_new_session=True)
        ) as process,
    ):
        running = Running(process=process, log=log, http_port=http_port, dicom_port=dicom_port)
        try:
            wait_until(
                lambda: running.events("door_open") or process.poll() is not None, timeout_s=60, what="door open"
            )
            assert process.poll() is None, log.read_text()
            yield running
        finally:
            if process.poll() is None:
                running.kill_all()


def run() -> None:
    """The command `vigie standalone`, with that worker."""
    import typer

    from services.cli import standalone as command

    parts = tuple(worker if part is real_worker else part for part in STANDALONE)
    command.run_standalone = partial(run_standalone, parts=parts)  # type: ignore[assignment]
    typer.run(command.standalone)
