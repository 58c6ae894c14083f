"""The contract of `StudyStore`: which job is next."""

from services.backends.store import SqlStudyStore
from services.triage.job import AGEING, OrderPriority
from tests.support.records import LEASE, after, complete_study, lease_next, publish


def studies_in_order(store: SqlStudyStore, *, at: float) -> list[str]:
    """The studies of all jobs, as they are leased at one moment."""
    leased = iter(lambda: store.lease_next(worker="w", now=after(at), duration=LEASE), None)
    return [job.version.study_instance_uid for _, job in leased]


def test_jobs_are_leased_by_order_priority_then_age(store: SqlStudyStore) -> None:
    for number, priority in enumerate((2, 0, 1, 0, 2), start=1):
        complete_study(store, study=f"1.{number}", priority=OrderPriority(priority), at=number, images=1)
    assert studies_in_order(store, at=60) == ["1.2", "1.4", "1.3", "1.1", "1.5"]


def test_a_stat_study_overtakes_a_backlog_of_200_routine_ones(store: SqlStudyStore) -> None:
    for number in range(200):
        complete_study(store, study=f"1.8.{number}", images=1, at=number)
    complete_study(store, study="1.9", priority=OrderPriority.STAT, images=1, at=300)
    _, job = lease_next(store, at=320)
    assert job.version.study_instance_uid == "1.9"


def test_routine_work_never_starves_behind_a_stream_of_stat_studies(store: SqlStudyStore) -> None:
    complete_study(store, study="1.1", images=1)
    two_steps = 2 * AGEING.total_seconds()
    for number, at in enumerate((two_steps - 60, two_steps + 60)):
        complete_study(store, study=f"1.2.{number}", priority=OrderPriority.STAT, images=1, at=at)
    assert studies_in_order(store, at=two_steps + 120) == ["1.2.0", "1.1", "1.2.1"]


def test_the_trace_context_of_a_completion_travels_with_message_and_job(store: SqlStudyStore) -> None:
    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    complete_study(store, traceparent=traceparent)
    (message,) = publish(store)
    assert message.traceparent == traceparent
    _, job = lease_next(store)
    assert job.traceparent == traceparent
    assert job.job_id == message.job_id
