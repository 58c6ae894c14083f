"""The contract of `StudyStore`: what was sent, until its destination has promised to keep it."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest

from services.backends.store import SqlStudyStore
from services.backends.store.board import DeliveryRow
from services.triage.commitment import CommitmentReport
from services.triage.errors import LeaseLost, Reason
from services.triage.ports import DueCommitment
from services.triage.result import DeliveryState
from tests.support.records import PACS, STUDY, after, analyse

CLAIM = timedelta(seconds=20)
HOUR = 3600.0
NO_SUCH_OBJECT = 0x0112
DOWN = Reason(code="destination_unavailable", text="nobody answers")


def send(store: SqlStudyStore, *, at: float = 60.0, ask_commitment: bool = True) -> list[str]:
    """Send what is due; answers the SOP Instance UIDs that went."""
    claimed = store.claim_delivery(PACS.name, now=after(at), duration=CLAIM)
    assert claimed is not None
    store.delivered(claimed.delivery_id, now=after(at), ask_commitment=ask_commitment)
    return [uid for _, uid, _ in claimed.objects]


def due(store: SqlStudyStore, *, at: float = 61.0) -> DueCommitment | None:
    return store.claim_commitment(PACS.name, now=after(at), duration=CLAIM)


def ask(store: SqlStudyStore, transaction: str, *, at: float = 61.0) -> DueCommitment:
    """Ask for what is due; without an answer it is due again after an hour."""
    claimed = due(store, at=at)
    assert claimed is not None
    store.commitment_asked(claimed, transaction, now=after(at), again_at=after(at + HOUR))
    return claimed


def answer(
    store: SqlStudyStore, transaction: str, *, committed: Sequence[str], failed: Sequence[str] = (), at: float
) -> bool:
    report = CommitmentReport(
        transaction_uid=transaction,
        committed=frozenset(committed),
        failed=dict.fromkeys(failed, NO_SUCH_OBJECT),
    )
    return store.commitment_reported(report, now=after(at))


def row(store: SqlStudyStore) -> DeliveryRow:
    detail = store.board.study(STUDY)
    assert detail is not None
    result = detail.versions[0].jobs[0].result
    assert result is not None
    return result.deliveries[0]


def history(store: SqlStudyStore) -> list[str]:
    return [event.what for event in row(store).events]


def test_a_delivery_is_committed_once_every_object_is(store: SqlStudyStore) -> None:
    analyse(store)
    uids = send(store)
    claimed = ask(store, "2.25.1")
    assert [uid for _, uid, _ in claimed.delivery.objects] == uids
    assert row(store).state is DeliveryState.SENT
    assert answer(store, "2.25.1", committed=uids, at=70)
    assert row(store).state is DeliveryState.COMMITTED
    assert history(store) == ["pending", "sent", "commitment_asked", "committed"]
    assert [event.cause for event in row(store).events[1:]] == ["SEG, SR", "2.25.1", "transaction 2.25.1"]
    assert due(store, at=10 * HOUR) is None


def test_what_was_sent_to_a_destination_without_it_is_never_asked_for(store: SqlStudyStore) -> None:
    analyse(store)
    send(store, ask_commitment=False)
    assert due(store, at=10 * HOUR) is None
    assert row(store).state is DeliveryState.SENT


def test_an_answer_in_a_transaction_that_nobody_began_is_unknown(store: SqlStudyStore) -> None:
    analyse(store)
    uids = send(store)
    assert not answer(store, "2.25.9", committed=uids, at=70)
    assert row(store).state is DeliveryState.SENT


def test_an_answer_that_comes_twice_changes_nothing_the_second_time(store: SqlStudyStore) -> None:
    analyse(store)
    uids = send(store)
    ask(store, "2.25.1")
    assert answer(store, "2.25.1", committed=uids, at=70)
    before = row(store)
    assert answer(store, "2.25.1", committed=[], failed=uids, at=71)
    assert row(store) == before


def test_what_is_not_committed_is_sent_again_and_only_that(store: SqlStudyStore) -> None:
    analyse(store)
    seg, sr = send(store)
    ask(store, "2.25.1")
    assert answer(store, "2.25.1", committed=[seg], failed=[sr], at=70)

    claimed = due(store, at=70)
    assert claimed is not None
    assert claimed.requests == 1
    assert claimed.failed is not None
    assert claimed.failed.code == "commitment_failed"
    assert claimed.failed.text == "1 of 2 objects are not committed: 0x0112 no such object instance (SR)"
    store.not_committed(claimed.delivery, claimed.failed, state=DeliveryState.PENDING, now=after(70), next_at=after(80))
    assert store.claim_delivery(PACS.name, now=after(79), duration=CLAIM) is None
    assert send(store, at=80) == [sr]

    again = ask(store, "2.25.2", at=81)
    assert (again.requests, again.failed) == (1, None)
    assert [uid for _, uid, _ in again.delivery.objects] == [sr]
    assert answer(store, "2.25.2", committed=[sr], at=82)
    assert row(store).state is DeliveryState.COMMITTED
    assert history(store)[2:] == [
        "commitment_asked",
        "commitment_failed",
        "pending",
        "sent",
        "commitment_asked",
        "committed",
    ]


def test_an_object_that_an_answer_does_not_name_is_not_committed(store: SqlStudyStore) -> None:
    analyse(store)
    seg, _ = send(store)
    ask(store, "2.25.1")
    assert answer(store, "2.25.1", committed=[seg, "2.25.4711"], at=70)
    claimed = due(store, at=70)
    assert claimed is not None
    assert claimed.failed is not None
    assert claimed.failed.text == "1 of 2 objects are not committed: not told of (SR)"


def test_without_an_answer_it_is_due_again_and_the_late_answer_still_counts(store: SqlStudyStore) -> None:
    analyse(store)
    uids = send(store)
    ask(store, "2.25.1", at=61)
    assert due(store, at=60 + HOUR) is None
    again = ask(store, "2.25.2", at=61 + HOUR)
    assert (again.requests, again.failed) == (1, None)
    assert answer(store, "2.25.1", committed=uids, at=62 + HOUR)
    assert row(store).state is DeliveryState.COMMITTED


def test_a_late_failure_says_nothing_of_what_was_asked_for_since(store: SqlStudyStore) -> None:
    analyse(store)
    seg, sr = send(store)
    ask(store, "2.25.1", at=61)
    ask(store, "2.25.2", at=61 + HOUR)
    assert answer(store, "2.25.1", committed=[seg], failed=[sr], at=62 + HOUR)
    assert due(store, at=63 + HOUR) is None
    # but what it commits is committed
    assert answer(store, "2.25.2", committed=[sr], failed=[seg], at=64 + HOUR)
    assert row(store).state is DeliveryState.COMMITTED


def test_a_failure_that_comes_while_it_is_sent_again_does_not_stop_that(store: SqlStudyStore) -> None:
    analyse(store)
    uids = send(store)
    ask(store, "2.25.1")
    ask(store, "2.25.2", at=61 + HOUR)
    answer(store, "2.25.2", committed=[], failed=uids, at=62 + HOUR)
    claimed = due(store, at=62 + HOUR)
    assert claimed is not None
    assert claimed.failed is not None
    next_at = after(62 + HOUR)
    store.not_committed(claimed.delivery, claimed.failed, state=DeliveryState.PENDING, now=next_at, next_at=next_at)
    assert answer(store, "2.25.1", committed=[], failed=uids, at=63 + HOUR)
    assert row(store).state is DeliveryState.PENDING
    assert send(store, at=64 + HOUR) == uids


def test_given_up_can_be_committed_by_a_late_answer_or_be_asked_for_again(store: SqlStudyStore) -> None:
    for study in ("1.1", "1.2"):
        analyse(store, study=study)
        uids = send(store)
        ask(store, f"2.25.{study}")
        again = due(store, at=62 + HOUR)
        assert again is not None
        reason = Reason(code="commitment_unanswered", text="no answer")
        store.not_committed(again.delivery, reason, state=DeliveryState.GIVEN_UP, now=after(62 + HOUR), next_at=None)
    lines = {one.study_instance_uid: one for one in store.deliveries({DeliveryState.GIVEN_UP})}
    first, second = lines["1.1"], lines["1.2"]
    assert [one.reason and one.reason.code for one in (first, second)] == ["commitment_unanswered"] * 2

    assert answer(store, "2.25.1.2", committed=uids, at=2 * HOUR)
    assert [one.delivery_id for one in store.deliveries({DeliveryState.COMMITTED})] == [second.delivery_id]
    assert store.resend([first.delivery_id], actor="ana", now=after(2 * HOUR)) == [first.delivery_id]
    send(store, at=2 * HOUR)
    claimed = due(store, at=2 * HOUR)
    assert claimed is not None
    assert claimed.requests == 0


def test_a_question_put_off_is_due_at_its_time_or_as_soon_as_its_destination_is_back(store: SqlStudyStore) -> None:
    analyse(store)
    send(store)
    for at, retry_at in ((61.0, 100.0), (100.0, 5000.0)):
        claimed = due(store, at=at)
        assert claimed is not None
        store.not_committed(claimed.delivery, DOWN, state=DeliveryState.SENT, now=after(at), next_at=after(retry_at))
        assert due(store, at=99) is None
    assert due(store, at=101) is None
    assert store.destination_back(PACS.name, now=after(102)) == 1
    claimed = due(store, at=102)
    assert claimed is not None
    assert claimed.delivery.attempt == 3
    assert row(store).state is DeliveryState.SENT


def test_the_oldest_that_is_sent_and_waits_for_its_commitment_is_told(store: SqlStudyStore) -> None:
    def waits_since() -> datetime | None:
        return store.board.counts().oldest_uncommitted_delivery_at

    analyse(store)
    analyse(store, study="1.2.3.4", at=10)
    assert waits_since() is None
    uids = send(store)
    send(store, at=61)
    assert waits_since() == after(30)
    ask(store, "2.25.1", at=62)
    assert waits_since() == after(30)
    answer(store, "2.25.1", committed=uids, at=63)
    assert waits_since() == after(40)
    without_the_service = due(store, at=64)
    assert without_the_service is not None
    never = {"state": DeliveryState.SENT, "next_at": None}
    store.not_committed(without_the_service.delivery, DOWN, now=after(64), **never)
    assert waits_since() is None


def test_a_destination_that_is_back_is_not_asked_again_what_it_was_asked_already(store: SqlStudyStore) -> None:
    analyse(store)
    claimed = store.claim_delivery(PACS.name, now=after(50), duration=CLAIM)
    assert claimed is not None
    store.delivery_failed(claimed, DOWN, now=after(50), retry_at=after(60))
    send(store, at=60)
    ask(store, "2.25.1", at=61)
    assert store.destination_back(PACS.name, now=after(62)) == 0
    assert due(store, at=100) is None


def test_who_lost_the_claim_may_not_ask(store: SqlStudyStore) -> None:
    analyse(store)
    send(store)
    slow, quick = due(store, at=61), due(store, at=90)
    assert slow is not None
    assert quick is not None
    with pytest.raises(LeaseLost):
        store.commitment_asked(slow, "2.25.1", now=after(91), again_at=after(100))
    store.not_committed(slow.delivery, DOWN, state=DeliveryState.GIVEN_UP, now=after(91), next_at=None)
    assert row(store).state is DeliveryState.SENT
    store.commitment_asked(quick, "2.25.2", now=after(91), again_at=after(100))
    assert not answer(store, "2.25.1", committed=[], at=92)


def recall(store: SqlStudyStore, *, at: float) -> None:
    detail = store.board.study(STUDY)
    assert detail is not None
    result = detail.versions[0].jobs[0].result
    assert result is not None
    store.recall(result.result_id, reason="wrong patient", actor="a person", now=after(at), note=None)


def test_what_is_recalled_on_its_way_is_not_asked_about(store: SqlStudyStore) -> None:
    analyse(store)
    claimed = store.claim_delivery(PACS.name, now=after(60), duration=CLAIM)
    assert claimed is not None
    recall(store, at=61)
    store.delivered(claimed.delivery_id, now=after(62), ask_commitment=True)
    assert row(store).state is DeliveryState.SENT
    assert due(store, at=10 * HOUR) is None


def test_what_was_recalled_is_neither_asked_about_nor_sent_again(store: SqlStudyStore) -> None:
    analyse(store)
    uids = send(store)
    ask(store, "2.25.1")
    recall(store, at=65)
    assert answer(store, "2.25.1", committed=uids[:1], failed=uids[1:], at=70)
    assert due(store, at=10 * HOUR) is None
    assert store.claim_delivery(PACS.name, now=after(10 * HOUR), duration=CLAIM) is None
    assert row(store).state is DeliveryState.SENT
