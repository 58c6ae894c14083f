"""The HL7 listener as a real process."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from services.backends.store import SqlStudyStore, open_store
from services.settings import Settings
from tests.support.peers import free_port, listens, wait_until
from tests.support.warm import Program

RUN = """
from services.logs import configure_logging
from services.parts import adt
from services.settings import Settings
from services.supervisor import run_part
configure_logging(Settings().log_level)
run_part(adt, Settings())
"""
DIES_BEFORE_IT_ANSWERS = """
import os, signal
from services.gateway.adt import acknowledge
acknowledge.accepted = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
"""


@dataclass(frozen=True, kw_only=True)
class Listener:
    """A running listener. `log`: its standard error."""

    port: int
    data: Path
    log: Path
    process: subprocess.Popen[bytes] | Program
    url: str

    def store(self) -> SqlStudyStore:
        return open_store(self.url)

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(30)


@contextmanager
def listener(data: Path, *, first: str = "", port: int | None = None, **settings: object) -> Iterator[Listener]:
    """Run it until the end of the block. first: what the process does before. `settings`: by name, as VIGIE_..."""
    port = port or free_port()
    values = {"data": data, "hl7": f"127.0.0.1:{port}"} | settings
    url = str(values.get("database_url") or Settings(data=data).store_url())
    environment = os.environ | {f"VIGIE_{name.upper()}": str(value) for name, value in values.items()}
    data.mkdir(parents=True, exist_ok=True)
    log = data / "listener.log"
    with (
        log.open("ab") as stderr,
        subprocess.Popen([sys.executable, "-c", first + RUN], env=environment, stderr=stderr)
        if first
        else Program(RUN, env=environment, stderr=stderr) as process,
    ):
        try:
            wait_until(lambda: listens(port) or process.poll() is not None, what="the listener listening")
            yield Listener(port=port, data=data, log=log, process=process, url=url)
        finally:
            if process.poll() is None:
                process.kill()
