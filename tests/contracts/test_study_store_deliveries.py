"""The contract of `StudyStore`: a frozen result on its way to its destinations."""

import json
from dataclasses import replace
from datetime import timedelta

import sqlalchemy as sa

from services.backends.store import SqlStudyStore
from services.backends.store.engine import writing
from services.backends.store.tables import delivery
from services.triage.errors import Reason
from services.triage.job import OrderPriority
from services.triage.ports import DueDelivery
from services.triage.result import DeliveryState, Destination, ObjectKind
from tests.support.other_process import at_once, claim_all
from tests.support.records import EVERY_FORM, PACS, STUDY, a_result, after, analyse, complete_study, lease_next

CLAIM = timedelta(seconds=20)
DOWN = Reason(code="destination_unavailable", text="nobody answers")


def due(store: SqlStudyStore, *, at: float = 60.0, destination: str = PACS.name) -> list[DueDelivery]:
    """Claim all that is due."""
    found = []
    while (one := store.claim_delivery(destination, now=after(at), duration=CLAIM)) is not None:
        found.append(one)
    return found


def state(store: SqlStudyStore, study: str = STUDY) -> DeliveryState:
    detail = store.board.study(study)
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
    store.delivered(due(store)[0].delivery_id, now=after(40))
    assert due(store) == []
    (other,) = due(store, at=40, destination="research")
    assert other.destination == folder


def test_deliveries_are_due_by_order_priority_then_age(store: SqlStudyStore) -> None:
    for number, priority in enumerate((OrderPriority.ROUTINE, OrderPriority.HIGH, OrderPriority.STAT), start=1):
        complete_study(store, study=f"1.{number}", priority=priority)
        lease, _ = lease_next(store)
        result, sha256s = a_result()
        store.freeze(lease, result, sha256s=sha256s, destinations=[PACS], now=after(30 + number))
    _, second, third = due(store)
    store.delivered(third.delivery_id, now=after(61))
    assert [state(store, f"1.{number}") for number in (1, 2, 3)] == ["sent", "pending", "pending"]
    store.delivered(second.delivery_id, now=after(62))
    assert [state(store, f"1.{number}") for number in (1, 2, 3)] == ["sent", "sent", "pending"]


def test_a_failed_try_is_due_again_at_its_time_and_counted(store: SqlStudyStore) -> None:
    analyse(store)
    (first,) = due(store)
    store.delivery_failed(first, DOWN, now=after(60), retry_at=after(90))
    assert due(store, at=89) == []
    (second,) = due(store, at=90)
    assert (second.delivery_id, second.attempt) == (first.delivery_id, 2)


def test_a_delivery_with_no_time_for_a_retry_is_given_up_with_its_reason(store: SqlStudyStore) -> None:
    analyse(store)
    store.delivery_failed(due(store)[0], DOWN, now=after(60), retry_at=None)
    assert due(store, at=10_000) == []
    detail = store.board.study(STUDY)
    assert detail is not None
    result = detail.versions[0].jobs[0].result
    assert result is not None
    (row,) = result.deliveries
    assert (row.state, row.reason, row.attempt) == (DeliveryState.GIVEN_UP, DOWN, 1)
    assert [event.what for event in row.events] == ["pending", "given_up"]


def test_a_late_failure_does_not_undo_what_was_sent(store: SqlStudyStore) -> None:
    analyse(store)
    (delivery,) = due(store)
    store.delivered(delivery.delivery_id, now=after(60))
    store.delivery_failed(delivery, DOWN, now=after(61), retry_at=None)
    store.delivered(delivery.delivery_id, now=after(62))
    assert state(store) is DeliveryState.SENT


def test_a_result_that_was_frozen_is_delivered_although_a_new_version_opens(store: SqlStudyStore) -> None:
    analyse(store)
    complete_study(store, number=2, at=100)
    assert len(due(store)) == 1


def test_a_claimed_delivery_is_nobody_elses_until_its_claim_runs_out(store: SqlStudyStore) -> None:
    analyse(store)
    (first,) = due(store, at=60)
    assert due(store, at=79) == []
    (second,) = due(store, at=80)
    assert (second.delivery_id, second.attempt) == (first.delivery_id, 1)
    assert second.claim != first.claim


def test_a_claim_that_is_renewed_lasts(store: SqlStudyStore) -> None:
    analyse(store)
    (claimed,) = due(store, at=60)
    store.renew_claim(claimed, now=after(75), duration=CLAIM)
    assert due(store, at=94) == []
    assert len(due(store, at=95)) == 1


def test_who_lost_a_claim_neither_renews_it_nor_puts_the_delivery_back(store: SqlStudyStore) -> None:
    analyse(store)
    (slow,) = due(store, at=60)
    (quick,) = due(store, at=80)
    store.renew_claim(slow, now=after(81), duration=timedelta(hours=1))
    store.delivery_failed(slow, DOWN, now=after(82), retry_at=after(83))
    assert due(store, at=99) == []
    store.delivered(quick.delivery_id, now=after(99))
    store.delivery_failed(slow, DOWN, now=after(100), retry_at=None)
    assert state(store) is DeliveryState.SENT


