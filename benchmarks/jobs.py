"""Jobs without their model: queue, database, worker loop and delivery, embedded and on RabbitMQ + PostgreSQL.

    .venv/bin/python -m benchmarks.jobs [--jobs N] [--idle N] [--write docs/measurements/jobs.md]

The segmenter answers at once, so that what is measured is ours: the real dispatcher, workers and delivery, each a
process, on tiny one-series CTs. Every time comes from the database's own history. A backlog: all studies lie in the
inbox when the dispatcher starts. Idle: each study comes when the one before has been delivered.
"""

import argparse
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from itertools import accumulate
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import sqlalchemy as sa
from rich.console import Console
from rich.progress import track

from benchmarks.engines import ENGINES, QUIET_PERIOD_S, Engines, at_work, engines
from services.backends.files import FolderStudyFiles
from services.backends.store import open_store
from services.backends.store.engine import connect, reading
from services.backends.store.tables import event, result
from services.gateway.intake import Intake
from services.settings import Settings
from services.triage.finding import Outcome
from tests.support.ct import ct_series

WORKERS = (1, 2, 4)
SHAPE = (3, 16, 16)  # the fewest slices that a rule may ask for
WARM_UP = 3  # studies before an idle system is measured
STALLED_S = 120.0
LOOK_S = 0.1
MOST_OVERHEAD_MS = 50.0  # the target: p95 on an idle system

StudyFiles = list[bytes]  # the Part 10 files of one study


@dataclass(frozen=True, kw_only=True)
class JobTimes:
    """When one job came to each step, in seconds since the epoch, as the history has it.

    queued: when the dispatcher's turn began that committed the job. leased: when the worker asked for it.
    frozen: when the worker began to commit its result. sent: when the destination had all of it.
    """

    queued: float
    leased: float
    frozen: float
    sent: float


@dataclass(frozen=True, kw_only=True)
class Backlog:
    """One run over a backlog."""

    engine: str
    workers: int
    times: list[JobTimes]


def make_studies(count: int) -> list[StudyFiles]:
    """So many chest CTs of air."""
    return [_study(seed) for seed in range(count)]


def _study(seed: int) -> StudyFiles:
    files = []
    for dataset in ct_series(np.full(SHAPE, -900 + seed % 50), seed=seed):
        buffer = BytesIO()
        dataset.save_as(buffer, enforce_file_format=True)
        files.append(buffer.getvalue())
    return files


def keep(settings: Settings, studies: Sequence[StudyFiles]) -> None:
    """Take studies in as the door does: each file is on disk when this returns."""
    files = FolderStudyFiles(settings.data)
    intake = Intake(files=files, max_instance_bytes=settings.max_instance_mb * 10**6)
    for content in (content for study in studies for content in study):
        intake.keep(content, intake.understand(content, received_from="CT1"), received_from="CT1")


class History:
    """What the database has noted of all jobs."""

    def __init__(self, settings: Settings) -> None:
        open_store(settings.store_url()).close()  # makes the tables, if nobody has
        self._engine = connect(settings.store_url())

    def sent(self) -> int:
        """How many results have been delivered."""
        with reading(self._engine) as connection:
            rows = sa.select(sa.func.count()).select_from(event).where(event.c.kind == "delivery")
            return int(connection.scalar(rows.where(event.c.what == "sent")) or 0)

    def times(self) -> list[JobTimes]:
        """Of all jobs, in the order in which they were queued. Raises RuntimeError when any went another way."""
        steps = {("job", "queued"): "queued", ("job", "analysing"): "leased"}
        steps |= {("job", "frozen"): "frozen", ("delivery", "sent"): "sent"}
        found: dict[str, list[tuple[str, float]]] = {}
        with reading(self._engine) as connection:
            outcomes = Counter(connection.scalars(sa.select(result.c.outcome)))
            for row in connection.execute(sa.select(event).order_by(event.c.id)):
                step = steps.get((row.kind, row.what))
                if step is not None:
                    found.setdefault(row.study_instance_uid, []).append((step, row.time.timestamp()))
        if set(outcomes) != {Outcome.NOTHING_FOUND} or any(len(lines) != len(steps) for lines in found.values()):
            raise RuntimeError(f"not every study was analysed once and sent once: {dict(outcomes)}")
        return sorted((JobTimes(**dict(lines)) for lines in found.values()), key=lambda one: one.queued)

    def close(self) -> None:
        """Close the connection."""
        self._engine.dispose()


def deliveries(history: History, count: int, processes: Sequence[BaseProcess]) -> Iterator[int]:
    """Yield once for each delivery until there are so many. Raises RuntimeError when nothing moves any more."""
    seen, moved_at = 0, time.monotonic()
    while seen < count:
        time.sleep(LOOK_S)
        now = history.sent()
        if now > seen:
            yield from range(seen, now)
            seen, moved_at = now, time.monotonic()
        if time.monotonic() - moved_at > STALLED_S or not all(process.is_alive() for process in processes):
            raise RuntimeError(f"{seen} of {count} results were delivered, then nothing moved")


