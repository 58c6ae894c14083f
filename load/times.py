"""When each study came to each step, by the sender, the dispatcher's log and the database's history."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import sqlalchemy as sa

from load.senders import Sent
from load.the_set import TheSet
from services.backends.store.engine import connect, reading
from services.backends.store.tables import event


@dataclass(frozen=True, kw_only=True)
class StudyTimes:
    """Seconds.

    late: from its moment until its sender asked for the association. c_store: of each instance, until it was answered.
    sending: from the association until the last answer. queued: from the last answer until its job was committed and
    said so in the log, less the quiet period. analysing: from then until its result was frozen. delivered: from frozen
    until the PACS had all of it. result: from the last answer until then, the quiet period included.
    """

    late: float
    sending: float
    c_store: tuple[float, ...]
    queued: float
    analysing: float
    delivered: float
    result: float


_STEPS = {("job", "frozen"): "frozen", ("delivery", "sent"): "sent"}


def study_times(sent: Sequence[Sent], running: TheSet) -> list[StudyTimes]:
    """Of all studies that have come to their end; others are missing here, and told as lost."""
    complete = {
        line["study_instance_uid"]: datetime.fromisoformat(line["timestamp"]).timestamp()
        for line in running.log_events("study_complete")
    }
    steps = _history(running.database_url)
    return [
        one
        for each in sent
        if (one := _times(each, complete.get(each.uid), steps.get(each.uid, {}), running.quiet_period_s)) is not None
    ]


def _times(sent: Sent, complete: float | None, steps: Mapping[str, float], quiet_s: float) -> StudyTimes | None:
    if sent.acknowledged is None or complete is None or set(steps) != set(_STEPS.values()):
        return None
    return StudyTimes(
        late=sent.began - sent.order.due,
        sending=sent.acknowledged - sent.began,
        c_store=sent.c_store_s,
        queued=complete - sent.acknowledged - quiet_s,
        analysing=steps["frozen"] - complete,
        delivered=steps["sent"] - steps["frozen"],
        result=steps["sent"] - sent.acknowledged,
    )


def _history(url: str) -> dict[str, dict[str, float]]:
    """Study -> step -> when it came to it, the last time."""
    engine = connect(url)
    found: dict[str, dict[str, float]] = {}
    with reading(engine) as connection:
        for row in connection.execute(sa.select(event).order_by(event.c.id)):
            if (step := _STEPS.get((row.kind, row.what))) is not None:
                found.setdefault(row.study_instance_uid, {})[step] = row.time.timestamp()
    engine.dispose()
    return found


def percentiles(values: Sequence[float]) -> tuple[float, float, float]:
    """The 50th, 95th and 99th; NaN of nothing."""
    if not values:
        return (float("nan"),) * 3
    p50, p95, p99 = np.percentile(values, (50, 95, 99))
    return float(p50), float(p95), float(p99)
