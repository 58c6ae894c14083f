"""Jobs without their model: queue, database, worker loop and delivery, on SQLite and on RabbitMQ + PostgreSQL.

    .venv/bin/python -m benchmarks.jobs [--jobs N] [--idle N] [--write docs/measurements/jobs.md]

The segmenter answers at once, so that what is measured is ours: the real dispatcher, workers and delivery, each a
process, on tiny one-series CTs. Every time comes from the database's own history. Idle: each study comes when the one
before has been delivered. Backlog: all studies lie in the inbox when the dispatcher starts.
"""

import argparse
import os
import random
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from io import BytesIO
from itertools import accumulate
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track

from benchmarks.engines import ENGINES, Engines, History, JobTimes, at_work, engines
from services.backends.files import FolderStudyFiles
from services.gateway.intake import Intake
from services.gateway.reception import Reception
from services.settings import Settings
from tests.support.ct import ct_series

WORKERS = (1, 2, 4)
SHAPE = (3, 16, 16)  # [slice, row, column]; the fewest slices that a routing rule may ask for
AIR_HU = -900
WARM_UP = 3  # studies before an idle system is measured
STALLED_S = 120.0
LOOK_S = 0.2
MOST_OVERHEAD_MS = 50.0  # the target: p95 on an idle system

StudyFiles = list[bytes]  # the Part 10 files of one study
Idle = dict[str, list[JobTimes]]  # by engine
Backlogs = dict[tuple[str, int], list[JobTimes]]  # by engine and number of workers


def make_study(seed: int) -> StudyFiles:
    """One chest CT of air."""
    files = []
    for dataset in ct_series(np.full(SHAPE, AIR_HU), seed=seed):
        buffer = BytesIO()
        dataset.save_as(buffer, enforce_file_format=True)
        files.append(buffer.getvalue())
    return files


def the_door(settings: Settings) -> Intake:
    """The way in that C-STORE and STOW-RS share."""
    return Intake(files=FolderStudyFiles(settings.data), max_instance_bytes=settings.max_instance_mb * 10**6)


def keep(intake: Intake, study: StudyFiles) -> None:
    """Take a study in as the door does: its files are on disk when this returns."""
    reception = Reception("C-STORE")
    for content in study:
        instance = intake.understand(content, received_from="CT1")
        intake.keep(content, instance, received_from="CT1", reception=reception)
    reception.end()


def deliveries(history: History, count: int, processes: Sequence[BaseProcess]) -> Iterator[int]:
    """Yield once for each delivery until there are so many. Raises RuntimeError when nothing moves any more."""
    seen, moved_at = 0, time.monotonic()
    while seen < count:
        time.sleep(LOOK_S)
        now = history.sent()
        if now > seen:
            yield from range(seen, now)
            seen, moved_at = now, time.monotonic()
        elif time.monotonic() - moved_at > STALLED_S or not all(process.is_alive() for process in processes):
            raise RuntimeError(f"{seen} of {count} results were delivered, then nothing moved")


def backlog(the_engines: Engines, engine: str, workers: int, studies: Sequence[StudyFiles]) -> list[JobTimes]:
    """All studies at once."""
    console = Console(stderr=True)
    with the_engines.fresh(engine) as settings, closing(History(settings)) as history:
        door = the_door(settings)
        for study in track(studies, f"{engine}: studies into the inbox", console=console, transient=True):
            keep(door, study)
        with at_work(settings, workers=workers) as processes:
            sent = deliveries(history, len(studies), processes)
            for _ in track(sent, f"{engine}: {len(studies)} jobs, workers: {workers}", len(studies), console=console):
                pass
        return history.times()


def idle(the_engines: Engines, engine: str, studies: Sequence[StudyFiles]) -> list[JobTimes]:
    """One study after the other, with one worker; the first ones are not counted."""
    dice, console = random.Random(1), Console(stderr=True)  # noqa: S311 - no secret
    with the_engines.fresh(engine) as settings, closing(History(settings)) as history:
        door, numbered = the_door(settings), list(enumerate(studies, 1))
        with at_work(settings, workers=1) as processes:
            for number, study in track(numbered, f"{engine}: one study at a time", console=console):
                keep(door, study)
                for _ in deliveries(history, number, processes):
                    pass
                time.sleep(dice.uniform(0, 1))  # in step with nobody's polling
        return history.times()[WARM_UP:]


def measure(jobs: int, alone: int) -> tuple[Idle, Backlogs]:
    """All runs; the engines take turns, so that a change of what else the machine does meets both."""
    studies = [make_study(seed) for seed in range(max(jobs, alone + WARM_UP))]
    with engines() as the_engines:
        idles = {engine: idle(the_engines, engine, studies[: alone + WARM_UP]) for engine in ENGINES}
        backlogs = {
            (engine, workers): backlog(the_engines, engine, workers, studies[:jobs])
            for workers in WORKERS
            for engine in ENGINES
        }
    return idles, backlogs


