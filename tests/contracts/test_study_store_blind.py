"""The contract of blind-first mode: withheld from the freezing on, until a reader's own assessment or its time."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from services.backends.store import SqlStudyStore, open_store
from services.backends.store.archive import StudyFilter
from services.backends.store.board import JobRow
from services.backends.store.observations import Span
from services.backends.store.workitems import WorkitemFilter
from services.triage.blind import BlindPolicy, BlindRule, HoldEnd
from services.triage.errors import Reason, VerdictRefused
from services.triage.finding import Flag, Outcome
from services.triage.job import OrderPriority
from services.triage.reading import ReadAgain, ReadingAction, ReadingState, ReadingStep
from services.triage.result import DeliveryState, Destination, Occasion, ReceiverKind
from services.triage.verdict import Answer, Confidence, OwnAssessment, Shown, Verdict
from services.triage.workitem import ProcedureStepState
from tests.support.records import (
    LEASE,
    MODEL,
    PACS,
    STUDY,
    a_result,
    after,
    complete_study,
    image,
    lease_next,
    lesion,
    one_job,
    sent,
)

ALL_BLIND = BlindPolicy(rules=(BlindRule(share=1.0),), key="a key of sixteen")
HIS = Destination(
    name="his",
    kind=ReceiverKind.WEBHOOK,
    address="http://his",
    told_of=frozenset({Occasion.FOUND, Occasion.NOT_ANALYSED}),
)
NOT_ANALYSED: dict[str, Any] = {
    "outcome": Outcome.NOT_ANALYSED,
    "flag": Flag.ROUTINE,
    "score": None,
    "lesions": (),
    "reason": Reason(code="too_thin", text="too thin"),
}
FROZEN_AT = 30.0
UNTIL = FROZEN_AT + 30 * 60


@dataclass
class Clock:
    seconds: float = 0.0

    def __call__(self) -> datetime:
        return after(self.seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(store_url: str, clock: Clock) -> Iterator[SqlStudyStore]:
    opened = open_store(store_url, clock=clock)
    yield opened
    opened.close()


def freeze(
    store: SqlStudyStore,
    clock: Clock,
    *,
    number: int = 1,
    at: float = 0.0,
    policy: BlindPolicy = ALL_BLIND,
    priority: OrderPriority = OrderPriority.ROUTINE,
    **finding: object,
) -> str:
    """A study the whole way to a frozen result; its id."""
    complete_study(store, number=number, at=at, priority=priority)
    lease, _ = lease_next(store, at=at + 20)
    result, sha256s = a_result(**{"lesions": (lesion(1),), "flag": Flag.URGENT, **finding})  # type: ignore[arg-type]
    clock.seconds = at + FROZEN_AT
    return store.freeze(lease, result, sha256s=sha256s, destinations=[PACS, HIS], now=clock(), blind=policy)


def job(store: SqlStudyStore, version: int = -1) -> JobRow:
    """Of the first version."""
    detail = store.board.study(STUDY)
    assert detail is not None
    return detail.versions[version].jobs[0]


def goes(store: SqlStudyStore, name: str, now: datetime) -> bool:
    return store.claim_delivery(name, now=now, duration=LEASE) is not None


def assessment(result_id: str, at: float, **told: object) -> Verdict:
    given = Verdict(
        verdict_id=uuid4().hex,
        study_instance_uid=STUDY,
        result_id=result_id,
        answer=Answer.PRESENT,
        reader="Dr A",
        given_at=after(at),
        shown=Shown(page="study"),
        assessment=OwnAssessment(lesion_count=2, largest_mm=7.5, location="RUL", confidence=Confidence.HIGH),
    )
    return replace(given, **told)  # type: ignore[arg-type]


def test_withheld_nothing_of_it_is_told_and_the_place_in_the_list_stays(store: SqlStudyStore, clock: Clock) -> None:
    store.record(sent(image(1, study="1.9")), now=after(-100))  # came before, and stands below
    freeze(store, clock)
    row = store.board.work_list()[0]
    assert row.study.study_instance_uid == STUDY
    assert row.withheld_until == after(UNTIL)
    told = (row.outcome, row.flag, row.score, row.calibrated, row.lesion_count, row.largest_long_axis_mm, row.recalled)
    assert told == (None, None, None, False, 0, None, False)
    assert row.time_to_flag is not None
    shown = job(store)
    assert shown.result is None
    assert shown.withheld is not None
    assert {one.cause for one in shown.events if one.what == "frozen"} == {""}
    counts = store.board.counts()
    assert (counts.outcomes, counts.deliveries, counts.oldest_pending_delivery_at) == ({}, {}, None)


def test_that_it_flags_a_study_read_before_is_not_told_while_it_is_withheld(store: SqlStudyStore, clock: Clock) -> None:
    freeze(store, clock)
    store.readings.enter(STUDY, ReadingStep(action=ReadingAction.READ, reader="Dr A", at=after(FROZEN_AT - 1)))
    detail = store.board.study(STUDY)
    assert detail is not None
    for row in (detail.row, *store.board.work_list()):
        assert (row.reading.state, row.reading.again) == (ReadingState.UNREAD, None)
    clock.seconds = UNTIL
    assert store.board.work_list()[0].reading.again is ReadAgain.FLAGGED


def test_that_images_came_to_a_study_read_before_is_told_though_it_is_withheld(
    store: SqlStudyStore, clock: Clock
) -> None:
    freeze(store, clock)
    store.readings.enter(STUDY, ReadingStep(action=ReadingAction.READ, reader="Dr A", at=after(FROZEN_AT + 1)))
    freeze(store, clock, number=2, at=100)
    row = store.board.work_list()[0]
    assert row.withheld_until is not None
    assert row.reading.again is ReadAgain.NEW_IMAGES


def test_withheld_it_is_in_no_archive_and_no_workitem_tells_of_it(store: SqlStudyStore, clock: Clock) -> None:
    freeze(store, clock)
    (found,) = store.archive.studies(StudyFilter(), limit=9, offset=0)
    assert (found.modalities, found.series_count, found.instance_count) == (("CT",), 1, 2)
    assert not any(one.is_result for one in store.archive.instances(STUDY))
    clock.seconds = UNTIL
    results = [one for one in store.archive.instances(STUDY) if one.is_result]
    clock.seconds = UNTIL - 1
    for one in results:
        assert store.board.result_object(one.sop_instance_uid) is None
        assert store.archive.instances(STUDY, sop_instance_uid=one.sop_instance_uid) == []
        for by in ({"sop_instance_uids": [one.sop_instance_uid]}, {"series_instance_uids": [one.series_instance_uid]}):
            assert store.archive.studies(StudyFilter(**by), limit=9, offset=0) == []
    assert store.archive.studies(StudyFilter(modalities=["SEG"]), limit=9, offset=0) == []
    (task,) = store.workitems.find(WorkitemFilter(), limit=9, offset=0)
    assert task.withheld
    assert (task.objects, task.score, task.lesion_count, task.reason) == ((), None, 0, None)


def test_withheld_it_is_in_no_figure_and_its_model_is_known_without_it(store: SqlStudyStore, clock: Clock) -> None:
    result_id = freeze(store, clock)
    today = Span(since=after(0), until=after(UNTIL + 3600))
    clock.seconds = UNTIL - 1
    assert list(store.observations.records(today)) == []
    (model,) = store.switches.models()
    assert (model.name, model.version, model.outcomes) == (MODEL.name, MODEL.version, {})
    clock.seconds = UNTIL
    assert [one.result_id for one in store.observations.records(today)] == [result_id]
    assert [one.outcomes for one in store.switches.models()] == [{Outcome.FOUND: 1}]


def test_there_is_a_task_whatever_was_found_until_that_may_be_known(store: SqlStudyStore, clock: Clock) -> None:
    result_id = freeze(store, clock, outcome=Outcome.NOTHING_FOUND, flag=Flag.ROUTINE, lesions=())
    (task,) = store.workitems.find(WorkitemFilter(), limit=9, offset=0)
    assert task.withheld
    assert store.verdicts.give(assessment(result_id, 60))
    (task,) = store.workitems.find(WorkitemFilter(), limit=9, offset=0)
    assert (task.state, task.withheld) == (ProcedureStepState.CANCELED, False)


def test_a_task_that_a_reader_has_claimed_stays_theirs(store: SqlStudyStore, clock: Clock) -> None:
    result_id = freeze(store, clock, outcome=Outcome.NOTHING_FOUND, flag=Flag.ROUTINE, lesions=())
    (task,) = store.workitems.find(WorkitemFilter(), limit=9, offset=0)
    store.workitems.change_state(task.uid, ProcedureStepState.IN_PROGRESS, transaction_uid="1.2.3", now=after(50))
    assert store.verdicts.give(assessment(result_id, 60))
    (task,) = store.workitems.find(WorkitemFilter(), limit=9, offset=0)
    assert task.state == ProcedureStepState.IN_PROGRESS


def test_withheld_it_is_not_sent_nor_told(store: SqlStudyStore, clock: Clock) -> None:
    freeze(store, clock)
    for name in ("pacs", "his"):
        assert not goes(store, name, after(UNTIL - 1))
    assert {one.state for one in store.deliveries([DeliveryState.PENDING])} == {DeliveryState.PENDING}
    for name in ("pacs", "his"):
        assert goes(store, name, after(UNTIL))


def test_the_readers_own_assessment_comes_first_and_ends_it(store: SqlStudyStore, clock: Clock) -> None:
    result_id = freeze(store, clock)
    accept = assessment(result_id, 50, answer=Answer.ACCEPT, assessment=None)
    with pytest.raises(VerdictRefused) as refused:
        store.verdicts.give(accept)
    assert refused.value.reason.code == "withheld"
    with pytest.raises(VerdictRefused) as refused:
        store.verdicts.give(replace(assessment(result_id, 55), result_id=None))
    assert refused.value.reason.code == "withheld"
    own = assessment(result_id, 60)
    assert store.verdicts.give(own)
    clock.seconds = 61
    shown = job(store)
    assert shown.result is not None
    assert shown.hold is not None
    assert (shown.hold.end, shown.hold.ended_at, shown.hold.ended_by) == (HoldEnd.READ, after(60), "Dr A")
    assert goes(store, "pacs", after(61))
    assert store.board.work_list()[0].withheld_until is None
    assert store.board.work_list()[0].score == 0.9
    late = assessment(result_id, 70, reader="Dr B")
    assert store.verdicts.give(late)
    assert store.verdicts.give(replace(accept, verdict_id=uuid4().hex, given_at=after(80)))
    kept = store.verdicts.of_study(STUDY)
    assert [(one.answer, one.shown.blind) for one in kept] == [
        (Answer.PRESENT, True),
        (Answer.PRESENT, False),
        (Answer.ACCEPT, False),
    ]
    assert kept[0].assessment == own.assessment
    undo = assessment(result_id, 90, answer=Answer.UNDO, undoes=own.verdict_id, assessment=None)
    with pytest.raises(VerdictRefused) as refused:
        store.verdicts.give(undo)
    assert refused.value.reason.code == "blind_stands"


def test_at_its_time_it_ends_by_itself_and_the_history_says_so_later(store: SqlStudyStore, clock: Clock) -> None:
    result_id = freeze(store, clock)
    clock.seconds = UNTIL
    assert job(store).result is not None
    assert store.holds.counts()["expired"] == 1
    assert store.end_holds(now=after(UNTIL + 5), switched_off=False) == 1
    assert store.end_holds(now=after(UNTIL + 6), switched_off=False) == 0
    (hold,) = store.holds.of_study(STUDY)
    assert (hold.result_id, hold.end, hold.ended_at, hold.ended_by) == (result_id, HoldEnd.EXPIRED, after(UNTIL), "")
    told = next(one for one in job(store).events if one.what == "blind_expired")
    assert told.cause == "read without blind assessment"
    assert store.verdicts.give(assessment(result_id, UNTIL + 9))
    assert not store.verdicts.of_study(STUDY)[0].shown.blind


def test_switched_off_it_ends_at_once(store: SqlStudyStore, clock: Clock) -> None:
    freeze(store, clock)
    assert store.holds.counts() == {"held": 1, "read": 0, "expired": 0, "switched_off": 0}
    assert store.end_holds(now=after(40), switched_off=True) == 1
    assert store.holds.counts() == {"held": 0, "read": 0, "expired": 0, "switched_off": 1}
    assert job(store).result is not None
    assert goes(store, "his", after(41))


@pytest.mark.parametrize(
    "told",
    [
        {"policy": BlindPolicy()},
        {"policy": BlindPolicy(rules=(BlindRule(share=0.0),), key="k")},
        {"policy": BlindPolicy(rules=(BlindRule(share=0.0, model_name=MODEL.name), BlindRule(share=1.0)), key="k")},
        {"policy": BlindPolicy(rules=(BlindRule(share=1.0, tenant="north"),), key="k")},
        {"priority": OrderPriority.STAT},
        NOT_ANALYSED,
    ],
)
def test_what_is_not_withheld(store: SqlStudyStore, clock: Clock, told: dict[str, object]) -> None:
    freeze(store, clock, **told)  # type: ignore[arg-type]
    assert store.holds.of_study(STUDY) == ()
    assert job(store).result is not None
    assert goes(store, "his", after(31))


def test_a_stat_order_is_withheld_where_the_rule_says_so(store: SqlStudyStore, clock: Clock) -> None:
    rule = BlindRule(share=1.0, stat=True, max_hold=timedelta(minutes=2))
    freeze(store, clock, policy=replace(ALL_BLIND, rules=(rule,)), priority=OrderPriority.STAT)
    (hold,) = store.holds.of_study(STUDY)
    assert hold.until == after(FROZEN_AT + 120)


def test_what_was_seen_is_not_withheld_by_a_later_result(store: SqlStudyStore, clock: Clock) -> None:
    freeze(store, clock, policy=BlindPolicy())
    freeze(store, clock, number=2, at=100)
    assert store.holds.of_study(STUDY) == ()


def test_a_later_result_is_withheld_as_long_as_the_earlier_and_one_read_ends_both(
    store: SqlStudyStore, clock: Clock
) -> None:
    freeze(store, clock)
    second = freeze(store, clock, number=2, at=100, policy=BlindPolicy())
    assert {one.until for one in store.holds.of_study(STUDY)} == {after(UNTIL)}
    assert store.verdicts.give(assessment(second, 200))
    assert {one.end for one in store.holds.of_study(STUDY)} == {HoldEnd.READ}


def test_that_new_images_are_not_analysed_is_told_while_the_earlier_result_is_withheld(
    store: SqlStudyStore, clock: Clock
) -> None:
    freeze(store, clock)
    freeze(store, clock, number=2, at=100, **NOT_ANALYSED)
    row = store.board.work_list()[0]
    assert (row.outcome, row.withheld_until) == (Outcome.NOT_ANALYSED, None)
    assert job(store).withheld is not None
    assert goes(store, "his", after(140))


def freeze_each(store: SqlStudyStore, clock: Clock, *models: str) -> list[str]:
    """One study, at the same time looked at by these models; the ids of their results."""
    jobs = tuple(job for name in models for job in one_job(model=name).jobs)
    complete_study(store, plan=replace(one_job(), jobs=jobs))
    clock.seconds = FROZEN_AT
    found = []
    for _ in jobs:
        lease, taken = lease_next(store, at=20)
        result, sha256s = a_result(model=replace(MODEL, name=taken.plan.model_name), lesions=(lesion(1),))
        found.append(store.freeze(lease, result, sha256s=sha256s, destinations=[PACS], now=clock(), blind=ALL_BLIND))
    return found


def test_of_two_models_one_read_shows_both_and_the_second_is_not_blind(store: SqlStudyStore, clock: Clock) -> None:
    first, second = freeze_each(store, clock, MODEL.name, "heart")
    assert store.verdicts.give(assessment(first, 60))
    assert {one.end for one in store.holds.of_study(STUDY)} == {HoldEnd.READ}
    assert store.verdicts.give(assessment(second, 70))
    assert [(one.result_id, one.shown.blind) for one in store.verdicts.of_study(STUDY)] == [
        (first, True),
        (second, False),
    ]


def test_what_another_model_says_after_the_read_is_not_withheld(store: SqlStudyStore, clock: Clock) -> None:
    first = freeze(store, clock)
    assert store.verdicts.give(assessment(first, 60))
    freeze(store, clock, number=2, at=100, model=replace(MODEL, name="heart"))
    assert [one.result_id for one in store.holds.of_study(STUDY)] == [first]


def test_who_assesses_what_is_shown_ends_no_other_models_hold(store: SqlStudyStore, clock: Clock) -> None:
    first = freeze(store, clock)
    second = freeze(store, clock, number=2, at=UNTIL, model=replace(MODEL, name="heart"))
    assert store.verdicts.give(assessment(first, UNTIL + 60))
    assert {one.result_id: one.ended_at for one in store.holds.of_study(STUDY)}[second] is None


def test_a_notification_of_another_models_failure_does_not_wait(store: SqlStudyStore, clock: Clock) -> None:
    both = replace(one_job(), jobs=(*one_job().jobs, *one_job(model="heart").jobs))
    complete_study(store, plan=both)
    clock.seconds = FROZEN_AT
    leases = [lease_next(store, at=20) for _ in both.jobs]
    for lease, taken in leases:
        name = taken.plan.model_name
        told = NOT_ANALYSED if name == "heart" else {"lesions": (lesion(1),)}
        result, sha256s = a_result(model=replace(MODEL, name=name), **told)
        at = after(FROZEN_AT + (name == "heart"))
        store.freeze(lease, result, sha256s=sha256s, destinations=[HIS], now=at, blind=ALL_BLIND)
    assert goes(store, "his", after(40))
    assert not goes(store, "his", after(40))
