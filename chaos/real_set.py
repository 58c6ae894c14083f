"""The set that the campaign plays with: RabbitMQ, PostgreSQL, Triton, and our own processes as `make up` starts them.

Ports and folders are its own. Leases, heartbeats and pauses are short, so that rounds are.
"""

import json
import os
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
from pydantic import SecretStr

from chaos.cast import Member, Part, Process, Server, Supervised, wait_ready
from chaos.disk import Disk
from chaos.pacs import AE_TITLE
from chaos.studies import MODEL
from services.backends.queue import open_queue
from services.settings import Settings
from tests.support.bundle import bright_spot_bundle, routing_file
from tests.support.peers import free_port, listens
from tests.support.postgres import postgres
from tests.support.rabbitmq import rabbitmq
from tests.support.triton import triton_server

LEASE_S = 3.0
HEARTBEAT_S = 3
QUIET_PERIOD_S = 1.5
ANALYSIS_S = 0.5
DISK_MB = 800
VIGIE = Path(sys.executable).parent / "vigie"


class RealSet:
    """Its members by name, the ports between them, and where to look at it from outside."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._log = folder / "log"
        self._log.mkdir()
        self._stack = ExitStack()
        self.pacs = folder / "pacs"
        self.pacs.mkdir()
        # slow enough to be killed in the midst of an analysis
        bright_spot_bundle(folder / "models", name=MODEL, min_volume_ml=0.01, hook=f"time.sleep({ANALYSIS_S})")
        routing_file(folder / "routing.toml", model=MODEL)
        self.members: dict[str, Member] = {}
        self.ports = {name: free_port() for name in ("door", "stow", "desk", "pacs")}
        self.dicom = f"VIGIE@127.0.0.1:{self.ports['door']}"
        self.stow = f"http://127.0.0.1:{self.ports['stow']}"
        self.api = f"http://127.0.0.1:{self.ports['desk']}"

    def start(self) -> None:
        """Start everything; returns when all is ready."""
        self.disk = Disk(self._folder / "data", size_mb=DISK_MB)
        self._stack.callback(self.disk.remove)
        self.data = self.disk.folder
        with ThreadPoolExecutor() as pool:  # each takes some seconds
            servers = [
                pool.submit(self._stack.enter_context, context)
                for context in (
                    rabbitmq(self._folder / "rabbitmq"),
                    postgres(),
                    triton_server(self._folder / "models", self._folder),
                )
            ]
        self._broker, self._database, self._triton = (server.result() for server in servers)
        self._database.execute("CREATE DATABASE vigie TEMPLATE vigie_template")
        self.ports |= {
            "rabbitmq": self._broker.port,
            "postgresql": self._database.port,
            "triton": self._triton.port,
        }
        self._environment = self._settings()
        for member in self._cast():
            self.members[member.name] = member
        for member in self.members.values():
            if isinstance(member, Process):
                member.start()
                self._stack.callback(member.stop)
        self.wait_ready()

    def wait_ready(self) -> None:
        """Return when all members are ready. Raises TimeoutError, EndedByItself."""
        wait_ready(list(self.members.values()))

    def revive(self) -> None:
        """Start again what has crashed by itself."""
        for member in self.members.values():
            if isinstance(member, Supervised):
                member.is_ready()

    def crashes(self) -> dict[str, int]:
        """How often each supervised server has ended by itself."""
        return {name: member.crashes for name, member in self.members.items() if isinstance(member, Supervised)}

    def stop(self) -> None:
        """End everything."""
        self._stack.close()

    def waiting(self) -> dict[str, int]:
        """Messages of each queue, those in a worker's hand too, as the broker's own tool counts them."""
        told = self._broker.control("--quiet", "--formatter=json", "list_queues", "name", "messages")
        queues = {queue["name"]: queue["messages"] for queue in json.loads(told)}
        assert "vigie.jobs" in queues, "our processes do not use this broker"
        return {name: count for name, count in queues.items() if count}

    def forget_messages(self) -> None:
        """Remove all that the broker has kept; it must not run."""
        shutil.rmtree(self._broker.folder / "mnesia")

    def logs(self) -> dict[str, str]:
        """What our processes have logged, by member."""
        return {path.name: path.read_text() for path in self._log.iterdir()}

    def dead_letters(self) -> list[str]:
        """Job ids of dead letters."""
        queue = open_queue(Settings(broker_url=SecretStr(self._environment["VIGIE_BROKER_URL"])))
        try:
            return [letter.message.job_id if letter.message else letter.body for letter in queue.dead_letters()]
        finally:
            queue.close()

    def _cast(self) -> list[Member]:
        door = self._vigie("door", "gateway", "--role", "door", ready=self._door_is_ready, http=self.ports["stow"])
        return [
            Server("rabbitmq", self._broker, ready=lambda: listens(self._broker.port)),
            Server("postgresql", self._database, ready=lambda: listens(self._database.port)),
            Supervised(
                "triton",
                self._triton,
                ready=lambda: listens(self._triton.port),
                has_ended=lambda: self._triton.process is None or self._triton.process.poll() is not None,
            ),
            Part("triton-model", self._triton.model_pids),
            Process(
                "pacs",
                [sys.executable, "-m", "chaos.pacs", self.pacs, str(self.ports["pacs"])],
                log=self._log / "pacs",
                ready=lambda: listens(self.ports["pacs"]),
                environment=self._environment,
            ),
            door,
            Part("dispatcher", lambda: _part_pids(door.log, "dispatcher")),
            self._vigie("desk", "gateway", "--role", "desk", ready=self._desk_is_ready, http=self.ports["desk"]),
            self._vigie("worker-1", "worker"),
            self._vigie("worker-2", "worker"),
            self._vigie("deliver", "deliver"),
        ]

    def _vigie(self, name: str, *words: str, ready: Callable[[], bool] = lambda: True, http: int = 0) -> Process:
        environment = self._environment | ({"VIGIE_HTTP": f"127.0.0.1:{http}"} if http else {})
        return Process(name, [VIGIE, *words], log=self._log / name, ready=ready, environment=environment)

    def _door_is_ready(self) -> bool:
        return listens(self.ports["door"]) and _answers(f"{self.stow}/healthz")

    def _desk_is_ready(self) -> bool:
        return _answers(f"{self.api}/readyz")

    def _settings(self) -> dict[str, str]:
        settings = {
            "data": self.data,
            "min_free_mb": 0,  # the disk is small, and is to be full
            "database_url": self._database.url("vigie"),
            "broker_url": f"{self._broker.url}?heartbeat={HEARTBEAT_S}",
            "triton": self._triton.url,
            "dicom": f"127.0.0.1:{self.ports['door']}",
            "send_to": f"{AE_TITLE}@127.0.0.1:{self.ports['pacs']}",
            "models": self._folder / "models",
            "routing": self._folder / "routing.toml",
            "quiet_period_s": QUIET_PERIOD_S,
            "lease_s": LEASE_S,
            "delivery_retry_s": 0.5,
            "delivery_retry_max_s": 2,
        }
        return os.environ | {f"VIGIE_{name.upper()}": str(value) for name, value in settings.items()}


def _part_pids(log: Path, part: str) -> list[int]:
    """The process of a part of `vigie gateway` as last started."""
    events = (json.loads(line) for line in log.read_text().splitlines() if '"part_started"' in line)
    return [event["pid"] for event in events if event["part"] == part][-1:]


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=3).is_success
    except httpx.TransportError:
        return False
