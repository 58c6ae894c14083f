"""The contract of `StudyStore`: the outbox, leases and their tokens, and freezing a result once."""

from dataclasses import replace
from datetime import timedelta, timezone

import pytest
from sqlalchemy.exc import IntegrityError, StatementError

from services.backends.store import ShownState, SqlStudyStore
from services.triage.errors import LeaseLost, Reason
from services.triage.finding import Outcome
from services.triage.job import JobMessage, JobPlan, JobState, Lease, OrderPriority, Plan, SeriesRefusal
from tests.support.records import (
    LEASE,
    MODEL,
    NOON,
    PACS,
    STUDY,
    a_result,
    after,
    analyse,
    complete_study,
    image,
    lease_next,
    one_job,
    publish,
    sent,
)

BUSY = Reason(code="segmenter_unavailable", text="the inference server does not answer")
STOPPED = Reason(code="worker_stopped", text="the worker was stopped during the analysis")


def freeze(store: SqlStudyStore, lease: Lease, *, at: float = 30.0) -> str:
    result, sha256s = a_result()
    return store.freeze(lease, result, sha256s=sha256s, destinations=[PACS], now=after(at))


def test_a_job_stays_in_the_outbox_until_the_queue_has_confirmed_it(store: SqlStudyStore) -> None:
    complete_study(store)
    messages = store.unpublished(limit=10)
    assert store.unpublished(limit=10) == messages
    publish(store)
    assert store.unpublished(limit=10) == []


def test_the_outbox_is_ordered_by_order_priority_then_age(store: SqlStudyStore) -> None:
    complete_study(store, study="1.1", priority=OrderPriority.ROUTINE, at=0)
    complete_study(store, study="1.2", priority=OrderPriority.STAT, at=10)
    complete_study(store, study="1.3", priority=OrderPriority.STAT, at=5)
    messages = store.unpublished(limit=10)
    assert [one.priority for one in messages] == [OrderPriority.STAT, OrderPriority.STAT, OrderPriority.ROUTINE]


def test_the_outbox_gives_no_more_than_asked(store: SqlStudyStore) -> None:
    for number in range(3):
        complete_study(store, study=f"1.{number + 1}")
    assert len(store.unpublished(limit=2)) == 2


def test_a_lease_brings_all_that_a_worker_needs(store: SqlStudyStore) -> None:
    refused = SeriesRefusal(series_instance_uid="1.5", reason=Reason(code="localizer", text="a localizer"))
    plan = Plan(jobs=(JobPlan(model_name="lung", series_instance_uid=f"{STUDY}.1", refused_series=(refused,)),))
    version = complete_study(store, plan=plan, priority=OrderPriority.HIGH, images=3)
    lease, job = lease_next(store, worker="worker-7", at=20)
    assert (lease.job_id, lease.worker, lease.expires_at) == (job.job_id, "worker-7", after(20) + LEASE)
    assert (job.version, job.plan, job.priority, job.attempt) == (version, plan.jobs[0], OrderPriority.HIGH, 1)
    assert job.instances == (image(1), image(2), image(3))
    assert job.study == image(1).study
    assert job.predecessors == ()


def test_a_job_is_leased_once(store: SqlStudyStore) -> None:
    complete_study(store)
    lease, _ = lease_next(store)
    assert store.lease_next(worker="other", now=after(21), duration=LEASE) is None
    freeze(store, lease)
    assert store.lease_next(worker="other", now=after(40), duration=LEASE) is None


def test_with_nothing_queued_nothing_is_leased(store: SqlStudyStore) -> None:
    assert store.lease_next(worker="w", now=NOON, duration=LEASE) is None


def test_a_renewed_lease_does_not_run_out(store: SqlStudyStore) -> None:
    complete_study(store)
    lease, _ = lease_next(store, at=20)
    renewed = store.renew(lease, now=after(70), duration=LEASE)
    assert renewed == replace(lease, expires_at=after(70) + LEASE)
    assert store.reissue(now=after(100)) == 0
    freeze(store, renewed, at=110)


def test_a_job_whose_lease_has_run_out_is_published_and_leased_again_with_a_higher_token(store: SqlStudyStore) -> None:
    complete_study(store)
    first, _ = lease_next(store, at=20)
    assert store.reissue(now=after(79)) == 0
    assert store.reissue(now=after(80)) == 1
    assert store.unpublished(limit=10) == [JobMessage(job_id=first.job_id, attempt=2)]
    second, job = lease_next(store, worker="worker-2", at=81)
    assert second.token > first.token
    assert job.attempt == 2


