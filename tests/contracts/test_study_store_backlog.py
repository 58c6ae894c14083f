"""The contract of `StudyStore`: what waits for the broker, and what for a worker."""

from services.backends.store import SqlStudyStore
from services.triage.errors import Reason
from services.triage.job import Backlog
from tests.support.records import LEASE, after, complete_study, lease_next, publish

NOTHING = Backlog(owed_since=None, untaken_since=None)


def test_a_message_is_owed_since_its_job_was_queued_until_it_is_published(store: SqlStudyStore) -> None:
    assert store.backlog(now=after(0)) == NOTHING
    complete_study(store, at=10)
    assert store.backlog(now=after(60)).owed_since == after(25)
    publish(store)
    assert store.backlog(now=after(60)).owed_since is None


def test_a_job_is_untaken_until_a_worker_holds_any_lease(store: SqlStudyStore) -> None:
    for number in (1, 2):
        complete_study(store, study=f"1.{number}", at=number)
    assert store.backlog(now=after(60)).untaken_since == after(16)
    lease_next(store, at=60)
    assert store.backlog(now=after(61)).untaken_since is None
    assert store.backlog(now=after(60) + LEASE).untaken_since == after(17), "the worker of the first one has died"


def test_a_postponed_job_waits_for_its_time_not_for_a_worker(store: SqlStudyStore) -> None:
    complete_study(store)
    lease, _ = lease_next(store)
    store.postpone(lease, Reason(code="x", text="y"), now=after(30), until=after(300))
    assert store.backlog(now=after(299)) == NOTHING
    assert store.backlog(now=after(301)).untaken_since is not None
