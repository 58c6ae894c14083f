"""The contract of `SqlStudyStore.workitems`: the review of a result as a task that comes, is claimed, and goes."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from services.backends.store import SqlStudyStore
from services.backends.store.archive import StudyFilter
from services.backends.store.workitems import Changed, Workitem, WorkitemFilter
from services.triage.errors import Reason, WorkitemRefused
from services.triage.finding import Flag, Outcome
from services.triage.job import OrderPriority
from services.triage.workitem import PERFORMED, PROGRESS, ProcedureStepState
from tests.support.records import (
    QUIET,
    STUDY,
    a_result,
    after,
    analyse,
    complete_study,
    image,
    lease_next,
    lesion,
    new_study_uid,
    one_job,
    sent,
)

CLAIM, OTHER = "1.2.3", "1.2.4"
BROKEN = Reason(code="tilt", text="the gantry is tilted")
A_CODE = {"vr": "SQ", "Value": [{"00080100": {"vr": "SH", "Value": ["X"]}}]}
A_TIME = {"vr": "DT", "Value": ["20260301120000"]}
DONE = {
    PERFORMED: {
        "vr": "SQ",
        "Value": [
            {
                "00404028": A_CODE,
                "00404019": A_CODE,
                "00404050": A_TIME,
                "00404051": A_TIME,
                "00404033": {"vr": "SQ"},
            }
        ],
    }
}


def reviews(store: SqlStudyStore, **narrowed: Any) -> list[Workitem]:
    return store.workitems.find(WorkitemFilter(**narrowed), limit=100, offset=0)


def only(store: SqlStudyStore) -> Workitem:
    (found,) = reviews(store)
    return found


def change(
    store: SqlStudyStore, one: Workitem, wanted: ProcedureStepState, claim: str = CLAIM, *, at: float = 60
) -> Changed:
    return store.workitems.change_state(one.uid, wanted, transaction_uid=claim, now=after(at))


def reviewed(store: SqlStudyStore, one: Workitem) -> None:
    change(store, one, ProcedureStepState.IN_PROGRESS)
    store.workitems.update(one.uid, DONE, transaction_uid=CLAIM, now=after(61))
    assert change(store, one, ProcedureStepState.COMPLETED, at=62) is Changed.DONE


def history(store: SqlStudyStore, study: str = STUDY) -> list[tuple[str, str, str]]:
    detail = store.board.study(study)
    assert detail is not None
    jobs = [job for version in detail.versions for job in version.jobs]
    return [(e.actor, e.what, e.cause) for job in jobs for e in job.events if e.what.startswith("review_")]


@pytest.mark.parametrize("outcome", [Outcome.FOUND, Outcome.EQUIVOCAL, Outcome.NOT_ANALYSED, Outcome.FAILED])
def test_a_result_that_a_person_must_look_at_is_a_task(store: SqlStudyStore, outcome: Outcome) -> None:
    reason = None if outcome.analysed else BROKEN
    result = analyse(store, outcome=outcome, lesions=(lesion(),) if outcome.analysed else (), reason=reason)
    one = only(store)
    assert (one.state, one.outcome, one.reason) == (ProcedureStepState.SCHEDULED, outcome, reason)
    assert (one.study.patient_name, one.modalities, one.scheduled_at) == ("Doe^Jane", ("CT",), after(30))
    assert [each.sop_instance_uid for each in one.objects] == [each.sop_instance_uid for each in result.objects]
    assert (one.told, one.replaces) == ({}, None)


def test_a_study_in_which_nothing_was_found_is_read_in_its_turn(store: SqlStudyStore) -> None:
    analyse(store, outcome=Outcome.NOTHING_FOUND)
    assert reviews(store) == []


def test_a_result_that_is_not_frozen_leaves_no_task(store: SqlStudyStore) -> None:
    complete_study(store)
    lease, _ = lease_next(store)
    result, sha256s = a_result()
    with pytest.raises(ValueError):
        store.freeze(lease, result, sha256s=sha256s[:1], destinations=[], now=after(30))
    assert reviews(store) == []


def test_tasks_stand_in_the_order_of_the_work_list(store: SqlStudyStore) -> None:
    studies = [new_study_uid() for _ in range(3)]
    for place, (study, flag, priority) in enumerate(
        zip(
            studies,
            (Flag.ROUTINE, Flag.URGENT, Flag.ROUTINE),
            (OrderPriority.ROUTINE, OrderPriority.ROUTINE, OrderPriority.STAT),
            strict=True,
        )
    ):
        complete_study(store, study=study, priority=priority, at=place * 100)
        lease, _ = lease_next(store, at=place * 100 + 20)
        result, sha256s = a_result(flag=flag)
        store.freeze(lease, result, sha256s=sha256s, destinations=[], now=after(place * 100 + 30))
    listed = [row.study.study_instance_uid for row in store.board.work_list()]
    assert [one.study.study_instance_uid for one in reviews(store)] == listed == [studies[2], studies[1], studies[0]]
    assert [(one.priority, one.urgent) for one in reviews(store)] == [
        (OrderPriority.STAT, False),
        (OrderPriority.ROUTINE, True),
        (OrderPriority.ROUTINE, False),
    ]


def test_a_search_is_narrowed_by_state_uid_and_study(store: SqlStudyStore) -> None:
    analyse(store)
    analyse(store, study="1.7", at=100)
    first, second = reviews(store)
    change(store, first, ProcedureStepState.IN_PROGRESS)
    assert [one.uid for one in reviews(store, states=[ProcedureStepState.SCHEDULED])] == [second.uid]
    assert [one.uid for one in reviews(store, uids=[first.uid])] == [first.uid]
    assert [one.uid for one in reviews(store, of_study=StudyFilter(study_instance_uids=["1.7"]))] == [second.uid]
    assert reviews(store, of_study=StudyFilter(patterns={"patient_id": "P2"})) == []
    assert store.workitems.get("1.2.3") is None


def test_a_review_is_claimed_told_and_completed_and_the_history_says_so(store: SqlStudyStore) -> None:
    analyse(store)
    reviewed(store, only(store))
    one = only(store)
    assert (one.state, one.told, one.modified_at) == (ProcedureStepState.COMPLETED, DONE, after(62))
    assert history(store) == [("ups-rs", "review_in_progress", ""), ("ups-rs", "review_completed", "")]
    (row,) = store.board.work_list()
    assert row.review is ProcedureStepState.COMPLETED


def test_of_readers_who_claim_it_together_one_wins(store: SqlStudyStore) -> None:
    analyse(store)
    one = only(store)

    def claim(number: int) -> str:
        try:
            change(store, one, ProcedureStepState.IN_PROGRESS, f"1.2.{number}")
        except WorkitemRefused as refusal:
            return refusal.reason.code
        return f"1.2.{number}"

    with ThreadPoolExecutor(8) as readers:
        answers = list(readers.map(claim, range(8)))
    (winner,) = [answer for answer in answers if answer.startswith("1.2.")]
    assert answers.count("already_in_progress") == 7
    assert store.workitems.update(one.uid, DONE, transaction_uid=winner, now=after(70)) is Changed.DONE
    assert [what for _, what, _ in history(store)] == ["review_in_progress"]


@pytest.mark.parametrize(
    ("claimed", "wanted", "claim", "code"),
    [
        (False, ProcedureStepState.SCHEDULED, CLAIM, "may_not_be_scheduled"),
        (False, ProcedureStepState.IN_PROGRESS, "", "transaction_uid_missing"),
        (False, ProcedureStepState.COMPLETED, CLAIM, "not_in_progress"),
        (False, ProcedureStepState.CANCELED, CLAIM, "not_in_progress"),
        (True, ProcedureStepState.IN_PROGRESS, CLAIM, "already_in_progress"),
        (True, ProcedureStepState.COMPLETED, OTHER, "transaction_uid_incorrect"),
        (True, ProcedureStepState.COMPLETED, "", "transaction_uid_missing"),
        (True, ProcedureStepState.COMPLETED, CLAIM, "final_state_requirements"),
        (True, ProcedureStepState.CANCELED, CLAIM, "final_state_requirements"),
    ],
)
def test_no_other_way_leads_from_state_to_state(
    store: SqlStudyStore, claimed: bool, wanted: ProcedureStepState, claim: str, code: str
) -> None:
    analyse(store)
    if claimed:
        change(store, only(store), ProcedureStepState.IN_PROGRESS)
    before = only(store)
    with pytest.raises(WorkitemRefused) as refused:
        change(store, before, wanted, claim)
    assert refused.value.reason.code == code
    assert only(store) == before


def test_what_is_final_stays_and_asking_for_it_again_is_no_fault(store: SqlStudyStore) -> None:
    analyse(store)
    reviewed(store, only(store))
    one = only(store)
    assert change(store, one, ProcedureStepState.COMPLETED, at=90) is Changed.ALREADY
    for wanted in (ProcedureStepState.IN_PROGRESS, ProcedureStepState.CANCELED):
        with pytest.raises(WorkitemRefused, match="C300"):
            change(store, one, wanted)
    with pytest.raises(WorkitemRefused, match="C311"):
        store.workitems.request_cancel(one.uid, reason="", now=after(90))
    with pytest.raises(WorkitemRefused, match="C300"):
        store.workitems.update(one.uid, DONE, transaction_uid=CLAIM, now=after(90))
    assert only(store) == one


def test_the_final_state_requirements_name_what_is_missing(store: SqlStudyStore) -> None:
    analyse(store)
    one = only(store)
    change(store, one, ProcedureStepState.IN_PROGRESS)
    half = {PERFORMED: {"vr": "SQ", "Value": [{"00404028": A_CODE, "00404050": A_TIME, "00404019": {"vr": "SQ"}}]}}
    store.workitems.update(one.uid, half, transaction_uid=CLAIM, now=after(70))
    with pytest.raises(WorkitemRefused) as refused:
        change(store, one, ProcedureStepState.COMPLETED)
    assert "(0040,4019), (0040,4051), (0040,4033)" in refused.value.reason.text


def test_its_owner_cancels_it_with_a_reason(store: SqlStudyStore) -> None:
    analyse(store)
    one = only(store)
    change(store, one, ProcedureStepState.IN_PROGRESS)
    told = {PROGRESS: {"vr": "SQ", "Value": [{"0074100E": A_CODE}]}}
    store.workitems.update(one.uid, told, transaction_uid=CLAIM, now=after(70))
    assert change(store, one, ProcedureStepState.CANCELED, at=80) is Changed.DONE
    assert (only(store).state, only(store).canceled_at) == (ProcedureStepState.CANCELED, after(80))


def test_others_may_cancel_what_nobody_has_claimed(store: SqlStudyStore) -> None:
    analyse(store)
    one = only(store)
    assert store.workitems.request_cancel(one.uid, reason="read elsewhere", now=after(70)) is Changed.DONE
    assert store.workitems.request_cancel(one.uid, reason="again", now=after(71)) is Changed.ALREADY
    assert change(store, one, ProcedureStepState.CANCELED) is Changed.ALREADY
    assert (only(store).canceled_at, only(store).cancel_reason) == (after(70), "read elsewhere")
    assert history(store) == [("ups-rs", "review_canceled", "read elsewhere")]


def test_nobody_cancels_behind_the_back_of_a_reader(store: SqlStudyStore) -> None:
    analyse(store)
    one = only(store)
    change(store, one, ProcedureStepState.IN_PROGRESS)
    with pytest.raises(WorkitemRefused, match="C312"):
        store.workitems.request_cancel(one.uid, reason="", now=after(70))


def test_before_it_is_claimed_it_can_be_assigned_but_not_told_as_done(store: SqlStudyStore) -> None:
    analyse(store)
    one = only(store)
    assigned = {"00404025": A_CODE}
    assert store.workitems.update(one.uid, assigned, transaction_uid="", now=after(70)) is Changed.DONE
    assert only(store).told == assigned
    with pytest.raises(WorkitemRefused, match="C310"):
        store.workitems.update(one.uid, DONE, transaction_uid="", now=after(71))
    change(store, one, ProcedureStepState.IN_PROGRESS)
    with pytest.raises(WorkitemRefused, match="C301"):
        store.workitems.update(one.uid, DONE, transaction_uid=OTHER, now=after(72))


@pytest.mark.parametrize("claimed", [False, True])
def test_a_newer_result_takes_the_place_of_the_task(store: SqlStudyStore, claimed: bool) -> None:
    analyse(store)
    first = only(store)
    if claimed:
        change(store, first, ProcedureStepState.IN_PROGRESS)
    analyse(store, at=100, number=2)
    (second,) = reviews(store, states=[ProcedureStepState.SCHEDULED])
    (gone,) = reviews(store, states=[ProcedureStepState.CANCELED])
    assert (gone.uid, gone.canceled_at, gone.cancel_reason) == (first.uid, after(130), "superseded by a newer result")
    assert second.replaces == first.uid
    assert ("worker-1", "review_canceled", "superseded by a newer result") in history(store)
    with pytest.raises(WorkitemRefused, match=r"C30[01]"):
        change(store, first, ProcedureStepState.COMPLETED, OTHER)


def test_a_newer_result_without_findings_leaves_nothing_to_review(store: SqlStudyStore) -> None:
    analyse(store)
    analyse(store, at=100, number=2, outcome=Outcome.NOTHING_FOUND)
    assert only(store).state is ProcedureStepState.CANCELED


def test_what_was_reviewed_stays_so_when_a_newer_result_comes(store: SqlStudyStore) -> None:
    analyse(store)
    first = only(store)
    reviewed(store, first)
    analyse(store, at=100, number=2)
    assert {one.uid: one.state for one in reviews(store)}[first.uid] is ProcedureStepState.COMPLETED
    (second,) = reviews(store, states=[ProcedureStepState.SCHEDULED])
    assert second.replaces is None


def test_a_recall_withdraws_the_task_unless_it_is_done(store: SqlStudyStore) -> None:
    analyse(store)
    analyse(store, study="1.7", at=100)
    opened, done = reviews(store)
    reviewed(store, done)
    for one in (opened, done):
        store.recall(one.result_id, reason="wrong weights", actor="Dr Who", now=after(200))
    states = {one.uid: (one.state, one.cancel_reason) for one in reviews(store)}
    assert states[opened.uid] == (ProcedureStepState.CANCELED, "recalled: wrong weights")
    assert states[done.uid] == (ProcedureStepState.COMPLETED, None)
    assert history(store) == [("Dr Who", "review_canceled", "recalled: wrong weights")]


@pytest.mark.parametrize("done", [False, True])
def test_a_result_under_corrected_data_is_not_reviewed_twice(store: SqlStudyStore, done: bool) -> None:
    analyse(store)
    first = only(store)
    if done:
        reviewed(store, first)
    corrected = [image(number, content="corrected") for number in (1, 2)]
    corrected = [replace(one, study=replace(one.study, patient_name="Roe^Jane")) for one in corrected]
    store._same_pixels = lambda _kept, _arrived: True
    store.record(sent(*corrected), now=after(100))
    (version,) = store.quiet_versions(now=after(1000), quiet_period=QUIET)
    assert store.complete(version, one_job(), priority=OrderPriority.ROUTINE, seen=2, now=after(115))
    lease, job = lease_next(store, at=120)
    assert job.reconciles is not None
    result, sha256s = a_result()
    store.freeze(lease, result, sha256s=sha256s, destinations=[], now=after(130))
    waiting = reviews(store, states=[ProcedureStepState.SCHEDULED])
    assert [one.study.patient_name for one in waiting] == ([] if done else ["Roe^Jane"])
