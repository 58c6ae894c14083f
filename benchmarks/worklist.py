"""The work list with many studies, on SQLite and on PostgreSQL: how long the server takes for a page.

    .venv/bin/python -m benchmarks.worklist [--studies N] [--rounds N] [--write docs/measurements/worklist.md]

The studies are written into the tables as they are after their analysis; a sample of them is derived again by the store
itself, which must come to the same lines. A page is the whole answer of the desk, database and template included, asked
of the application in this process; the browser and the network come on top.
"""

import argparse
import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import sqlalchemy as sa
from fastapi.testclient import TestClient
from rich.console import Console
from rich.progress import track

from services.backends.files import FolderStudyFiles
from services.backends.store import ShownState, SqlStudyStore, open_store
from services.backends.store.board import AiSays, ai_says
from services.backends.store.engine import connect, locked, writing
from services.backends.store.summary import refresh
from services.backends.store.tables import (
    assignment,
    board,
    event,
    instance,
    job,
    result,
    study,
    study_version,
    workitem,
)
from services.gateway.app import create_app
from services.gateway.filters import written
from services.settings import Settings
from services.triage.errors import Reason
from services.triage.finding import Flag, Outcome
from services.triage.job import JobPlan, JobState, OrderPriority
from services.triage.job import rank as job_rank
from services.triage.organ import NO_TUMOUR_CLASS
from services.triage.reading import ReadingAction, rank
from services.triage.study import InstanceHeader, StudyState
from services.triage.workitem import ProcedureStepState, asks_for_review
from tests.support.postgres import postgres
from tests.support.worklist import lesion

ENGINES = ("SQLite", "PostgreSQL")
TARGET_MS = 200.0
FIRST_PAGE = "the list"
CHUNK = 2000
SAMPLE = 60  # studies that the store derives again
DEEP = 0.9  # so far down the list the deep page is
READ_SHARE, TAKEN_SHARE, STAT_SHARE, HIGH_SHARE = 0.4, 0.02, 0.02, 0.1
OUTCOMES = {
    (Outcome.FOUND, Flag.URGENT): 0.02,
    (Outcome.FOUND, Flag.ELEVATED): 0.05,
    (Outcome.FOUND, Flag.ROUTINE): 0.06,
    (Outcome.EQUIVOCAL, Flag.ROUTINE): 0.07,
    (Outcome.NOTHING_FOUND, Flag.ROUTINE): 0.74,
    (Outcome.NOT_ANALYSED, Flag.ROUTINE): 0.05,
    (Outcome.FAILED, Flag.ROUTINE): 0.01,
}
TOO_FEW_SLICES = Reason(code="too_few_slices", text="9 slices; the model needs 16")
MODELS = ("ct_lung_lesion", "ct_liver_lesion", "mr_brain_lesion")
MODALITY = {"ct_lung_lesion": "CT", "ct_liver_lesion": "CT", "mr_brain_lesion": "MR"}
READERS = ("local", "Dr A", "Dr B", "Dr C")
FAMILIES, GIVEN = 997, 211  # so many family and given names
NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
URGENCY = {Flag.URGENT: 0, Flag.ELEVATED: 1, Flag.ROUTINE: 2}

Rows = dict[sa.Table, list[dict[str, Any]]]


