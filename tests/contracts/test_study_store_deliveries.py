"""The contract of `StudyStore`: a frozen result on its way to its destinations."""

from services.backends.store import SqlStudyStore
from services.triage.errors import Reason
from services.triage.job import OrderPriority
from services.triage.ports import DueDelivery
from services.triage.result import DeliveryState, Destination
from tests.support.records import PACS, STUDY, a_result, after, analyse, complete_study, lease_next

DOWN = Reason(code="destination_unavailable", text="nobody answers")


def due(store: SqlStudyStore, *, at: float = 60.0) -> list[DueDelivery]:
    return store.due_deliveries(PACS.name, now=after(at), limit=10)


def state(store: SqlStudyStore) -> DeliveryState:
    detail = store.board.study(STUDY)
    assert detail is not None
    result = detail.versions[0].jobs[0].result
    assert result is not None
    return result.deliveries[0].state


def test_a_frozen_result_is_due_at_once_with_its_objects_in_their_order(store: SqlStudyStore) -> None:
    result = analyse(store)
    (delivery,) = due(store, at=30)
    assert delivery.destination == PACS
    assert delivery.attempt == 1
    assert [(cls, uid) for cls, uid, _ in delivery.objects] == [
        (one.sop_class_uid, one.sop_instance_uid) for one in result.objects
    ]
    assert [sha for _, _, sha in delivery.objects] == [
        store.board.result_object(one.sop_instance_uid) for one in result.objects
    ]


def test_each_destination_has_its_own_delivery(store: SqlStudyStore) -> None:
    complete_study(store)
    lease, _ = lease_next(store)
    result, sha256s = a_result()
    folder = Destination(name="research", kind="folder", address="/results")
    store.freeze(lease, result, sha256s=sha256s, destinations=[PACS, folder], now=after(30))
    store.delivered(due(store)[0].delivery_id, DeliveryState.SENT, now=after(40))
    assert due(store) == []
    (other,) = store.due_deliveries("research", now=after(40), limit=10)
    assert other.destination == folder


def test_deliveries_are_due_by_order_priority_then_age(store: SqlStudyStore) -> None:
    for number, priority in enumerate((OrderPriority.ROUTINE, OrderPriority.HIGH, OrderPriority.STAT), start=1):
        complete_study(store, study=f"1.{number}", priority=priority)
        lease, _ = lease_next(store)
        result, sha256s = a_result()
        store.freeze(lease, result, sha256s=sha256s, destinations=[PACS], now=after(30 + number))
    ordered = store.due_deliveries(PACS.name, now=after(60), limit=2)
    assert len(ordered) == 2
    for delivery in ordered:
        store.delivered(delivery.delivery_id, DeliveryState.SENT, now=after(61))
    detail = store.board.study("1.1")
    assert detail is not None
    assert detail.versions[0].jobs[0].result is not None
    assert detail.versions[0].jobs[0].result.deliveries[0].state is DeliveryState.PENDING


def test_a_failed_try_is_due_again_at_its_time_and_counted(store: SqlStudyStore) -> None:
    analyse(store)
    (first,) = due(store)
    store.delivery_failed(first.delivery_id, DOWN, now=after(60), retry_at=after(90))
    assert due(store, at=89) == []
    (second,) = due(store, at=90)
    assert (second.delivery_id, second.attempt) == (first.delivery_id, 2)


def test_a_delivery_with_no_time_for_a_retry_is_given_up_with_its_reason(store: SqlStudyStore) -> None:
    analyse(store)
    store.delivery_failed(due(store)[0].delivery_id, DOWN, now=after(60), retry_at=None)
    assert due(store, at=10_000) == []
    detail = store.board.study(STUDY)
    assert detail is not None
    result = detail.versions[0].jobs[0].result
    assert result is not None
    (row,) = result.deliveries
    assert (row.state, row.reason, row.attempt) == (DeliveryState.GIVEN_UP, DOWN, 1)
    assert [event.what for event in row.events] == ["pending", "given_up"]


def test_a_delivery_is_sent_then_committed(store: SqlStudyStore) -> None:
    analyse(store)
    (delivery,) = due(store)
    store.delivered(delivery.delivery_id, DeliveryState.SENT, now=after(60))
    store.delivered(delivery.delivery_id, DeliveryState.COMMITTED, now=after(70))
    assert state(store) is DeliveryState.COMMITTED
    assert due(store, at=10_000) == []


def test_a_late_failure_does_not_undo_what_was_sent(store: SqlStudyStore) -> None:
    analyse(store)
    (delivery,) = due(store)
    store.delivered(delivery.delivery_id, DeliveryState.SENT, now=after(60))
    store.delivery_failed(delivery.delivery_id, DOWN, now=after(61), retry_at=None)
    store.delivered(delivery.delivery_id, DeliveryState.SENT, now=after(62))
    assert state(store) is DeliveryState.SENT


def test_a_result_that_was_frozen_is_delivered_although_a_new_version_opens(store: SqlStudyStore) -> None:
    analyse(store)
    complete_study(store, number=2, at=100)
    assert len(due(store)) == 1
