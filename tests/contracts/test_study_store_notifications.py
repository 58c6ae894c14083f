"""The contract of `StudyStore`: what receivers are told, in which order, and when not."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from services.backends.store import SqlStudyStore, open_store
from services.backends.store.board import DeliveryRow, ResultRow
from services.triage.errors import Reason
from services.triage.finding import Flag, Occasion, Outcome
from services.triage.notification import Notification
from services.triage.ports import DueDelivery
from services.triage.result import IDENTITY_CORRECTED, OVERTAKEN, RECALLED, DeliveryState, Destination
from services.triage.study import VersionKey
from tests.support.records import (
    LEASE,
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

RIS = Destination(
    name="ris", kind="hl7", address="ris:2575", objects=frozenset(), told_of=frozenset(Occasion) - {Occasion.FLAGGED}
)
ALARM = replace(RIS, name="alarm", kind="webhook", told_of=frozenset({Occasion.FLAGGED}))
DOWN = Reason(code="destination_unavailable", text="down")
WHY = "it segments the diaphragm"


def freeze(
    store: SqlStudyStore, *, number: int = 1, at: float = 0.0, receivers: tuple[Destination, ...] = (RIS,), **of: Any
) -> str:
    """One study version the whole way to a frozen result; answers the result id."""
    complete_study(store, number=number, at=at)
    lease, _ = lease_next(store, at=at + 20)
    result, sha256s = a_result(**of)
    return store.freeze(lease, result, sha256s=sha256s, destinations=[PACS, *receivers], now=after(at + 30))


def claim(store: SqlStudyStore, *, at: float = 40, receiver: Destination = RIS) -> DueDelivery | None:
    return store.claim_delivery(receiver.name, now=after(at), duration=LEASE)


def told(store: SqlStudyStore, *, at: float = 40, receiver: Destination = RIS) -> Notification:
    """Tell the receiver what is next."""
    due = claim(store, at=at, receiver=receiver)
    assert due is not None
    notification = store.notification(due.delivery_id)
    store.delivered(due.delivery_id, now=after(at))
    return notification


def notices(store: SqlStudyStore, receiver: Destination = RIS) -> list[DeliveryRow]:
    detail = store.board.study(STUDY)
    assert detail is not None
    results: list[ResultRow] = [job.result for version in detail.versions for job in version.jobs if job.result]
    return [one for result in results for one in result.deliveries if one.destination == receiver.name]


def test_a_receiver_is_told_without_objects_and_the_archive_gets_its_own(store: SqlStudyStore) -> None:
    result_id = freeze(store, lesions=(lesion(),))
    due = claim(store)
    assert due is not None
    assert (due.objects, due.destination.kind, due.destination.objects) == ((), "hl7", frozenset())
    notification = store.notification(due.delivery_id)
    assert notification.notification_id == due.delivery_id
    assert (notification.owed_at, notification.frozen_at) == (after(30), after(30))
    assert notification.result.result_id == result_id
    assert notification.result.finding.lesions == (lesion(),)
    assert notification.study.patient_id == "P1"
    assert (notification.withdrawn, notification.earlier, notification.overtaken) == (None, None, False)
    archive = store.claim_delivery(PACS.name, now=after(40), duration=LEASE)
    assert archive is not None
    assert len(archive.objects) == 2


@pytest.mark.parametrize(
    ("finding", "is_told"),
    [
        ({"flag": Flag.URGENT}, True),
        ({"flag": Flag.ELEVATED}, True),
        ({}, False),
        ({"outcome": Outcome.FAILED, "score": None, "reason": Reason(code="broken", text="broken")}, False),
    ],
)
def test_a_receiver_is_told_of_its_occasions_alone(
    store: SqlStudyStore, finding: dict[str, Any], is_told: bool
) -> None:
    freeze(store, receivers=(ALARM,), **finding)
    assert (claim(store, receiver=ALARM) is not None) is is_told


def test_a_failure_is_told_to_who_asked_for_it(store: SqlStudyStore) -> None:
    freeze(store, outcome=Outcome.FAILED, score=None, reason=Reason(code="broken", text="broken"))
    assert told(store).result.finding.outcome is Outcome.FAILED


def test_who_was_told_is_told_of_what_replaces_it_whatever_it_says(store: SqlStudyStore) -> None:
    first = freeze(store, receivers=(ALARM,), flag=Flag.URGENT, lesions=(lesion(1), lesion(2)))
    told(store, receiver=ALARM)
    freeze(store, receivers=(ALARM,), number=2, at=100, lesions=(lesion(2),))
    second = told(store, at=140, receiver=ALARM)
    assert second.earlier is not None
    assert second.earlier.result_id == first
    assert [one.label for one in second.vanished] == ["Lesion 1"]


def test_who_comes_later_is_told_nothing_from_before(store: SqlStudyStore) -> None:
    freeze(store, receivers=())
    assert claim(store) is None
    freeze(store, number=2, at=100)
    assert told(store, at=140).earlier is None


def test_a_later_notification_waits_for_the_earlier_one(store: SqlStudyStore) -> None:
    first = freeze(store)
    freeze(store, number=2, at=100)
    due = claim(store, at=140)
    assert due is not None
    assert claim(store, at=140) is None
    store.delivery_failed(due, DOWN, now=after(141), retry_at=after(300))
    assert claim(store, at=200) is None
    assert told(store, at=301).result.result_id == first
    assert told(store, at=301).result.result_id != first


def test_the_order_does_not_hang_on_the_workers_clocks(store: SqlStudyStore) -> None:
    first = freeze(store, at=100)
    complete_study(store, number=2, at=200)
    lease, _ = lease_next(store, at=220)
    result, sha256s = a_result()
    store.freeze(lease, result, sha256s=sha256s, destinations=[RIS], now=after(10))
    assert told(store, at=300).result.result_id == first
    assert told(store, at=300).owed_at > after(130)


def test_what_was_given_up_holds_up_nobody_and_is_overtaken_once_it_is_asked_for_again(store: SqlStudyStore) -> None:
    freeze(store)
    due = claim(store)
    assert due is not None
    store.delivery_failed(due, Reason(code="refused", text="no"), now=after(41), retry_at=None)
    freeze(store, number=2, at=100)
    assert told(store, at=140).earlier is None
    assert store.resend([due.delivery_id], actor="a person", now=after(150)) == [due.delivery_id]
    again = claim(store, at=151)
    assert again is not None
    assert store.notification(again.delivery_id).overtaken
    store.delivery_failed(again, OVERTAKEN, now=after(152), retry_at=None)
    assert store.resend([due.delivery_id], actor="a person", now=after(153)) == []


def test_a_recall_is_told_to_who_was_told(store: SqlStudyStore) -> None:
    result_id = freeze(store)
    told(store)
    store.recall(result_id, reason=WHY, actor="Dr Who", now=after(50))
    withdrawal = told(store, at=60)
    assert (withdrawal.result.result_id, withdrawal.withdrawn) == (result_id, Reason(code=RECALLED.code, text=WHY))
    assert [(one.note, one.objects, one.state) for one in notices(store)] == [
        (False, (), DeliveryState.SENT),
        (True, (), DeliveryState.SENT),
    ]
    freeze(store, number=2, at=100)
    assert told(store, at=140).earlier is None


def test_what_nobody_was_told_is_not_taken_back(store: SqlStudyStore) -> None:
    result_id = freeze(store)
    store.recall(result_id, reason=WHY, actor="Dr Who", now=after(50))
    assert claim(store, at=60) is None
    assert [(one.state, one.reason) for one in notices(store)] == [(DeliveryState.GIVEN_UP, RECALLED)]


def test_a_withdrawal_does_not_overtake_the_result_that_is_on_its_way(store: SqlStudyStore) -> None:
    result_id = freeze(store)
    due = claim(store, at=40)
    assert due is not None
    store.recall(result_id, reason=WHY, actor="Dr Who", now=after(50))
    assert claim(store, at=51) is None
    store.delivered(due.delivery_id, now=after(52))
    assert told(store, at=53).withdrawn is not None


def test_a_withdrawal_waits_no_longer_than_the_claim_of_a_process_that_died(store: SqlStudyStore) -> None:
    result_id = freeze(store)
    assert claim(store, at=40) is not None
    store.recall(result_id, reason=WHY, actor="Dr Who", now=after(50))
    assert claim(store, at=99) is None
    assert told(store, at=101).withdrawn is not None


def test_the_recall_of_a_replaced_result_takes_nothing_back_that_stands(store: SqlStudyStore) -> None:
    first = freeze(store)
    told(store)
    freeze(store, number=2, at=100)
    told(store, at=140)
    store.recall(first, reason=WHY, actor="Dr Who", now=after(150))
    assert told(store, at=160).overtaken


def test_another_models_result_overtakes_nothing(store: SqlStudyStore) -> None:
    both = replace(one_job(), jobs=(*one_job().jobs, *one_job(model="liver").jobs))
    complete_study(store, plan=both)
    for _ in range(2):
        lease, job = lease_next(store)
        result, sha256s = a_result()
        result = replace(result, model=replace(result.model, name=job.plan.model_name))
        store.freeze(lease, result, sha256s=sha256s, destinations=[RIS], now=after(30))
    first, second = told(store), told(store)
    assert {first.result.model.name, second.result.model.name} == {"lung", "liver"}
    assert (second.earlier, second.overtaken, first.overtaken) == (None, False, False)


@pytest.fixture
def corrected(store_url: str) -> Callable[[bool], SqlStudyStore]:
    """A study that is told of, or is not, and whose patient's name is then corrected."""

    def made(was_told: bool) -> SqlStudyStore:
        store = open_store(store_url, same_pixels=lambda _kept, _arrived: True)
        freeze(store, flag=Flag.URGENT)
        if was_told:
            told(store)
        named = [replace(image(n, content="r"), study=replace(image(n).study, patient_name="Roe^J")) for n in (1, 2)]
        store.record(sent(*named), now=after(100))
        second = VersionKey(study_instance_uid=STUDY, number=2)
        assert store.complete(second, one_job(), priority=0, seen=2, now=after(115))
        lease, job = lease_next(store, at=120)
        assert job.reconciles is not None
        result, sha256s = a_result(flag=Flag.URGENT)
        store.freeze(lease, result, sha256s=sha256s, destinations=[RIS], now=after(122))
        return store

    return made


def test_a_corrected_identity_takes_the_result_back_under_the_old_name_first(
    corrected: Callable[[bool], SqlStudyStore],
) -> None:
    store = corrected(True)
    withdrawal, result = told(store, at=130), told(store, at=130)
    assert (withdrawal.study.patient_name, withdrawal.withdrawn) == ("Doe^Jane", IDENTITY_CORRECTED)
    assert (result.study.patient_name, result.withdrawn, result.earlier) == ("Roe^J", None, None)
    assert (withdrawal.rewrites, result.rewrites) == ((), (withdrawal.result.result_id,))
    store.close()


def test_what_nobody_was_told_is_told_under_the_corrected_identity_alone(
    corrected: Callable[[bool], SqlStudyStore],
) -> None:
    store = corrected(False)
    assert told(store, at=130).study.patient_name == "Roe^J"
    assert claim(store, at=140) is None
    store.close()
