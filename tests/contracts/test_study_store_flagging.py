"""The contract of `SqlStudyStore.board`: how long a study waited for its flag."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from random import Random

import pytest
import sqlalchemy as sa

from services.backends.store import SqlStudyStore, open_store
from services.backends.store.board import FlagTimes, TimeToFlag
from services.backends.store.engine import connect, writing
from services.backends.store.tables import board, study
from services.triage.errors import Reason
from services.triage.finding import Flag, Outcome
from services.triage.job import OrderPriority
from services.triage.study import VersionKey
from tests.support.records import PACS, STUDY, a_result, after, analyse, image, lease_next, one_job, report, sent


@pytest.fixture
def store(store_url: str) -> Iterator[SqlStudyStore]:
    """One that finds equal pixels under one UID."""
    opened = open_store(store_url, same_pixels=lambda _kept, _arrived: True)
    yield opened
    opened.close()


def flagged(store: SqlStudyStore, number: int = 1, *, at: float, **finding: object) -> None:
    """Complete a version 10 s before its result is frozen."""
    version = VersionKey(study_instance_uid=STUDY, number=number)
    seen = len(store.instances(version))
    plan, priority = one_job(), OrderPriority.ROUTINE
    assert store.complete(version, plan, priority=priority, seen=seen, now=after(at - 10))
    lease, _ = lease_next(store, at=at - 5)
    result, sha256s = a_result(**finding)
    store.freeze(lease, result, sha256s=sha256s, destinations=[PACS], now=after(at))


def deliver(store: SqlStudyStore, *, at: float) -> None:
    due = store.claim_delivery(PACS.name, now=after(at), duration=after(60) - after(0))
    assert due is not None
    store.delivered(due.delivery_id, now=after(at))


PERCENTS = (50, 95)
DAY_S = 86400.0


def since(time: datetime, store: SqlStudyStore) -> FlagTimes:
    return store.board.times_to_flag(since=time, percents=PERCENTS)


def flag_times(times: Sequence[TimeToFlag]) -> FlagTimes:
    """What the store should tell of these, by the definition of the nearest rank."""

    def ranked(values: Sequence[float]) -> dict[int, float]:
        return {percent: sorted(values)[-(-percent * len(values) // 100) - 1] for percent in PERCENTS if values}

    return FlagTimes(
        studies=len(times),
        from_first_instance_s=ranked([each.from_first_instance_s for each in times]),
        from_last_instance_s=ranked([each.from_last_instance_s for each in times]),
    )


def told(store: SqlStudyStore) -> TimeToFlag | None:
    """The same in the list, in the study's detail and in the metrics."""
    (row,) = store.board.work_list()
    detail = store.board.study(STUDY)
    assert detail is not None
    assert detail.row.time_to_flag == row.time_to_flag
    assert since(after(0), store) == flag_times([row.time_to_flag] if row.time_to_flag else [])
    return row.time_to_flag


def test_it_counts_from_the_first_and_from_the_last_image(store: SqlStudyStore) -> None:
    store.record(sent(report(1)), now=after(0))
    store.record(sent(image(1)), now=after(20))
    store.record(sent(image(2)), now=after(50))
    store.record(sent(report(2)), now=after(60))
    assert told(store) is None
    flagged(store, at=100, flag=Flag.URGENT)
    assert told(store) == TimeToFlag(flagged_at=after(100), from_first_instance_s=80, from_last_instance_s=50)
    assert since(after(101), store).studies == 0


def test_what_late_images_change_counts_from_those(store: SqlStudyStore) -> None:
    analyse(store)
    store.record(sent(image(8)), now=after(200))
    store.record(sent(image(9)), now=after(230))
    flagged(store, 2, at=300, flag=Flag.URGENT)
    assert told(store) == TimeToFlag(flagged_at=after(300), from_first_instance_s=100, from_last_instance_s=70)


@pytest.mark.parametrize("delivered", [True, False])
def test_a_result_that_is_written_again_for_another_identity_does_not_count(
    store: SqlStudyStore, delivered: bool
) -> None:
    analyse(store, flag=Flag.URGENT)
    before = told(store)
    assert before == TimeToFlag(flagged_at=after(30), from_first_instance_s=30, from_last_instance_s=30)
    if delivered:
        deliver(store, at=40)
    for number in (1, 2):
        again = image(number, content="corrected")
        corrected = replace(again, study=replace(again.study, patient_id="P2"))
        store.record(sent(corrected, sender="PACS"), now=after(500))
    flagged(store, 2, at=600, flag=Flag.URGENT)
    detail = store.board.study(STUDY)
    assert detail is not None
    assert detail.versions[0].jobs[0].kind == "reconcile"
    assert told(store) == before


def test_another_look_at_delivered_images_leaves_it_and_at_others_there_is_none(store: SqlStudyStore) -> None:
    analyse(store)
    before = told(store)
    assert store.ask_analysis(STUDY, actor="ana", now=after(100))
    flagged(store, 2, at=200, flag=Flag.URGENT)
    assert told(store) is None
    deliver(store, at=210)
    deliver(store, at=211)
    assert store.ask_analysis(STUDY, actor="ana", now=after(300))
    flagged(store, 3, at=400)
    assert told(store) == before


def test_without_an_analysis_there_is_none(store: SqlStudyStore) -> None:
    reason = Reason(code="too_few_slices", text="3 slices")
    analyse(store, outcome=Outcome.NOT_ANALYSED, score=None, reason=reason)
    assert told(store) is None


def test_a_recalled_result_has_flagged_nothing(store: SqlStudyStore) -> None:
    analyse(store, flag=Flag.URGENT)
    (row,) = store.board.work_list()
    assert row.time_to_flag is not None
    detail = store.board.study(STUDY)
    assert detail is not None
    frozen = detail.versions[0].jobs[0].result
    assert frozen is not None
    store.recall(frozen.result_id, reason="wrong", actor="ana", now=after(90))
    assert told(store) is None


def put_on_board(store_url: str, times: Sequence[tuple[datetime, datetime, datetime]]) -> None:
    """Copies of the one study that is there, with other first and last images and flags."""
    engine = connect(store_url)
    with writing(engine) as connection:
        for table in (study, board):
            row = connection.execute(sa.select(table).where(table.c.study_instance_uid == STUDY)).one()._asdict()
            for number, (first, last, at) in enumerate(times):
                others = {"first_image_at": first, "last_image_at": last, "flagged_at": at} if table is board else {}
                values = row | others | {"study_instance_uid": f"2.25.{number + 1}"}
                connection.execute(sa.insert(table).values(values))
    engine.dispose()


@pytest.mark.parametrize("count", [1, 2, 19, 20, 21, 99, 100, 101])
def test_percentiles_are_times_that_were_measured(store: SqlStudyStore, store_url: str, count: int) -> None:
    random = Random(count)
    analyse(store)
    before, now = after(0), after(DAY_S)
    # to the microsecond, and some of a kind; now and then a clock was set back
    times = [
        (
            first,
            first + timedelta(seconds=random.choice([0, random.random(), 30])),
            now + timedelta(microseconds=number),
        )
        for number in range(count)
        for first in [now - timedelta(microseconds=random.choice([0, -5, 60_000_000, random.randrange(10**10)]))]
    ]
    put_on_board(store_url, [*times, (before, before, now - timedelta(microseconds=1))])
    assert since(now, store) == flag_times([TimeToFlag.between(*each) for each in times])