def one_study(number: int, dice: random.Random) -> Rows:
    """The rows of one study that went the whole way."""
    uid, result_id = f"1.2.826.0.1.3680043.8.498.{number}", f"{number:032x}"
    came = NOW - timedelta(seconds=dice.uniform(60, 30 * 86400))
    frozen = came + timedelta(seconds=dice.uniform(40, 300))
    outcome, flag = dice.choices(list(OUTCOMES), list(OUTCOMES.values()))[0]
    priority = OrderPriority(dice.choices((0, 1, 2), (STAT_SHARE, HIGH_SHARE, 1 - STAT_SHARE - HIGH_SHARE))[0])
    model = dice.choices(MODELS, (0.7, 0.2, 0.1))[0]
    lesions = tuple(lesion(n, 0.9, dice.uniform(5, 40)) for n in range(1, 3)) if outcome is Outcome.FOUND else ()
    state = {Outcome.NOT_ANALYSED: ShownState.NOT_ANALYSED, Outcome.FAILED: ShownState.FAILED}.get(
        outcome, ShownState.ANALYSED
    )
    reasons = {
        Outcome.NOT_ANALYSED: TOO_FEW_SLICES if number % 5 else NO_TUMOUR_CLASS,
        Outcome.FAILED: TOO_FEW_SLICES,
    }
    reason = reasons.get(outcome)
    chance = dice.random()
    is_read, is_taken = chance < READ_SHARE, READ_SHARE <= chance < READ_SHARE + TAKEN_SHARE
    reader, at = dice.choice(READERS), frozen + timedelta(seconds=30)
    told = {
        "patient_id": f"{1_000_000 + number}",
        "patient_name": f"FAMILY{dice.randrange(FAMILIES)}^Given{dice.randrange(GIVEN)}",
        "patient_birth_date": "19600203",
        "patient_sex": dice.choice("FM"),
        "patient_age": "066Y",
        "study_date": f"{came:%Y%m%d}",
        "study_time": f"{came:%H%M%S}",
        "study_description": f"{MODALITY[model]} {dice.choice(('chest', 'abdomen', 'follow-up', 'staging'))}",
        "study_id": "1",
        "accession_number": f"A{number}",
        "tenant": dice.choice(("north", "south")),
    }
    header = InstanceHeader(
        sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
        sop_instance_uid=f"{uid}.1.1",
        series_instance_uid=f"{uid}.1",
        study_instance_uid=uid,
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        modality=MODALITY[model],
        has_pixel_data=True,
    )
    mine = {"study_instance_uid": uid}
    rows: Rows = {
        study: [{**mine, **told, "received_at": came}],
        instance: [
            {
                **mine,
                "series_instance_uid": f"{uid}.1",
                "sop_instance_uid": f"{uid}.1.1",
                "digest": f"{number:064x}",
                "header": header,
                "since_version": 1,
                "received_from": "CT1",
                "received_at": came,
            }
        ],
        study_version: [
            {
                **mine,
                "number": 1,
                "state": StudyState.COMPLETE,
                "opened_at": came,
                "last_image_at": came,
                "completed_at": came,
                "priority": priority,
                "priority_from": "ae CT_ER" if priority is OrderPriority.STAT else "",
            }
        ],
        job: [
            {
                **mine,
                "job_id": result_id,
                "version": 1,
                "model_name": model,
                "plan": JobPlan(model_name=model, series_instance_uid=f"{uid}.1"),
                "priority": priority,
                "state": JobState.FROZEN,
                "queued_at": came,
                "outbox": False,
                "rank": job_rank(priority, came),
            }
        ],
        result: [
            {
                **mine,
                "result_id": result_id,
                "job_id": result_id,
                "version": 1,
                "model_name": model,
                "model_version": "1.0.0",
                "weights_sha256": "ab" * 32,
                "series_instance_uid": f"{uid}.1",
                "outcome": outcome,
                "flag": flag,
                "score": dice.random() if outcome.analysed else None,
                "calibrated": False,
                "reason_code": reason and reason.code,
                "reason_text": reason and reason.text,
                "lesions": lesions,
                "timings_s": {"load": 0.6, "segment": 24.1, "report": 0.9},
                "frozen_at": frozen,
            }
        ],
        event: [
            {**mine, "kind": "version", "subject": "1", "time": came, "actor": "gateway", "what": what, "cause": ""}
            for what in ("receiving", "complete", "queued", "analysing", "frozen", "sent")
        ],
        workitem: [],
        assignment: [],
        board: [
            {
                **mine,
                "state": state,
                "priority": priority,
                "urgency": URGENCY[flag],
                "already_reported": False,
                "received_at": came,
                "last_instance_at": came,
                "version": 1,
                "modalities": (MODALITY[model],),
                "series_count": 1,
                "instance_count": 1,
                "completed_at": came,
                "reason_code": reason and reason.code,
                "reason_text": reason and reason.text,
                "result_id": result_id,
                "flagged_at": frozen if outcome.analysed else None,
                "first_image_at": came if outcome.analysed else None,
                "last_image_at": came if outcome.analysed else None,
                "rank": rank(priority, URGENCY[flag], came),
                "ai_says": ai_says(state, outcome, flag, reason, recalled=False),
                "model_name": model,
                "is_read": is_read,
                "reader": reader if is_read or is_taken else None,
                "reader_since": at if is_read or is_taken else None,
                "read_again": None,
            }
        ],
    }
    if asks_for_review(outcome):
        rows[workitem].append(
            {
                **mine,
                "workitem_uid": f"2.25.{number}",
                "result_id": result_id,
                "state": ProcedureStepState.CANCELED if is_read else ProcedureStepState.SCHEDULED,
                "told": {},
                "scheduled_at": frozen,
                "modified_at": frozen,
            }
        )
    if is_read or is_taken:
        action = ReadingAction.READ if is_read else ReadingAction.TAKEN
        rows[assignment].append({**mine, "action": action, "reader": reader, "at": at})
    return rows


