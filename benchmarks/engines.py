"""For `benchmarks.jobs`: a fresh house on either set of engines, the parts at work in it, and what its history says."""

import multiprocessing
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

import sqlalchemy as sa
from pydantic import SecretStr

from services.backends.store import open_store
from services.backends.store.engine import connect, reading
from services.backends.store.tables import delivery, event, result
from services.logs import configure_logging
from services.parts import deliver, dispatcher
from services.settings import Settings
from services.supervisor import Part, run_part
from services.triage.finding import Outcome
from services.triage.result import DeliveryState
from services.worker.main import run_worker
from tests.support.postgres import Postgres, postgres
from tests.support.rabbitmq import RabbitMQ, rabbitmq
from tests.support.segmenter import BrightSegmenter

EMBEDDED, SERVERS = "SQLite", "RabbitMQ + PostgreSQL"
ENGINES = (EMBEDDED, SERVERS)
QUIET_PERIOD_S = 0.5  # longer than it takes to keep the few files of a study, so that none is cut in two
STOP_PATIENCE_S = 30.0

# the model is the one that tests.support.segmenter answers for
ROUTING = """\
[[rule]]
name = "chest CT"
model = "ct_lung_lesion"
modalities = ["CT"]
body_parts = ["CHEST"]
min_slices = 3
"""

# A fresh server forks the parts: nothing is inherited from the benchmark's threads, and each starts in milliseconds.
FRESH = multiprocessing.get_context("forkserver")
FRESH.set_forkserver_preload([__name__, "services.gateway.dispatcher", "services.deliver.main"])


@dataclass(frozen=True, kw_only=True)
class Engines:
    """The servers that run meanwhile, and the folder for all that is kept."""

    folder: Path
    broker: RabbitMQ
    database: Postgres

    @contextmanager
    def fresh(self, engine: str) -> Iterator[Settings]:
        """Settings of a house in which nothing has happened yet: data folder, database and queues of its own."""
        with tempfile.TemporaryDirectory(dir=self.folder, prefix="house-") as data:
            (Path(data) / "routing.toml").write_text(ROUTING)
            common = {
                "data": Path(data),
                "routing": Path(data) / "routing.toml",
                "send_to": (f"{data}/delivered",),
                "quiet_period_s": QUIET_PERIOD_S,
            }
            if engine == EMBEDDED:
                yield Settings(**common, database_url=None, broker_url=None)
                return
            with self.database.database() as url:
                yield Settings(
                    **common,
                    database_url=SecretStr(url),
                    broker_url=SecretStr(self.broker.url),
                    broker_prefix=Path(data).name,
                )


@contextmanager
def engines() -> Iterator[Engines]:
    """Start RabbitMQ and PostgreSQL, on ports and in folders of their own; at the end they and all data are gone."""
    with (
        tempfile.TemporaryDirectory(prefix="jobs-", ignore_cleanup_errors=True) as folder,
        rabbitmq(Path(folder) / "rabbitmq") as broker,
        postgres() as database,
    ):
        yield Engines(folder=Path(folder), broker=broker, database=database)


def worker(settings: Settings) -> None:
    """The worker's own loop, with a segmenter that answers at once."""
    run_worker(settings, BrightSegmenter())


@contextmanager
def at_work(settings: Settings, *, workers: int) -> Iterator[Sequence[BaseProcess]]:
    """So many workers, delivery and the dispatcher, each a process, until the end of the block."""
    parts: tuple[Part, ...] = (*[worker] * workers, deliver, dispatcher)
    processes = [FRESH.Process(target=_run, args=(part, settings), daemon=True) for part in parts]
    try:
        for process in processes:
            process.start()
        yield processes
    finally:
        for process in processes:
            if process.pid is not None:
                process.terminate()
        for process in processes:
            _end(process)


def _run(part: Part, settings: Settings) -> None:
    configure_logging("ERROR")
    run_part(part, settings)


def _end(process: BaseProcess) -> None:
    if process.pid is None:
        return
    process.join(STOP_PATIENCE_S)
    if process.is_alive():
        process.kill()
        process.join()


@dataclass(frozen=True, kw_only=True)
class JobTimes:
    """When one job came to each step, in seconds since the epoch, as the history has it.

    queued: when the dispatcher's turn began that committed the job. leased: when its worker began to lease it.
    frozen: when its worker began to commit the result. sent: when the destination had all of it.
    report_s: seconds of the worker's report stage.
    """

    queued: float
    leased: float
    frozen: float
    sent: float
    report_s: float


_STEPS = {
    ("job", "queued"): "queued",
    ("job", "analysing"): "leased",
    ("job", "frozen"): "frozen",
    ("delivery", "sent"): "sent",
}


class History:
    """What a house's database has noted of all jobs."""

    def __init__(self, settings: Settings) -> None:
        open_store(settings.store_url()).close()  # makes the tables
        self._engine = connect(settings.store_url())

    def sent(self) -> int:
        """How many results have been delivered."""
        counted = sa.select(sa.func.count()).select_from(delivery).where(delivery.c.state == DeliveryState.SENT)
        with reading(self._engine) as connection:
            return int(connection.scalar(counted) or 0)

    def times(self) -> list[JobTimes]:
        """Of all jobs, in the order in which they were queued. Raises RuntimeError when any went another way."""
        found: dict[str, list[tuple[str, float]]] = {}
        outcomes: Counter[str] = Counter()
        with reading(self._engine) as connection:
            for row in connection.execute(sa.select(event)):
                if (step := _STEPS.get((row.kind, row.what))) is not None:
                    found.setdefault(row.study_instance_uid, []).append((step, row.time.timestamp()))
            for row in connection.execute(sa.select(result)):
                outcomes[row.outcome] += 1
                found[row.study_instance_uid].append(("report_s", row.timings_s["report"]))
        once = all(len(lines) == len(_STEPS) + 1 for lines in found.values())
        if set(outcomes) != {Outcome.NOTHING_FOUND} or not once:
            raise RuntimeError(f"not every study was queued, leased, frozen and sent once: {dict(outcomes)}")
        return sorted((JobTimes(**dict(lines)) for lines in found.values()), key=lambda one: one.queued)

    def close(self) -> None:
        """Close the connection."""
        self._engine.dispose()