def between(times: Sequence[JobTimes], first: str, last: str, percent: float) -> float:
    """A percentile of the seconds from one step to another."""
    return float(np.percentile([getattr(one, last) - getattr(one, first) for one in times], percent))


def most_waiting(times: Sequence[JobTimes]) -> int:
    """The longest that the queue has been, in jobs that no worker had."""
    steps = sorted([(one.queued, 1) for one in times] + [(one.leased, -1) for one in times])
    return max(accumulate(step for _, step in steps))


def idle_table(idles: Idle) -> str:
    """What a study alone waits for, in Markdown."""
    lines = [
        "| one at a time, ms | queued to leased: p50 | p95 | leased to frozen: p50 | of it the report: p50 "
        "| frozen to sent: p50 | p95 |",
        "|---|---|---|---|---|---|---|",
    ]
    for engine, times in idles.items():
        seconds = (
            between(times, "queued", "leased", 50),
            between(times, "queued", "leased", 95),
            between(times, "leased", "frozen", 50),
            float(np.median([one.report_s for one in times])),
            between(times, "frozen", "sent", 50),
            between(times, "frozen", "sent", 95),
        )
        lines.append(f"| {engine} | {' | '.join(f'{1000 * value:.0f}' for value in seconds)} |")
    return "\n".join(lines)


def backlog_table(backlogs: Backlogs) -> str:
    """Pace and waits of each run, in Markdown."""
    lines = [
        "| backlog, s | workers | jobs/s | queued to frozen: p50 | p99 | most waiting jobs "
        "| frozen to sent: p50 | p95 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for (engine, workers), times in sorted(backlogs.items(), key=lambda item: ENGINES.index(item[0][0])):
        took_s = max(one.frozen for one in times) - min(one.queued for one in times)
        done_s = [between(times, "queued", "frozen", percent) for percent in (50, 99)]
        lag_s = [between(times, "frozen", "sent", percent) for percent in (50, 95)]
        lines.append(
            f"| {engine} | {workers} | {len(times) / took_s:.1f} | {done_s[0]:.1f} | {done_s[1]:.1f} "
            f"| {most_waiting(times)} | {lag_s[0]:.2f} | {lag_s[1]:.2f} |"
        )
    return "\n".join(lines)


def verdicts(idles: Idle) -> list[str]:
    """The target, and whether this run met it."""
    lines = []
    for engine, times in idles.items():
        p95_ms = 1000 * between(times, "queued", "leased", 95)
        met = "met" if p95_ms < MOST_OVERHEAD_MS else "NOT met"
        told = f"p95 of the dispatch overhead with {engine}, idle, is {p95_ms:.0f} ms (below {MOST_OVERHEAD_MS:.0f} ms)"
        lines.append(f"- {met}: {told}")
    return lines


def main() -> None:
    """Measure, print, and write the page of the documentation if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1000, help="studies of each backlog")
    parser.add_argument("--idle", type=int, default=100, help="studies that come one at a time")
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    load = os.getloadavg()[0]
    idles, backlogs = measure(options.jobs, options.idle)
    text = "\n".join([idle_table(idles), "", backlog_table(backlogs), "", *verdicts(idles)])
    sys.stdout.write(text + "\n")
    if options.write:
        options.write.parent.mkdir(parents=True, exist_ok=True)
        facts = {"cores": os.cpu_count(), "load": load, "date": datetime.now(UTC).date(), "slices": SHAPE[0]}
        options.write.write_text(PAGE.format(jobs=options.jobs, idle=options.idle, text=text, **facts))


PAGE = """\
# Jobs without their model: queue, database, worker loop, delivery

Made again by `python -m benchmarks.jobs --jobs {jobs} --idle {idle} --write docs/measurements/jobs.md`, on one machine
of {cores} cores shared with other work (load average {load:.1f} at the start, {date}): trust the ratios, not the
seconds.

Dispatcher, workers and delivery (to a folder) are the real ones, each a process; RabbitMQ (a quorum queue) and
PostgreSQL (fsync on) run on the same cores. Only the segmenter is not: it answers at once, for CTs of {slices} slices
that show nothing, so that each result is a structured report. *One at a time*: {idle} studies with one worker, each
when the one before has been delivered. *Backlog*: {jobs} studies lie in the inbox when the dispatcher starts; jobs/s
from the first queued to the last frozen.

The times are those of the database's history. *Queued* is when the dispatcher's turn began that routed and committed
the job, *leased* when its worker began to lease it, *frozen* when its worker began to commit the result, *sent* when
the destination had it. From *queued* to *leased* is the dispatch overhead.

{text}
"""


if __name__ == "__main__":
    # an exception, so that all that was started is stopped
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(128 + signal.SIGTERM))
    main()
