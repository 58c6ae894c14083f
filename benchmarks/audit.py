"""What the audit trail costs: an event by itself, within a transaction, from several at once; and verifying it.

    .venv/bin/python -m benchmarks.audit [--events N] [--write docs/measurements/audit.md]

On SQLite and on PostgreSQL with fsync, as in production, each on this machine's disk. `within`: what an event adds to a
transaction that is written anyway, its commit left out. `at once`: four writers, each event a commit of its own.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from services.backends.store import SqlStudyStore, open_store
from services.backends.store.audit import append
from services.backends.store.audit_check import check
from services.backends.store.engine import connect, writing
from services.triage.audit import AuditActor, AuditEvent, AuditObject, AuditObjectKind
from services.triage.audit_types import AuditType, audited
from tests.support.postgres import postgres
from tests.support.records import STUDY, image, sent

WRITERS = 4
HEAD = """# What the audit trail costs

`python -m benchmarks.audit --events {events}`, {cores} cores with a load of {load:.0f} beside it, {date}. An event is
an access to a study, with its patient's digest. Milliseconds: median / 95th percentile.

| | an event by itself | within a transaction | {writers} writers at once | verifying |
| --- | --- | --- | --- | --- |
"""


def an_event() -> AuditEvent:
    """Of a person who opens a study."""
    study = AuditObject(kind=AuditObjectKind.STUDY, object_id=STUDY)
    return audited(AuditType.STUDY_PAGE, AuditActor(name="reader.one", address="192.0.2.7"), objects=(study,))


def times_ms(act: Callable[[], object], count: int) -> list[float]:
    """Of each call."""
    found = []
    for _ in range(count):
        began = time.perf_counter()
        act()
        found.append(1000 * (time.perf_counter() - began))
    return found


def told(found: list[float]) -> str:
    """Median and 95th percentile."""
    return f"{statistics.median(found):.1f} / {statistics.quantiles(found, n=20)[-1]:.1f} ms"


def measured(url: str, events: int) -> list[str]:
    """A row of the table."""
    now = datetime.now(UTC)
    with closing(open_store(url)) as store:
        store.record(sent(image(1)), now=now)
        alone = times_ms(lambda: store.audit.record(an_event(), now=now), events)
        within = list(_within(url, events, now))
        began = time.perf_counter()
        with ThreadPoolExecutor(WRITERS) as many:
            list(many.map(lambda _: store.audit.record(an_event(), now=now), range(events)))
        rate = events / (time.perf_counter() - began)
        return [told(alone), told(within), f"{rate:.0f} events/s", _verifying(store)]


def _within(url: str, events: int, now: datetime) -> Iterator[float]:
    engine = connect(url)
    for _ in range(events):
        with writing(engine) as connection:
            yield times_ms(lambda: append(connection, an_event(), now=now), 1)[0]
    engine.dispose()


def _verifying(store: SqlStudyStore) -> str:
    began = time.perf_counter()
    found = check(store.audit)
    assert not found.breaks  # noqa: S101
    return f"{found.records / (time.perf_counter() - began):.0f} records/s"


@contextmanager
def engines() -> Iterator[dict[str, str]]:
    """URLs by name."""
    with ExitStack() as stack:
        folder = stack.enter_context(TemporaryDirectory(dir=Path.cwd() / "build"))
        server = stack.enter_context(postgres())
        yield {
            "SQLite": f"sqlite:///{folder}/vigie.sqlite",
            "PostgreSQL": stack.enter_context(server.database()),
        }


def main() -> None:
    """Measure, print, and perhaps write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=500)
    parser.add_argument("--write", type=Path)
    asked = parser.parse_args()
    head = HEAD.format(
        events=asked.events,
        cores=os.cpu_count(),
        load=os.getloadavg()[0],
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        writers=WRITERS,
    )
    with engines() as urls:
        rows = [f"| {name} | {' | '.join(measured(url, asked.events))} |\n" for name, url in urls.items()]
    text = head + "".join(rows)
    print(text)  # noqa: T201
    if asked.write:
        asked.write.write_text(text)


if __name__ == "__main__":
    main()
