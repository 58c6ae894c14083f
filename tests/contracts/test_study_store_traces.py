"""The contract of `StudyStore`: a trace stays with its study version, whoever works on it."""

from datetime import timedelta

import sqlalchemy as sa

from services.backends.store import SqlStudyStore
from services.backends.store.engine import writing
from services.backends.store.tables import job, study_version
from services.triage.job import OrderPriority
from services.triage.study import VersionKey
from services.triage.trace import VersionTrace
from tests.support.records import LEASE, PACS, STUDY, a_result, after, image, lease_next, one_job, publish, sent

FIRST = VersionKey(study_instance_uid=STUDY, number=1)
SECOND = VersionKey(study_instance_uid=STUDY, number=2)


def traced(number: int) -> str:
    return f"00-{number:032x}-{number:016x}-01"


def arrived(store: SqlStudyStore, *numbers: int, at: float = 0.0, traceparent: str | None) -> list[str | None]:
    images = sent(*(image(number) for number in numbers))
    return [one.traceparent for one in store.record(images, now=after(at), traceparent=traceparent)]


def complete(store: SqlStudyStore, version: VersionKey, traceparent: str, *, at: float = 20.0) -> None:
    seen, priority = len(store.instances(version)), OrderPriority.ROUTINE
    assert store.complete(version, one_job(), priority=priority, seen=seen, now=after(at), traceparent=traceparent)


def test_a_version_has_the_trace_of_what_opened_it_whatever_joins_later(store: SqlStudyStore) -> None:
    assert arrived(store, 1, 2, traceparent=traced(1)) == [traced(1)] * 2
    assert arrived(store, 3, traceparent=traced(2)) == [traced(1)]
    assert arrived(store, 3, traceparent=traced(3)) == [None], "sent again: it changes no version"
    assert store.traced(FIRST) == VersionTrace(own=traced(1))


def test_a_later_version_has_its_own_and_knows_the_one_before(store: SqlStudyStore) -> None:
    arrived(store, 1, traceparent=traced(1))
    complete(store, FIRST, traced(9))
    arrived(store, 2, at=30, traceparent=traced(2))
    assert store.traced(SECOND) == VersionTrace(own=traced(2), earlier=traced(1))


def test_a_version_that_nobody_sent_has_a_trace_once_it_is_complete(store: SqlStudyStore) -> None:
    arrived(store, 1, traceparent=None)
    assert store.traced(FIRST).own is None
    complete(store, FIRST, traced(5))
    assert store.traced(FIRST).own == traced(5)


def test_the_message_the_job_and_what_is_delivered_lead_back_to_it(store: SqlStudyStore) -> None:
    arrived(store, 1, traceparent=traced(1))
    complete(store, FIRST, traced(2))
    assert [one.traceparent for one in publish(store)] == [traced(2)]
    lease, leased = lease_next(store)
    assert leased.traceparent == traced(2)
    assert store.reissue(now=after(20) + LEASE) == 1, "its worker is lost"
    lease, leased = lease_next(store, worker="worker-2", at=20 + LEASE.total_seconds())
    assert leased.traceparent == traced(2)
    result, sha256s = a_result()
    now = after(21) + LEASE
    store.freeze(lease, result, sha256s=sha256s, destinations=[PACS], now=now, traceparent=traced(3))
    due = store.claim_delivery(PACS.name, now=now, duration=LEASE)
    assert due is not None
    assert due.traceparent == traced(3)
    store.delivered(due.delivery_id, now=now, ask_commitment=True)
    asked = store.claim_commitment(PACS.name, now=now, duration=LEASE)
    assert asked is not None
    assert asked.delivery.traceparent == traced(3)
    store.commitment_asked(asked, "2.25.77", now=now, again_at=now + timedelta(hours=1))
    assert store.trace_of_transaction("2.25.77") == traced(3)
    assert store.trace_of_transaction("2.25.78") is None


def test_what_an_older_program_has_queued_and_frozen_goes_on_in_the_trace_of_its_version(store: SqlStudyStore) -> None:
    arrived(store, 1, traceparent=traced(1))
    complete(store, FIRST, traced(2))
    with writing(store._engine) as connection:
        connection.execute(sa.update(job).values(traceparent=None))
    lease, leased = lease_next(store)
    assert leased.traceparent == traced(1)
    result, sha256s = a_result()
    store.freeze(lease, result, sha256s=sha256s, destinations=[PACS], now=after(22))
    due = store.claim_delivery(PACS.name, now=after(23), duration=LEASE)
    assert due is not None
    assert due.traceparent == traced(1)


def test_a_study_of_an_older_program_has_none_and_everything_goes_on(store: SqlStudyStore) -> None:
    arrived(store, 1, traceparent=None)
    complete(store, FIRST, traced(2))
    with writing(store._engine) as connection:
        connection.execute(sa.update(job).values(traceparent=None))
        connection.execute(sa.update(study_version).values(traceparent=None))
    _, leased = lease_next(store)
    assert leased.traceparent is None