@pytest.mark.parametrize("successor", [False, True], ids=["put back", "leased by another"])
def test_a_worker_that_wakes_after_its_lease_ran_out_can_change_nothing(store: SqlStudyStore, successor: bool) -> None:
    complete_study(store)
    asleep, _ = lease_next(store, at=20)
    store.reissue(now=after(80))
    if successor:
        lease_next(store, worker="worker-2", at=81)
    before = store.board.study(STUDY)
    for late in (
        lambda: store.renew(asleep, now=after(90), duration=LEASE),
        lambda: freeze(store, asleep, at=90),
        lambda: store.postpone(asleep, BUSY, now=after(90), until=after(95)),
    ):
        with pytest.raises(LeaseLost):
            late()
    assert store.board.study(STUDY) == before


def test_a_paused_worker_cannot_overwrite_the_result_of_its_successor(store: SqlStudyStore) -> None:
    complete_study(store)
    asleep, _ = lease_next(store, worker="worker-1", at=20)
    store.reissue(now=after(80))
    awake, _ = lease_next(store, worker="worker-2", at=81)
    result_id = freeze(store, awake, at=90)
    with pytest.raises(LeaseLost):
        freeze(store, asleep, at=91)
    detail = store.board.study(STUDY)
    assert detail is not None
    (job,) = detail.versions[0].jobs
    assert job.result is not None
    assert job.result.result_id == result_id
    assert job.events[-1].actor == "worker-2"


def test_a_confirmation_that_comes_late_does_not_hide_a_job_put_back_meanwhile(store: SqlStudyStore) -> None:
    complete_study(store)
    messages = store.unpublished(limit=10)
    store.lease_next(worker="fast", now=after(20), duration=LEASE)
    store.reissue(now=after(80))
    store.published(messages)
    assert len(store.unpublished(limit=10)) == 1


def stop(store: SqlStudyStore, lease: Lease, *, at: float) -> None:
    """Give a job back, of which a worker was stopped, and have it published again."""
    store.postpone(lease, STOPPED, now=after(at), until=after(at), counts=False)
    store.reissue(now=after(at))


def test_an_attempt_that_a_stop_ended_does_not_count_and_its_worker_can_change_nothing(store: SqlStudyStore) -> None:
    complete_study(store)
    stopped: list[Lease] = []
    for at in range(20, 70, 10):
        lease, job = lease_next(store, at=at)
        assert job.attempt == 1
        stop(store, lease, at=at + 5)
        stopped.append(lease)
    last, job = lease_next(store, at=80)
    assert job.attempt == 1
    assert len({one.token for one in (*stopped, last)}) == 6
    for late in stopped:
        with pytest.raises(LeaseLost):
            freeze(store, late, at=85)
        with pytest.raises(LeaseLost):
            stop(store, late, at=85)
    freeze(store, last, at=90)


def test_a_confirmation_that_comes_late_does_not_hide_a_job_that_a_stop_gave_back(store: SqlStudyStore) -> None:
    complete_study(store)
    messages = store.unpublished(limit=10)
    lease, _ = lease_next(store, at=20)
    stop(store, lease, at=25)
    store.published(messages)
    assert len(store.unpublished(limit=10)) == 1
    publish(store)
    assert store.unpublished(limit=10) == []


def test_a_postponed_job_is_published_again_not_before_its_time(store: SqlStudyStore) -> None:
    complete_study(store)
    lease, _ = lease_next(store)
    store.postpone(lease, BUSY, now=after(25), until=after(55))
    store.reissue(now=after(54))
    assert store.unpublished(limit=10) == []
    assert store.lease_next(worker="early", now=after(54), duration=LEASE) is None
    store.reissue(now=after(55))
    again, job = lease_next(store, at=56)
    assert job.attempt == 2
    assert again.token > lease.token


def test_the_history_of_a_job_tells_every_attempt_and_why_it_ended(store: SqlStudyStore) -> None:
    complete_study(store)
    lease, _ = lease_next(store, worker="w1", at=20)
    store.postpone(lease, BUSY, now=after(25), until=after(30))
    store.reissue(now=after(30))
    lease_next(store, worker="w2", at=31)
    store.reissue(now=after(91))
    last, _ = lease_next(store, worker="w3", at=92)
    freeze(store, last, at=99)
    detail = store.board.study(STUDY)
    assert detail is not None
    told = [(event.time, event.actor, event.what) for event in detail.versions[0].jobs[0].events]
    assert told == [
        (after(15), "gateway", "queued"),
        (after(20), "w1", "analysing"),
        (after(25), "w1", "postponed"),
        (after(31), "w2", "analysing"),
        (after(91), "store", "queued"),
        (after(92), "w3", "analysing"),
        (after(99), "w3", "frozen"),
    ]