def fill(url: str, count: int) -> None:
    """Write so many studies, and have the store check a sample of them. Raises RuntimeError where it disagrees."""
    engine, dice = connect(url), random.Random(1)  # noqa: S311 - no secret
    numbers = iter(range(1, count + 1))
    for _ in track(range(0, count, CHUNK), f"{count} studies", console=Console(stderr=True), transient=True):
        chunk = [one_study(number, dice) for number in islice(numbers, CHUNK)]
        with writing(engine) as connection:
            for table in chunk[0]:
                if rows := [row for one in chunk for row in one[table]]:
                    connection.execute(sa.insert(table), rows)
    for number in dice.sample(range(1, count + 1), min(SAMPLE, count)):
        uid = f"1.2.826.0.1.3680043.8.498.{number}"
        with writing(engine) as connection:
            locked(connection, [uid])
            mine = sa.select(board).where(board.c.study_instance_uid == uid)
            written = connection.execute(mine).one()
            refresh(connection, uid)
            if connection.execute(mine).one() != written:
                raise RuntimeError(f"the store derives another line of study {number}")
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("ANALYZE")
    engine.dispose()


@contextmanager
def databases(folder: Path) -> Iterator[dict[str, str]]:
    """The URL of an empty database on each engine."""
    with postgres() as server, server.database() as url:
        sqlite = f"sqlite:///{folder / 'vigie.sqlite'}"
        open_store(sqlite).close()
        yield dict(zip(ENGINES, (sqlite, url), strict=True))


