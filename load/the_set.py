"""The production set on ports and in a folder of its own: RabbitMQ, PostgreSQL, Orthanc, and our own processes."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from chaos.cast import EndedByItself, Process, wait_ready
from load.null_worker import ROUTING
from tests.support.orthanc import Orthanc, orthanc
from tests.support.peers import free_port, listens
from tests.support.postgres import Postgres, postgres
from tests.support.rabbitmq import rabbitmq

WORKERS = 2
VIGIE = Path(sys.executable).parent / "vigie"


@dataclass(frozen=True, kw_only=True)
class TheSet:
    """Its processes, and where to look at it from outside. quiet_period_s: of a study."""

    folder: Path
    data: Path
    dicom: str
    api: str
    database_url: str
    pacs: Orthanc
    processes: tuple[Process, ...]
    quiet_period_s: float

    def require_alive(self) -> None:
        """Raises EndedByItself when one of our processes has ended, or a part of one was started again."""
        for process in self.processes:
            process.is_ready()
        for event in self.log_events("part_died"):
            raise EndedByItself(f"part {event['part']} died with exit code {event['exit_code']}; see {self.folder}/log")

    def log_events(self, *names: str) -> Iterator[dict[str, Any]]:
        """What our processes have logged under these names."""
        for path in sorted((self.folder / "log").iterdir()):
            with path.open(encoding="utf-8", errors="replace") as lines:
                for line in lines:
                    if line.startswith("{") and any(f'"event": "{name}"' in line for name in names):
                        yield json.loads(line)

    def parts(self) -> dict[int, str]:
        """Process id -> name of the part, of those that the gateways have started."""
        return {event["pid"]: event["part"] for event in self.log_events("part_started")}


@contextmanager
def the_set(folder: Path, *, quiet_period_s: float) -> Iterator[TheSet]:
    """Start everything; at the end of the block it is gone, and what it has kept is left in the folder."""
    (folder / "log").mkdir(parents=True)
    (folder / "routing.toml").write_text(ROUTING)
    with ExitStack() as stack:
        with ThreadPoolExecutor() as pool:  # each takes some seconds
            broker = pool.submit(stack.enter_context, rabbitmq(folder / "rabbitmq"))
            database = pool.submit(stack.enter_context, postgres())
            pacs = pool.submit(stack.enter_context, orthanc(folder / "orthanc"))
        running = _own(folder, broker.result().url, database.result(), pacs.result(), quiet_period_s)
        for process in running.processes:
            process.start()
            stack.callback(process.stop)
        wait_ready(running.processes)
        yield running


def _own(folder: Path, broker_url: str, database: Postgres, pacs: Orthanc, quiet_period_s: float) -> TheSet:
    database.execute("CREATE DATABASE vigie TEMPLATE vigie_template")
    door, stow, desk = free_port(), free_port(), free_port()
    settings = {
        "data": folder / "data",
        "database_url": database.url("vigie"),
        "broker_url": broker_url,
        "dicom": f"127.0.0.1:{door}",
        "send_to": pacs.address,
        "routing": folder / "routing.toml",
        "quiet_period_s": quiet_period_s,
    }
    environment = os.environ | {f"VIGIE_{name.upper()}": str(value) for name, value in settings.items()}

    def process(name: str, *words: str | Path, ready: Callable[[], bool] = lambda: True, http: int = 0) -> Process:
        own = environment | ({"VIGIE_HTTP": f"127.0.0.1:{http}"} if http else {})
        return Process(name, words, log=folder / "log" / name, ready=ready, environment=own)

    api = f"http://127.0.0.1:{desk}"
    return TheSet(
        folder=folder,
        data=folder / "data",
        dicom=f"VIGIE@127.0.0.1:{door}",
        api=api,
        database_url=database.url("vigie"),
        pacs=pacs,
        processes=(
            process("door", VIGIE, "gateway", "--role", "door", ready=lambda: listens(door), http=stow),
            process("desk", VIGIE, "gateway", "--role", "desk", ready=lambda: _answers(f"{api}/readyz"), http=desk),
            *(
                process(f"worker-{number}", sys.executable, "-m", "load.null_worker")
                for number in range(1, WORKERS + 1)
            ),
            process("deliver", VIGIE, "deliver"),
        ),
        quiet_period_s=quiet_period_s,
    )


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=3).is_success
    except httpx.TransportError:
        return False
