"""The contract of `StudyStore`: a new analysis of a study whose result somebody has had already."""

from dataclasses import replace
from hashlib import sha256

import pytest

from services.backends.store import ShownState, SqlStudyStore, open_store
from services.backends.store.board import StudyRow
from services.triage.finding import Flag, Outcome
from services.triage.identity import two_patients
from services.triage.job import Job, JobPlan, OrderPriority, Plan
from services.triage.result import Result
from services.triage.study import StudyState, VersionKey
from tests.support.records import (
    LEASE,
    MODEL,
    PACS,
    QUIET,
    STUDY,
    a_result,
    after,
    analyse,
    complete_study,
    image,
    lease_next,
    lesion,
    one_job,
    sent,
)

OTHER = "1.7"  # routine, and there first: what is no longer urgent stands below it


def deliver(store: SqlStudyStore, *, at: float) -> None:
    while (due := store.claim_delivery(PACS.name, now=after(at), duration=LEASE)) is not None:
        store.delivered(due.delivery_id, now=after(at))


def rerun(store: SqlStudyStore, number: int = 2, *, at: float = 200, **finding: object) -> tuple[Job, Result]:
    assert store.ask_analysis(STUDY, actor="Dr Who", now=after(at))
    version = VersionKey(study_instance_uid=STUDY, number=number)
    assert store.quiet_versions(now=after(at), quiet_period=QUIET) == [version]
    seen = len(store.instances(version))
    assert store.complete(version, one_job(), priority=OrderPriority.ROUTINE, seen=seen, now=after(at))
    lease, job = lease_next(store, at=at + 1)
    result, sha256s = a_result(**finding)
    store.freeze(lease, result, sha256s=sha256s, destinations=[PACS], now=after(at + 2))
    return job, result


def listed(store: SqlStudyStore) -> dict[str, StudyRow]:
    return {row.study.study_instance_uid: row for row in store.board.work_list()}


def test_a_new_analysis_of_the_same_images_names_its_predecessor_and_keeps_lesions(store: SqlStudyStore) -> None:
    first = analyse(store, lesions=(lesion(),))
    job, second = rerun(store, model=replace(MODEL, version="2.0"))
    assert job.reconciles is None
    assert job.predecessors == (sha256(first.objects[1].content).hexdigest(),)
    assert job.earlier_lesions == (lesion(),)
    third, _ = rerun(store, 3, at=300)
    assert third.predecessors == (sha256(second.objects[1].content).hexdigest(),)


@pytest.mark.parametrize(
    ("before", "after_"), [(Flag.ROUTINE, Flag.URGENT), (Flag.URGENT, Flag.ROUTINE)], ids=["up", "down"]
)
def test_a_study_whose_result_was_delivered_keeps_its_place(store: SqlStudyStore, before: Flag, after_: Flag) -> None:
    analyse(store, study=OTHER)
    analyse(store, at=50, flag=before)
    deliver(store, at=90)
    places = list(listed(store))
    rerun(store, flag=after_)
    row = listed(store)[STUDY]
    assert list(listed(store)) == places
    assert (row.flag, row.already_reported) == (after_, True)


def test_a_study_whose_result_nobody_has_yet_takes_the_new_place(store: SqlStudyStore) -> None:
    analyse(store, study=OTHER)
    analyse(store, at=50)
    rerun(store, flag=Flag.URGENT)
    assert list(listed(store)) == [STUDY, OTHER]
    assert not listed(store)[STUDY].already_reported


def test_late_images_with_an_urgent_finding_bring_a_reported_study_up(store: SqlStudyStore) -> None:
    analyse(store, study=OTHER)
    analyse(store, at=50)
    deliver(store, at=90)
    analyse(store, number=2, at=200, flag=Flag.URGENT)
    assert list(listed(store)) == [STUDY, OTHER]
    assert not listed(store)[STUDY].already_reported


