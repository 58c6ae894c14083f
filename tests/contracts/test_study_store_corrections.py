"""The contract of `StudyStore`: images come again under other patient or order data, and what results become."""

from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256

import pytest

from services.backends.store import ShownState, SqlStudyStore, open_store
from services.backends.store.board import VersionRow
from services.triage.errors import LeaseLost, Reason
from services.triage.finding import Flag, Outcome
from services.triage.identity import NOT_AGREED, two_patients
from services.triage.job import Job, JobKind, JobPlan, JobState, OrderPriority, Plan
from services.triage.ports import Arrival, Recorded
from services.triage.result import IDENTITY_CORRECTED, DeliveryState, Result
from services.triage.study import Instance, VersionKey
from tests.support.records import (
    LEASE,
    PACS,
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

NAMED = {"patient_name": "Roe^Jane"}
LESIONS = (lesion(1), lesion(2, score=0.6))


@pytest.fixture
def store(store_url: str) -> Iterator[SqlStudyStore]:
    """One that finds equal pixels under one UID."""
    opened = open_store(store_url, same_pixels=lambda _kept, _arrived: True)
    yield opened
    opened.close()


def again(number: int, **told: str) -> Instance:
    """An image that was sent before, with other patient or order data."""
    one = image(number, content=str(told))
    return replace(one, study=replace(one.study, **told))


def correct(store: SqlStudyStore, *numbers: int, at: float, **told: str) -> list[Recorded]:
    return store.record(sent(*(again(number, **told) for number in numbers), sender="PACS"), now=after(at))


def complete(store: SqlStudyStore, number: int, *, at: float, plan: Plan | None = None) -> None:
    version = VersionKey(study_instance_uid=STUDY, number=number)
    seen = len(store.instances(version))
    assert store.complete(version, plan or one_job(), priority=OrderPriority.ROUTINE, seen=seen, now=after(at))


def freeze(store: SqlStudyStore, *, at: float, **finding: object) -> Job:
    lease, job = lease_next(store, at=at)
    result, sha256s = a_result(**finding)
    store.freeze(lease, result, sha256s=sha256s, destinations=[PACS], now=after(at))
    return job


def versions(store: SqlStudyStore) -> tuple[VersionRow, ...]:
    detail = store.board.study(STUDY)
    assert detail is not None
    return detail.versions


def digests(result: Result) -> tuple[str, ...]:
    return tuple(sha256(one.content).hexdigest() for one in result.objects)


def test_corrected_images_open_a_version_whose_job_writes_the_earlier_result_again(store: SqlStudyStore) -> None:
    earlier = analyse(store, lesions=LESIONS, flag=Flag.URGENT)
    second = VersionKey(study_instance_uid=STUDY, number=2)
    assert {one.version for one in correct(store, 1, 2, at=100, **NAMED)} == {second}
    complete(store, 2, at=115)
    _, job = lease_next(store, at=120)
    assert job.reconciles is not None
    assert (job.reconciles.finding, job.reconciles.model) == (earlier.finding, earlier.model)
    assert job.reconciles.sha256s == digests(earlier)
    assert job.predecessors == digests(earlier)[1:]
    assert {one.study.patient_name for one in job.instances} == {"Roe^Jane"}
    assert [one.kind for version in versions(store) for one in version.jobs] == [JobKind.RECONCILE, JobKind.ANALYSE]


def test_a_correction_undone_by_the_bytes_that_came_first_is_told(store: SqlStudyStore) -> None:
    analyse(store)
    correct(store, 1, 2, at=100, **NAMED)
    complete(store, 2, at=115)
    freeze(store, at=120)
    undone = store.record(sent(image(1), image(2), sender="PACS"), now=after(200))
    assert undone == [Recorded(arrival=Arrival.OLDER, version=None)] * 2
    (resent,) = correct(store, 1, at=201, **NAMED)
    assert resent == Recorded(arrival=Arrival.RESEND, version=None, replaced=(image(1).digest,))
    detail = store.board.study(STUDY)
    assert detail is not None
    assert (detail.row.study.patient_name, len(detail.versions)) == ("Roe^Jane", 2)
    lines = [(one.time, one.actor, one.cause) for one in detail.events if one.what == "older_content"]
    assert lines == [(after(200), "PACS", "2 instances")]


@pytest.mark.parametrize("told", [{"study_description": "CT Thorax"}, {"patient_name": "Doe^Jane^^"}, {}], ids=str)
def test_what_no_result_is_filed_by_opens_nothing(store: SqlStudyStore, told: dict[str, str]) -> None:
    analyse(store)
    correct(store, 1, 2, at=100, **{"study_id": "", **told})
    assert len(versions(store)) == 1


def test_a_result_written_again_supersedes_the_earlier_which_is_sent_no_more(store: SqlStudyStore) -> None:
    analyse(store)
    correct(store, 1, 2, at=100, **NAMED)
    complete(store, 2, at=115)
    freeze(store, at=120)
    (new,), (old,) = (version.jobs for version in versions(store))
    assert new.result is not None
    assert old.result is not None
    assert (old.result.superseded_by, new.result.superseded_by) == (new.result.result_id, None)
    assert [one.cause for one in old.events if one.what == "superseded"] == [f"by result {new.result.result_id}"]
    (withdrawn,), (pending,) = old.result.deliveries, new.result.deliveries
    assert (withdrawn.state, withdrawn.reason) == (DeliveryState.GIVEN_UP, IDENTITY_CORRECTED)
    assert pending.state is DeliveryState.PENDING
    assert store.resend([withdrawn.delivery_id], actor="a person", now=after(130)) == []
    due = store.claim_delivery(PACS.name, now=after(130), duration=LEASE)
    assert due is not None
    assert due.delivery_id == pending.delivery_id


def test_a_delivery_that_had_arrived_stays_sent(store: SqlStudyStore) -> None:
    analyse(store)
    due = store.claim_delivery(PACS.name, now=after(40), duration=LEASE)
    assert due is not None
    store.delivered(due.delivery_id, now=after(41))
    correct(store, 1, 2, at=100, **NAMED)
    complete(store, 2, at=115)
    freeze(store, at=120)
    (old,) = versions(store)[1].jobs
    assert old.result is not None
    assert [one.state for one in old.result.deliveries] == [DeliveryState.SENT]


def test_the_result_stands_until_all_images_agree_and_is_then_written_again(store: SqlStudyStore) -> None:
    earlier = analyse(store, flag=Flag.URGENT)
    correct(store, 1, at=100, **NAMED)
    complete(store, 2, at=115)
    assert store.unpublished(limit=10) == []
    (row,) = store.board.work_list()
    assert (row.state, row.flag, row.reason, row.result_version) == (ShownState.ANALYSED, Flag.URGENT, NOT_AGREED, 1)
    correct(store, 2, at=200, **NAMED)
    complete(store, 3, at=215)
    _, job = lease_next(store, at=220)
    assert job.reconciles is not None
    assert job.reconciles.sha256s == digests(earlier)


def test_a_study_of_two_patients_recovers_without_a_model_once_it_is_corrected(store: SqlStudyStore) -> None:
    earlier = analyse(store, lesions=LESIONS)
    correct(store, 1, at=100, patient_id="P2")
    reason = two_patients(store.instances(VersionKey(study_instance_uid=STUDY, number=2)))
    refused = JobPlan(model_name="lung", series_instance_uid=None, refusal=reason)
    complete(store, 2, at=115, plan=Plan(jobs=(refused,)))
    lease, job = lease_next(store, at=120)
    assert job.reconciles is None
    result, _ = a_result(outcome=Outcome.NOT_ANALYSED, score=None, reason=reason)
    store.freeze(lease, replace(result, objects=()), sha256s=[], destinations=[], now=after(121))
    correct(store, 2, at=200, patient_id="P2")
    complete(store, 3, at=215)
    _, job = lease_next(store, at=220)
    assert job.reconciles is not None
    assert job.reconciles.sha256s == digests(earlier)
    assert job.predecessors == digests(earlier)[1:]


def test_images_that_changed_too_are_looked_at_again(store: SqlStudyStore) -> None:
    analyse(store)
    correct(store, 1, 2, at=100, **NAMED)
    store.record(sent(replace(image(3), study=again(3, **NAMED).study)), now=after(101))
    complete(store, 2, at=120)
    _, job = lease_next(store, at=125)
    assert (job.reconciles, len(job.predecessors)) == (None, 1)


def test_a_correction_after_the_images_changed_writes_only_the_newer_result_again(store: SqlStudyStore) -> None:
    analyse(store)
    newer = analyse(store, at=100, number=2)
    correct(store, 1, 2, 3, at=200, **NAMED)
    complete(store, 3, at=215)
    _, job = lease_next(store, at=220)
    assert job.reconciles is not None
    assert job.reconciles.sha256s == digests(newer)


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.NOT_ANALYSED])
def test_what_no_model_has_looked_at_is_tried_again(store: SqlStudyStore, outcome: Outcome) -> None:
    analyse(store, outcome=outcome, score=None, reason=Reason(code="broken", text="broken"))
    correct(store, 1, 2, at=100, **NAMED)
    complete(store, 2, at=115)
    assert lease_next(store, at=120)[1].reconciles is None