def test_a_destination_that_is_back_gets_at_once_what_waited_for_it_and_only_that(store: SqlStudyStore) -> None:
    for number, reason in enumerate((DOWN, Reason(code="internal_error", text="broken")), start=1):
        analyse(store, study=f"1.{number}")
        (claimed,) = due(store)
        store.delivery_failed(claimed, reason, now=after(60), retry_at=after(3600))
    assert store.destination_back("another", now=after(61)) == 0
    assert store.destination_back(PACS.name, now=after(61)) == 1
    assert [one.attempt for one in due(store, at=61)] == [2]


def test_a_delivery_given_up_is_listed_and_asked_for_again_with_a_line_in_its_history(store: SqlStudyStore) -> None:
    analyse(store)
    (claimed,) = due(store)
    store.delivery_failed(claimed, DOWN, now=after(60), retry_at=None)
    (line,) = store.deliveries({DeliveryState.GIVEN_UP})
    assert (line.delivery_id, line.study_instance_uid, line.reason) == (claimed.delivery_id, STUDY, DOWN)
    assert store.deliveries({DeliveryState.GIVEN_UP}, destination_name="another") == []
    assert store.deliveries({DeliveryState.PENDING, DeliveryState.SENT}) == []

    assert store.resend([claimed.delivery_id, "unknown"], actor="ana", now=after(100)) == [claimed.delivery_id]

    (again,) = due(store, at=100)
    assert again.attempt == 1
    detail = store.board.study(STUDY)
    assert detail is not None
    assert detail.versions[0].jobs[0].result is not None
    events = detail.versions[0].jobs[0].result.deliveries[0].events
    assert [(event.actor, event.what) for event in events[-2:]] == [("deliver", "given_up"), ("ana", "pending")]


def test_what_was_sent_is_not_asked_for_again(store: SqlStudyStore) -> None:
    analyse(store)
    (claimed,) = due(store)
    assert store.resend([claimed.delivery_id], actor="ana", now=after(61)) == []
    store.delivered(claimed.delivery_id, now=after(62))
    assert store.resend([claimed.delivery_id], actor="ana", now=after(63)) == []


def test_several_processes_claim_each_delivery_once(store: SqlStudyStore, store_url: str) -> None:
    for number in range(20):
        analyse(store, study=f"1.{number}")
    claimed = at_once(claim_all, [(store_url, PACS.name)] * 3)
    assert sum(len(one) for one in claimed) == 20
    assert {one for many in claimed for one in many} == {
        line.delivery_id for line in store.deliveries({DeliveryState.PENDING})
    }


def test_each_destination_gets_the_objects_that_it_takes(store: SqlStudyStore) -> None:
    complete_study(store)
    lease, _ = lease_next(store)
    result, sha256s = a_result(forms=(ObjectKind.SEG, None))
    only_sr = replace(PACS, name="only-sr", objects=frozenset({ObjectKind.SR, ObjectKind.KOS}))
    store.freeze(lease, result, sha256s=sha256s, destinations=[PACS, only_sr], now=after(30))

    (all_of_it,), (report,) = due(store), due(store, destination="only-sr")
    assert [uid for _, uid, _ in all_of_it.objects] == [one.sop_instance_uid for one in result.objects[:2]]
    assert [uid for _, uid, _ in report.objects] == [result.objects[2].sop_instance_uid]
    store.delivered(report.delivery_id, now=after(61))
    (line,) = store.deliveries({DeliveryState.SENT})
    assert line.objects == (ObjectKind.SR,)
    detail = store.board.study(STUDY)
    assert detail is not None
    frozen = detail.versions[0].jobs[0].result
    assert frozen is not None
    assert {one.destination: one.objects for one in frozen.deliveries} == {
        PACS.name: (ObjectKind.SEG, ObjectKind.SR),
        "only-sr": (ObjectKind.SR,),
    }
    (row,) = [one for one in frozen.deliveries if one.destination == "only-sr"]
    assert [(event.what, event.cause) for event in row.events] == [("pending", "only-sr"), ("sent", "SR")]


def test_a_destination_that_takes_nothing_of_a_result_is_named_in_the_jobs_history(store: SqlStudyStore) -> None:
    complete_study(store)
    lease, _ = lease_next(store)
    result, sha256s = a_result()
    pictures = replace(PACS, name="pictures", objects=frozenset({ObjectKind.SC}))
    store.freeze(lease, result, sha256s=sha256s, destinations=[PACS, pictures], now=after(30))
    assert due(store, destination="pictures") == []
    detail = store.board.study(STUDY)
    assert detail is not None
    job = detail.versions[0].jobs[0]
    assert ("nothing_to_deliver", "pictures") in [(event.what, event.cause) for event in job.events]