def requests(store: SqlStudyStore, count: int) -> dict[str, tuple[str, str, dict[str, str] | None]]:
    """What is asked, by name: method, address, form."""
    page = store.board.page(limit=500)
    for _ in range(int(DEEP * count * (1 - READ_SHARE)) // 500):
        page = store.board.page(at=page.after, limit=500)
    place = written(page.after)
    filters = {
        "read ones": "reading=read",
        "read and not": "reading=all",
        "taken": "reading=taken",
        "mine": "assigned=me",
        "nobody's": "assigned=nobody",
        "STAT": "priority=stat",
        "routine": "priority=routine",
        **{f"AI: {kind}": f"ai={kind}" for kind in AiSays if kind is not AiSays.WAITING},
        "AI: waiting (none)": "ai=waiting",
        "state failed": "state=failed",
        "modality MR": "modality=MR",
        "modality NM (none)": "modality=NM",
        "the rarest model": "model=mr_brain_lesion",
        "one tenant": "tenant=south",
        "six at once": "reading=unread&priority=high&ai=elevated&modality=MR&model=mr_brain_lesion&tenant=south",
    }
    return {
        FIRST_PAGE: ("GET", "/", None),
        f"deep page (behind {DEEP:.0%})": ("GET", f"/?after={place}", None),
        **{f"filter: {name}": ("GET", f"/?{query}", None) for name, query in filters.items()},
        "search: a family name": ("POST", "/", {"search": "family17^"}),
        "search: an accession number": ("POST", "/", {"search": f"A{count // 2}"}),
        "search: no match": ("POST", "/", {"search": "nobody of this name"}),
        "API: the list, 100": ("GET", "/api/studies", None),
    }


def timed(ask: Callable[[], Any], rounds: int) -> list[float]:
    """Milliseconds of each round; the first three are not counted."""
    found = []
    for number in range(rounds + 3):
        began = time.perf_counter()
        answer = ask()
        took_ms = 1000 * (time.perf_counter() - began)
        if answer.status_code != 200:
            raise RuntimeError(f"{answer.status_code}: {answer.text[:200]}")
        found += [took_ms] if number >= 3 else []
    return found


def measure(count: int, rounds: int) -> dict[str, dict[str, list[float]]]:
    """Request -> engine -> milliseconds."""
    found: dict[str, dict[str, list[float]]] = {}
    with TemporaryDirectory() as name, databases(Path(name)) as urls:
        for engine, url in urls.items():
            fill(url, count)
            store = open_store(url)
            app = create_app(
                Settings(data=Path(name)), store=store, files=FolderStudyFiles(Path(name)), clock=lambda: NOW
            )
            with TestClient(app, base_url="http://127.0.0.1:8000") as client:
                asked = requests(store, count)
                for what, (method, address, form) in track(
                    asked.items(), engine, console=Console(stderr=True), transient=True
                ):
                    times = timed(lambda m=method, a=address, f=form: client.request(m, a, data=f), rounds)  # type: ignore[misc]
                    found.setdefault(what, {})[engine] = times
            store.close()
    return found


def table(found: dict[str, dict[str, list[float]]]) -> str:
    """In Markdown."""
    lines = [
        f"| ms | {' | '.join(f'{engine}: p50 | p95' for engine in ENGINES)} |",
        "|---|" + "---:|" * 2 * len(ENGINES),
    ]
    for what, times in found.items():
        cells = [f"{np.percentile(times[engine], percent):.0f}" for engine in ENGINES for percent in (50, 95)]
        lines.append(f"| {what} | {' | '.join(cells)} |")
    return "\n".join(lines)


def verdicts(found: dict[str, dict[str, list[float]]]) -> str:
    """The target, which is the first page's, whether this run met it, and what takes longest."""
    lines = []
    for engine in ENGINES:
        of_engine = {what: float(np.percentile(times[engine], 95)) for what, times in found.items()}
        first, slowest = of_engine[FIRST_PAGE], max(of_engine, key=of_engine.__getitem__)
        lines.append(
            f"- {'met' if first < TARGET_MS else 'NOT met'}: with {engine} the first page has a p95 of {first:.0f} ms; "
            f"wanted: below {TARGET_MS:.0f}. The slowest is {of_engine[slowest]:.0f} ms ({slowest})"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, print, and write the page of the documentation if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    load = os.getloadavg()[0]
    found = measure(options.studies, options.rounds)
    text = "\n\n".join([table(found), verdicts(found)])
    sys.stdout.write(text + "\n")
    if options.write:
        options.write.parent.mkdir(parents=True, exist_ok=True)
        facts = {"cores": os.cpu_count(), "load": load, "date": datetime.now(UTC).date()}
        options.write.write_text(PAGE.format(text=text, studies=options.studies, rounds=options.rounds, **facts))


PAGE = """\
# The work list with many studies

Made again by
`python -m benchmarks.worklist --studies {studies} --rounds {rounds} --write docs/measurements/worklist.md`,
on one machine of {cores} cores shared with other work (load average {load:.1f} at the start, {date}).

{studies} studies, of which four in ten are read, with every outcome, three models and two tenants; pages of 100 rows.
The time is that of the whole answer (database, template), {rounds} rounds each, one at a time. A page begins behind a
study and not after a number of them (keyset), so that a deep one costs what the first one does. A search looks for a
part of a word in five columns: it reads all studies.

{text}
"""


if __name__ == "__main__":
    main()