def backlog(the_engines: Engines, engine: str, workers: int, studies: Sequence[StudyFiles]) -> Backlog:
    """All studies at once."""
    console = Console(stderr=True)
    with the_engines.fresh(engine) as settings:
        history = History(settings)
        keep(settings, studies)
        told = f"{engine}, {workers} worker{'s'[: workers > 1]}"
        with at_work(settings, workers=workers) as processes:
            for _ in track(deliveries(history, len(studies), processes), told, len(studies), console=console):
                pass
        times = history.times()
        history.close()
    return Backlog(engine=engine, workers=workers, times=times)


def idle(the_engines: Engines, engine: str, studies: Sequence[StudyFiles]) -> list[JobTimes]:
    """One study after the other; the first ones are not counted."""
    pauses = random.Random(1)  # noqa: S311 - no secret
    with the_engines.fresh(engine) as settings:
        history = History(settings)
        with at_work(settings, workers=1) as processes:
            fed = track(list(enumerate(studies, 1)), f"{engine}, idle", console=Console(stderr=True))
            for number, study in fed:
                keep(settings, [study])
                list(deliveries(history, number, processes))
                time.sleep(pauses.uniform(0, 1))  # in step with nobody's polling
        times = history.times()
        history.close()
    return times[WARM_UP:]


def percentile(values: Sequence[float], percent: float) -> float:
    """Linear between the two nearest."""
    return float(np.percentile(values, percent))


def most_waiting(times: Sequence[JobTimes]) -> int:
    """The longest that the queue has been, in jobs that no worker had."""
    steps = sorted([(one.queued, 1) for one in times] + [(one.leased, -1) for one in times])
    return max(accumulate(step for _, step in steps))


def backlog_table(runs: Sequence[Backlog]) -> str:
    """Pace and waits of each run, in Markdown."""
    lines = [
        "| engines | workers | jobs/s | queued to frozen, p50 s | p99 s | most waiting | frozen to sent, p50 s | p95 s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for run in sorted(runs, key=lambda one: ENGINES.index(one.engine)):
        wall_s = max(one.frozen for one in run.times) - min(one.queued for one in run.times)
        done_s = [one.frozen - one.queued for one in run.times]
        lag_s = [one.sent - one.frozen for one in run.times]
        lines.append(
            f"| {run.engine} | {run.workers} | {len(run.times) / wall_s:.1f} | {percentile(done_s, 50):.1f} "
            f"| {percentile(done_s, 99):.1f} | {most_waiting(run.times)} | {percentile(lag_s, 50):.2f} "
            f"| {percentile(lag_s, 95):.2f} |"
        )
    return "\n".join(lines)


def idle_table(runs: dict[str, list[JobTimes]]) -> str:
    """What a study alone waits for, in Markdown."""
    lines = [
        "| engines | studies | queued to leased, p50 ms | p95 ms | leased to frozen, p50 ms | frozen to sent, p50 ms "
        "| p95 ms |",
        "|---|---|---|---|---|---|---|",
    ]
    for engine, times in runs.items():
        lag_ms = [1000 * (one.sent - one.frozen) for one in times]
        lines.append(
            f"| {engine} | {len(times)} | {percentile(overheads_ms(times), 50):.0f} "
            f"| {percentile(overheads_ms(times), 95):.0f} "
            f"| {percentile([1000 * (one.frozen - one.leased) for one in times], 50):.0f} "
            f"| {percentile(lag_ms, 50):.0f} | {percentile(lag_ms, 95):.0f} |"
        )
    return "\n".join(lines)


def overheads_ms(times: Sequence[JobTimes]) -> list[float]:
    """What dispatching costs: from queued to leased, of each job."""
    return [1000 * (one.leased - one.queued) for one in times]


def verdicts(runs: dict[str, list[JobTimes]]) -> list[str]:
    """The target, and whether this run met it."""
    lines = []
    for engine, times in runs.items():
        p95 = percentile(overheads_ms(times), 95)
        met = "met" if p95 < MOST_OVERHEAD_MS else "NOT met"
        lines.append(f"- {met}: p95 of the dispatch overhead on idle {engine} is {p95:.0f} ms (under 50 ms)")
    return lines


def main() -> None:
    """Measure, print, and write the page of the documentation if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1000, help="of each backlog")
    parser.add_argument("--idle", type=int, default=100, help="studies that come alone")
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    load = os.getloadavg()[0]
    studies = make_studies(max(options.jobs, options.idle + WARM_UP))
    with engines() as the_engines:
        alone = {engine: idle(the_engines, engine, studies[: options.idle + WARM_UP]) for engine in ENGINES}
        # engines in turn, so that a change of what else the machine does meets both
        runs = [
            backlog(the_engines, engine, workers, studies[: options.jobs]) for workers in WORKERS for engine in ENGINES
        ]
    text = "\n".join([idle_table(alone), "", *verdicts(alone), "", backlog_table(runs)])
    sys.stdout.write(text + "\n")
    if options.write:
        options.write.parent.mkdir(parents=True, exist_ok=True)
        options.write.write_text(
            PAGE.format(
                date=datetime.now(UTC).date(), jobs=options.jobs, idle=options.idle, load=load, text=text,
                cores=os.cpu_count(), slices=SHAPE[0], quiet_s=QUIET_PERIOD_S,
            )
        )  # fmt: skip


PAGE = """TODO {text}"""


if __name__ == "__main__":
    # an exception, so that what was started is stopped
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(128 + signal.SIGTERM))
    main()