def test_each_destination_gets_the_report_on_the_form_of_segmentation_that_it_takes(store: SqlStudyStore) -> None:
    result, sha256s = a_result(forms=EVERY_FORM)
    seg, on_seg, label_map, alone = (one.sop_instance_uid for one in result.objects)
    wanted = {
        "pacs": {ObjectKind.SEG, ObjectKind.SR},
        "research": {ObjectKind.LABELMAP, ObjectKind.SR},
        "viewer": {ObjectKind.SR, ObjectKind.GSPS},
        "maps": {ObjectKind.LABELMAP},
    }
    destinations = [replace(PACS, name=name, objects=frozenset(kinds)) for name, kinds in wanted.items()]
    complete_study(store)
    lease, _ = lease_next(store)
    store.freeze(lease, result, sha256s=sha256s, destinations=destinations, now=after(30))
    came = {name: [uid for _, uid, _ in one.objects] for name in wanted for one in due(store, destination=name)}
    assert came == {
        "pacs": [seg, on_seg],
        "research": [label_map, alone],
        "viewer": [alone],
        "maps": [label_map],
    }
    assert {line.destination_name: line.objects for line in store.deliveries({DeliveryState.PENDING})} == {
        "pacs": (ObjectKind.SEG, ObjectKind.SR),
        "research": (ObjectKind.LABELMAP, ObjectKind.SR),
        "viewer": (ObjectKind.SR,),
        "maps": (ObjectKind.LABELMAP,),
    }


def test_a_delivery_of_an_older_program_goes_with_all_objects(store: SqlStudyStore) -> None:
    analyse(store)
    with writing(store._engine) as connection:
        connection.execute(sa.update(delivery).values(objects=None))
    (claimed,) = due(store)
    assert len(claimed.objects) == 2
    store.delivered(claimed.delivery_id, now=after(61))
    (line,) = store.deliveries({DeliveryState.SENT})
    assert line.objects == (ObjectKind.SEG, ObjectKind.SR)


def test_what_a_destination_took_before_it_went_away_is_not_due_again(store: SqlStudyStore) -> None:
    analyse(store)
    (first,) = due(store)
    (_, seg, _), (_, report, _) = first.objects
    store.delivery_failed(first, DOWN, now=after(60), retry_at=after(90), taken=[seg])
    (second,) = due(store, at=90)
    assert [uid for _, uid, _ in second.objects] == [report]
    store.delivered(second.delivery_id, now=after(91), ask_commitment=True)
    commitment = store.claim_commitment(PACS.name, now=after(92), duration=CLAIM)
    assert commitment is not None
    assert [uid for _, uid, _ in commitment.delivery.objects] == [seg, report]
    # what it then does not commit is sent again, whatever it once took
    store.not_committed(commitment.delivery, DOWN, state=DeliveryState.PENDING, now=after(93), next_at=after(93))
    (again,) = due(store, at=93)
    assert [uid for _, uid, _ in again.objects] == [seg, report]


def test_what_was_taken_in_several_tries_adds_up_and_a_person_has_all_of_it_sent_again(store: SqlStudyStore) -> None:
    analyse(store)
    (first,) = due(store)
    (_, seg, _), (_, report, _) = first.objects
    store.delivery_failed(first, DOWN, now=after(60), retry_at=after(60), taken=[seg])
    (second,) = due(store)
    store.delivery_failed(second, DOWN, now=after(60), retry_at=after(60))
    (third,) = due(store)
    assert [uid for _, uid, _ in third.objects] == [report]
    store.delivery_failed(third, DOWN, now=after(60), retry_at=None)
    assert store.resend([third.delivery_id], actor="ana", now=after(60))
    (again,) = due(store)
    assert [uid for _, uid, _ in again.objects] == [seg, report]


def test_who_lost_its_claim_says_nothing_of_what_was_taken(store: SqlStudyStore) -> None:
    analyse(store)
    (late,) = due(store, at=60)
    (_,) = due(store, at=80)
    store.delivery_failed(late, DOWN, now=after(81), retry_at=after(81), taken=[late.objects[0][1]])
    (claimed,) = due(store, at=101)
    assert len(claimed.objects) == 2


def test_what_a_person_gives_up_waits_and_holds_no_more_and_can_be_sent_again(store: SqlStudyStore) -> None:
    analyse(store)
    analyse(store, study="1.7")
    in_hand = store.claim_delivery(PACS.name, now=after(40), duration=CLAIM)
    assert in_hand is not None
    assert store.give_up("another", "gone", actor="ana", now=after(41)) == 0
    assert store.give_up(PACS.name, "the PACS was replaced", actor="ana", now=after(41)) == 1
    store.delivered(in_hand.delivery_id, now=after(42))
    assert due(store, at=1000) == []
    counts = store.board.counts()
    assert counts.oldest_pending_delivery_at is None
    assert counts.deliveries == {(PACS.name, "sent"): 1, (PACS.name, "withdrawn"): 1}
    (line,) = store.deliveries({DeliveryState.GIVEN_UP})
    assert line.reason == Reason(code="abandoned", text="the PACS was replaced")
    audited = [json.loads(one.document) for one in store.audit.records()]
    (told,) = [one for one in audited if one["type"] == "delivery_given_up"]
    assert (told["actors"][0]["name"], told["reason"]) == ("ana", "the PACS was replaced")
    assert store.resend([line.delivery_id], actor="ana", now=after(60)) == [line.delivery_id]
    assert len(due(store, at=61)) == 1