def test_a_result_names_the_report_it_replaces(store: SqlStudyStore) -> None:
    analyse(store)
    first = store.board.study(STUDY)
    assert first is not None
    frozen = first.versions[0].jobs[0].result
    assert frozen is not None
    complete_study(store, number=2, at=100)
    _, job = lease_next(store, at=120)
    assert job.version.number == 2
    assert job.predecessors == tuple(one.sha256 for one in frozen.objects if one.modality == "SR")


def test_a_result_of_another_model_is_no_predecessor(store: SqlStudyStore) -> None:
    analyse(store)
    complete_study(store, number=2, at=100, plan=one_job(model="liver"))
    _, job = lease_next(store, at=120)
    assert job.predecessors == ()


def test_a_cancelled_version_leaves_the_predecessor_of_the_one_before(store: SqlStudyStore) -> None:
    analyse(store)
    complete_study(store, number=2, at=100)
    complete_study(store, number=3, at=200)
    _, job = lease_next(store, at=220)
    assert job.version.number == 3
    assert len(job.predecessors) == 1


def test_freezing_is_all_or_nothing(store: SqlStudyStore) -> None:
    complete_study(store)
    lease, _ = lease_next(store)
    result, sha256s = a_result()
    twice_the_same_uid = replace(result, objects=(result.objects[0], result.objects[0]))
    with pytest.raises(IntegrityError):
        store.freeze(lease, twice_the_same_uid, sha256s=sha256s, destinations=[PACS], now=after(30))
    assert store.board.counts().jobs == {JobState.ANALYSING: 1}
    assert store.board.counts().outcomes == {}
    assert store.board.result_object(result.objects[0].sop_instance_uid) is None
    freeze(store, lease, at=31)


def test_every_object_of_a_result_has_its_digest(store: SqlStudyStore) -> None:
    complete_study(store)
    lease, _ = lease_next(store)
    result, sha256s = a_result()
    with pytest.raises(ValueError, match="1 digests for 2 objects"):
        store.freeze(lease, result, sha256s=sha256s[:1], destinations=[], now=after(30))
    store.freeze(lease, result, sha256s=sha256s, destinations=[], now=after(30))
    assert [store.board.result_object(one.sop_instance_uid) for one in result.objects] == sha256s


def test_a_study_for_two_models_is_two_jobs_and_stays_open_until_both_are_frozen(store: SqlStudyStore) -> None:
    jobs = tuple(JobPlan(model_name=name, series_instance_uid=f"{STUDY}.1") for name in ("lung", "liver"))
    complete_study(store, plan=Plan(jobs=jobs))
    shown = []
    for _ in range(2):
        lease, _ = lease_next(store)
        shown.append(store.board.work_list()[0].state)
        freeze(store, lease)
        shown.append(store.board.work_list()[0].state)
    assert shown == [ShownState.ANALYSING, ShownState.QUEUED, ShownState.ANALYSING, ShownState.ANALYSED]


def test_a_not_analysed_job_is_queued_like_any_other_and_its_refusal_is_told(store: SqlStudyStore) -> None:
    refusal = Reason(code="no_axial_series", text="no axial series")
    complete_study(store, plan=Plan(jobs=(JobPlan(model_name=MODEL.name, series_instance_uid=None, refusal=refusal),)))
    lease, job = lease_next(store)
    assert job.plan.refusal == refusal
    result, sha256s = a_result(outcome=Outcome.NOT_ANALYSED, score=None, reason=refusal)
    store.freeze(lease, replace(result, series_instance_uid=None), sha256s=sha256s, destinations=[], now=after(30))
    row = store.board.work_list()[0]
    assert (row.state, row.reason) == (ShownState.NOT_ANALYSED, refusal)


def test_times_given_in_another_zone_are_the_same_times(store: SqlStudyStore) -> None:
    complete_study(store)
    elsewhere = after(20).astimezone(timezone(timedelta(hours=9)))
    store.lease_next(worker="w", now=elsewhere, duration=LEASE)
    assert store.reissue(now=after(79)) == 0
    assert store.reissue(now=after(80)) == 1


def test_a_time_without_a_zone_is_refused_and_the_error_names_no_patient(store: SqlStudyStore) -> None:
    with pytest.raises(StatementError, match="without a zone") as error:
        store.record(sent(image(9)), now=after(99).replace(tzinfo=None))
    assert "Doe" not in str(error.value)
    assert store.board.study(STUDY) is None