def test_a_recalled_result_gives_no_place(store: SqlStudyStore) -> None:
    analyse(store, study=OTHER)
    analyse(store, at=50)
    deliver(store, at=90)
    detail = store.board.study(STUDY)
    assert detail is not None
    wrong = detail.versions[0].jobs[0].result
    assert wrong is not None
    store.recall(wrong.result_id, reason="wrong", actor="Dr Who", now=after(100))
    rerun(store, flag=Flag.URGENT)
    assert list(listed(store)) == [STUDY, OTHER]


def test_a_study_whose_newest_result_is_recalled_is_not_held_up_by_the_one_before(store: SqlStudyStore) -> None:
    analyse(store, study=OTHER)
    analyse(store, at=50, flag=Flag.URGENT)
    deliver(store, at=90)
    rerun(store, flag=Flag.URGENT)
    detail = store.board.study(STUDY)
    assert detail is not None
    newer = detail.versions[0].jobs[0].result
    assert newer is not None
    store.recall(newer.result_id, reason="wrong", actor="Dr Who", now=after(300))
    assert list(listed(store)) == [OTHER, STUDY]


def test_an_urgent_study_stays_on_top_while_the_model_looks_again(store: SqlStudyStore) -> None:
    analyse(store, study=OTHER)
    analyse(store, at=50, flag=Flag.URGENT)
    deliver(store, at=90)
    assert store.ask_analysis(STUDY, actor="Dr Who", now=after(200))
    assert list(listed(store)) == [STUDY, OTHER]
    assert (listed(store)[STUDY].state, listed(store)[STUDY].outcome) == (ShownState.RECEIVING, Outcome.FOUND)


def test_what_will_be_analysed_anyway_is_not_asked_for_twice(store: SqlStudyStore) -> None:
    assert not store.ask_analysis("1.2.3.404", actor="Dr Who", now=after(0))
    store.record(sent(image(1), image(2)), now=after(0))
    assert not store.ask_analysis(STUDY, actor="Dr Who", now=after(1))
    complete_study(store)
    assert not store.ask_analysis(STUDY, actor="Dr Who", now=after(20))
    lease_next(store)
    assert not store.ask_analysis(STUDY, actor="Dr Who", now=after(30))


def test_the_history_says_who_asked(store: SqlStudyStore) -> None:
    analyse(store)
    assert store.ask_analysis(STUDY, actor="Dr Who", now=after(100))
    assert not store.ask_analysis(STUDY, actor="Dr Who", now=after(101))
    detail = store.board.study(STUDY)
    assert detail is not None
    assert detail.versions[0].state is StudyState.RECEIVING
    assert [one.actor for one in detail.events if one.cause == "a new analysis was asked for"] == ["Dr Who"]


def test_an_urgent_study_keeps_its_place_when_its_images_become_those_of_two_patients(store_url: str) -> None:
    store = open_store(store_url, same_pixels=lambda _kept, _arrived: True)
    analyse(store, study=OTHER)
    analyse(store, at=50, flag=Flag.URGENT)
    deliver(store, at=90)
    mixed = image(1, content="again")
    store.record(sent(replace(mixed, study=replace(mixed.study, patient_id="P2"))), now=after(100))
    version = VersionKey(study_instance_uid=STUDY, number=2)
    reason = two_patients(store.instances(version))
    plan = Plan(jobs=(JobPlan(model_name=MODEL.name, series_instance_uid=None, refusal=reason),))
    assert store.complete(version, plan, priority=OrderPriority.ROUTINE, seen=2, now=after(115))
    lease, _ = lease_next(store, at=120)
    result, _ = a_result(outcome=Outcome.NOT_ANALYSED, score=None, reason=reason)
    store.freeze(lease, replace(result, objects=()), sha256s=[], destinations=[], now=after(121))
    assert list(listed(store)) == [STUDY, OTHER]
    assert (listed(store)[STUDY].state, listed(store)[STUDY].reason) == (ShownState.NOT_ANALYSED, reason)
    store.close()