def test_another_series_or_model_is_looked_at(store: SqlStudyStore) -> None:
    analyse(store)
    correct(store, 1, 2, at=100, **NAMED)
    other = (
        JobPlan(model_name="lung", series_instance_uid=f"{STUDY}.2"),
        JobPlan(model_name="liver", series_instance_uid=f"{STUDY}.1"),
    )
    complete(store, 2, at=115, plan=Plan(jobs=other))
    assert [lease_next(store, at=120)[1].reconciles for _ in other] == [None, None]


def test_a_correction_before_any_result_cancels_the_job_and_the_next_analyses(store: SqlStudyStore) -> None:
    complete_study(store)
    lease, _ = lease_next(store)
    correct(store, 1, 2, at=25, **NAMED)
    result, sha256s = a_result()
    with pytest.raises(LeaseLost):
        store.freeze(lease, result, sha256s=sha256s, destinations=[PACS], now=after(30))
    complete(store, 2, at=45)
    assert lease_next(store, at=50)[1].reconciles is None


def test_a_second_correction_cancels_the_writing_of_the_first(store: SqlStudyStore) -> None:
    earlier = analyse(store)
    correct(store, 1, 2, at=100, **NAMED)
    complete(store, 2, at=115)
    lease, _ = lease_next(store, at=120)
    correct(store, 1, 2, at=121, patient_name="Poe^Jane")
    with pytest.raises(LeaseLost):
        store.renew(lease, now=after(122), duration=LEASE)
    complete(store, 3, at=140)
    _, job = lease_next(store, at=145)
    assert job.reconciles is not None
    assert job.reconciles.sha256s == digests(earlier)
    assert [one.state for version in versions(store) for one in version.jobs] == [
        JobState.ANALYSING,
        JobState.CANCELLED,
        JobState.FROZEN,
    ]


def test_a_worker_that_dies_while_it_writes_again_is_followed_by_another(store: SqlStudyStore) -> None:
    analyse(store)
    correct(store, 1, 2, at=100, **NAMED)
    complete(store, 2, at=115)
    lease, first = lease_next(store, at=120)
    assert store.reissue(now=after(120) + LEASE) == 1
    _, second = lease_next(store, worker="worker-2", at=200)
    assert (second.job_id, second.reconciles) == (first.job_id, first.reconciles)
    result, sha256s = a_result()
    with pytest.raises(LeaseLost):
        store.freeze(lease, result, sha256s=sha256s, destinations=[PACS], now=after(201))


def test_the_same_correction_twice_opens_one_version(store: SqlStudyStore) -> None:
    analyse(store)
    correct(store, 1, 2, at=100, **NAMED)
    complete(store, 2, at=115)
    freeze(store, at=120)
    correct(store, 1, 2, at=200, **NAMED)
    store.record(sent(image(1), image(2)), now=after(201))
    assert len(versions(store)) == 2
