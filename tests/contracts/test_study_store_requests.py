"""The contract of `CommitmentRequests`: what others ask of us, until they have the report."""

from collections.abc import Sequence
from datetime import timedelta

import pytest

from services.backends.store import SqlStudyStore
from services.triage.commitment import CommitmentReport, CommitmentRequest, DueRequest, RequestLine, RequestState
from services.triage.errors import LeaseLost, Reason
from tests.support.records import STUDY, after, image, sent

CT = "1.2.840.10008.5.1.4.1.1.2"
CLAIM = timedelta(seconds=20)
HOUR, MINUTE = 3600.0, 60.0
FAILED, NO_SUCH, CONFLICT, BUSY = 0x0110, 0x0112, 0x0119, 0x0213
DOWN = Reason(code="destination_unavailable", text="nobody answers")
UIDS = [f"{STUDY}.1.{number}" for number in (1, 2, 3)]


def enter(store: SqlStudyStore, transaction: str = "2.25.7", *, ae: str = "CT1", uids: Sequence[str] = UIDS) -> bool:
    request = CommitmentRequest(
        transaction_uid=transaction, calling_ae_title=ae, objects=tuple((CT, uid) for uid in uids)
    )
    return store.requests.enter(request, now=after(0))


def due(store: SqlStudyStore, *, at: float = 1.0, ae: str = "CT1") -> DueRequest | None:
    return store.requests.claim(ae, now=after(at), duration=CLAIM)


def claimed(store: SqlStudyStore, *, at: float = 1.0) -> DueRequest:
    found = due(store, at=at)
    assert found is not None
    return found


def ask(store: SqlStudyStore, inquiry: str, *, at: float = 1.0) -> DueRequest:
    """Ask the archive for what is undecided: again after an hour, or a minute after an answer that is not enough."""
    found = claimed(store, at=at)
    times = {"now": after(at), "again_at": after(at + HOUR), "retry_at": after(at + MINUTE)}
    store.requests.archive_asked(found, inquiry, **times)
    return found


def answer(
    store: SqlStudyStore,
    inquiry: str,
    *,
    committed: Sequence[str] = (),
    failed: dict[str, int] | None = None,
    at: float = 2.0,
) -> bool:
    report = CommitmentReport(transaction_uid=inquiry, committed=frozenset(committed), failed=failed or {})
    return store.commitment_reported(report, now=after(at))


def line(store: SqlStudyStore) -> RequestLine:
    (found,) = store.requests.lines(set(RequestState))
    return found


def told(store: SqlStudyStore) -> list[tuple[str, str]]:
    detail = store.board.study(STUDY)
    assert detail is not None
    return [(one.what, one.cause) for one in detail.events if one.what.startswith("commitment")]


def receive(store: SqlStudyStore) -> None:
    store.record(sent(*(image(number) for number in (1, 2, 3))), now=after(0))


def test_a_request_is_committed_and_reported_once_the_archive_has_committed_every_instance(
    store: SqlStudyStore,
) -> None:
    receive(store)
    assert enter(store)
    assert store.requests.awaited([*UIDS, "1.2"]) == set(UIDS)
    first = ask(store, "2.25.1")
    assert [one.sop_instance_uid for one in first.wanted] == UIDS
    assert first.state is RequestState.ASKED
    assert answer(store, "2.25.1", committed=UIDS)

    assert store.requests.awaited(UIDS) == set()
    last = claimed(store, at=2)
    assert last.state is RequestState.DECIDED
    assert last.decided == tuple((CT, uid, None) for uid in UIDS)
    assert (last.wanted, last.decided_at, last.attempt) == ((), after(2), 1)
    store.requests.reported(last, now=after(3))
    assert line(store).state is RequestState.REPORTED
    assert due(store, at=10 * HOUR) is None
    assert told(store) == [
        ("commitment_decided", "3 of 3 instances committed, transaction 2.25.7"),
        ("commitment_reported", "3 of 3 instances committed, to CT1"),
    ]


def test_a_transaction_uid_is_taken_once_whoever_uses_it_again(store: SqlStudyStore) -> None:
    assert enter(store, uids=UIDS[:1])
    assert not enter(store)
    assert not enter(store, ae="MR2")
    assert [one.sop_instance_uid for one in claimed(store).wanted] == UIDS[:1]
    assert line(store).instances == 1


def test_an_instance_that_is_named_twice_is_one(store: SqlStudyStore) -> None:
    enter(store, uids=[UIDS[0], UIDS[0]])
    assert len(claimed(store).wanted) == 1


def test_each_ae_has_its_own(store: SqlStudyStore) -> None:
    enter(store, "2.25.7", ae="CT1")
    enter(store, "2.25.8", ae="MR2")
    assert due(store, ae="XA3") is None
    found = due(store, ae="MR2")
    assert found is not None
    assert found.transaction_uid == "2.25.8"
    assert [one.transaction_uid for one in store.requests.lines(set(RequestState), calling_ae_title="CT1")] == [
        "2.25.7"
    ]


def test_what_is_held_is_told_with_its_class_and_every_content(store: SqlStudyStore) -> None:
    one, other = image(1), image(1, content="other")
    store.record(sent(one, image(2)), now=after(0))
    store.record(sent(other), now=after(1))
    enter(store)
    first, second, third = claimed(store, at=2).wanted
    assert first.held == (CT, (one.digest, other.digest))
    assert second.held == (CT, (image(2).digest,))
    assert third.held is None


def test_only_what_failed_here_is_decided_and_the_rest_is_asked_for(store: SqlStudyStore) -> None:
    enter(store)
    found = claimed(store)
    store.requests.decide(found, {(CT, UIDS[0]): NO_SUCH, ("1.2.3", UIDS[1]): CONFLICT}, now=after(1))
    store.requests.archive_asked(found, "2.25.1", now=after(1), again_at=after(HOUR), retry_at=after(MINUTE))
    assert store.requests.awaited(UIDS) == set(UIDS[1:])
    assert answer(store, "2.25.1", committed=UIDS)
    assert claimed(store, at=2).decided == ((CT, UIDS[0], NO_SUCH), (CT, UIDS[1], None), (CT, UIDS[2], None))
    assert (line(store).committed, line(store).failed) == (2, 1)


def test_a_request_of_which_everything_fails_here_is_decided_at_once(store: SqlStudyStore) -> None:
    enter(store)
    store.requests.decide(claimed(store), dict.fromkeys(((CT, uid) for uid in UIDS), NO_SUCH), now=after(1))
    assert claimed(store, at=1).state is RequestState.DECIDED


def test_what_the_archive_may_commit_later_is_asked_for_again_and_only_that(store: SqlStudyStore) -> None:
    enter(store)
    ask(store, "2.25.1")
    failed = {UIDS[1]: NO_SUCH, UIDS[2]: BUSY}
    assert answer(store, "2.25.1", committed=UIDS[:1], failed=failed)
    assert line(store).reason == Reason(
        code="commitment_failed",
        text="2 of 3 objects are not committed: 0x0112 no such object instance (1); 0x0213 resource limitation (1)",
    )
    assert due(store, at=MINUTE) is None
    again = ask(store, "2.25.2", at=MINUTE + 1)
    assert [(one.sop_instance_uid, one.refused) for one in again.wanted] == list(failed.items())
    assert again.inquiries == 1
    assert answer(store, "2.25.2", committed=UIDS[1:], at=MINUTE + 2)
    assert [reason for _, _, reason in claimed(store, at=MINUTE + 2).decided] == [None, None, None]


def test_what_the_archive_will_never_commit_fails_with_its_reason(store: SqlStudyStore) -> None:
    enter(store)
    ask(store, "2.25.1")
    assert answer(store, "2.25.1", committed=UIDS[:1], failed={UIDS[1]: CONFLICT, UIDS[2]: 0x0122})
    assert [reason for _, _, reason in claimed(store, at=2).decided] == [None, CONFLICT, 0x0122]


def test_an_instance_of_which_the_archive_says_nothing_is_not_committed(store: SqlStudyStore) -> None:
    enter(store)
    ask(store, "2.25.1")
    assert answer(store, "2.25.1", committed=[*UIDS[:2], "1.2.3"])
    (missing,) = claimed(store, at=MINUTE + 2).wanted
    assert (missing.sop_instance_uid, missing.refused) == (UIDS[2], FAILED)


def test_without_an_answer_it_is_asked_again_and_a_late_one_still_commits(store: SqlStudyStore) -> None:
    enter(store)
    ask(store, "2.25.1")
    assert due(store, at=HOUR) is None
    ask(store, "2.25.2", at=HOUR + 1)
    # the older transaction commits one; what it refuses says nothing of the newer one
    assert answer(store, "2.25.1", committed=UIDS[:1], failed={UIDS[1]: CONFLICT, UIDS[2]: CONFLICT}, at=HOUR + 2)
    assert line(store).state is RequestState.ASKED
    assert answer(store, "2.25.2", committed=UIDS[1:], at=HOUR + 3)
    assert [reason for _, _, reason in claimed(store, at=HOUR + 3).decided] == [None, None, None]


def test_an_answer_that_comes_twice_changes_nothing_the_second_time(store: SqlStudyStore) -> None:
    enter(store)
    ask(store, "2.25.1")
    answer(store, "2.25.1", committed=UIDS)
    before = line(store)
    assert answer(store, "2.25.1", failed=dict.fromkeys(UIDS, CONFLICT), at=3)
    assert line(store) == before
    assert not answer(store, "2.25.9", committed=UIDS)


def test_an_answer_after_the_decision_changes_nothing(store: SqlStudyStore) -> None:
    enter(store)
    ask(store, "2.25.1")
    found = claimed(store, at=HOUR + 1)
    store.requests.decide(found, dict.fromkeys(((CT, uid) for uid in UIDS), FAILED), now=after(HOUR + 1))
    assert answer(store, "2.25.1", committed=UIDS, at=HOUR + 2)
    assert [reason for _, _, reason in claimed(store, at=HOUR + 2).decided] == [FAILED] * 3


def test_a_claim_keeps_others_away_until_it_runs_out_and_who_lost_it_changes_nothing(store: SqlStudyStore) -> None:
    receive(store)
    enter(store)
    slow = claimed(store)
    assert due(store, at=10) is None
    store.requests.renew(slow, now=after(10), duration=CLAIM)
    assert due(store, at=25) is None
    quick = claimed(store, at=31)
    with pytest.raises(LeaseLost):
        store.requests.archive_asked(slow, "2.25.1", now=after(32), again_at=after(HOUR), retry_at=after(MINUTE))
    store.requests.decide(slow, {(CT, UIDS[0]): NO_SUCH}, now=after(32))
    store.requests.put_off(slow, DOWN, next_at=after(HOUR))
    store.requests.give_up(slow, DOWN, now=after(32))
    store.requests.renew(slow, now=after(32), duration=timedelta(0))
    assert (line(store).state, line(store).failed, line(store).reason) == (RequestState.ASKED, 0, None)
    assert due(store, at=33) is None
    store.requests.renew(quick, now=after(33), duration=timedelta(0))
    assert due(store, at=33) is not None


def test_a_fault_counts_as_a_try_and_waiting_does_not(store: SqlStudyStore) -> None:
    enter(store)
    store.requests.put_off(claimed(store), None, next_at=after(5))
    assert due(store, at=4) is None
    found = claimed(store, at=5)
    assert found.attempt == 1
    store.requests.put_off(found, DOWN, next_at=after(8))
    assert line(store).reason == DOWN
    assert claimed(store, at=8).attempt == 2


def decided(store: SqlStudyStore) -> None:
    receive(store)
    enter(store)
    ask(store, "2.25.1")
    answer(store, "2.25.1", committed=UIDS)


def test_a_report_that_cannot_be_brought_is_tried_again_and_given_up_in_the_end(store: SqlStudyStore) -> None:
    decided(store)
    for attempt in (1, 2):
        found = claimed(store, at=10 * attempt)
        assert (found.state, found.attempt) == (RequestState.DECIDED, attempt)
        store.requests.put_off(found, DOWN, next_at=after(10 * attempt + 10))
    store.requests.give_up(claimed(store, at=30), DOWN, now=after(30))
    assert due(store, at=10 * HOUR) is None
    assert (line(store).state, line(store).reason) == (RequestState.GIVEN_UP, DOWN)
    assert told(store)[-1] == ("commitment_not_reported", "nobody answers [destination_unavailable]")


def test_what_was_given_up_is_reported_once_more_when_a_person_asks(store: SqlStudyStore) -> None:
    decided(store)
    assert store.requests.report_again(["2.25.7", "2.25.8"], actor="ana", now=after(HOUR)) == []
    store.requests.give_up(claimed(store, at=3), DOWN, now=after(3))
    assert store.requests.report_again(["2.25.7", "2.25.8"], actor="ana", now=after(HOUR)) == ["2.25.7"]
    found = claimed(store, at=HOUR)
    assert (found.state, found.attempt, found.decided_at) == (RequestState.DECIDED, 1, after(HOUR))
    store.requests.reported(found, now=after(HOUR))
    assert told(store)[-2:] == [
        ("commitment_decided", "asked to report again"),
        ("commitment_reported", "3 of 3 instances committed, to CT1"),
    ]


def test_a_report_that_two_have_brought_is_noted_once(store: SqlStudyStore) -> None:
    decided(store)
    slow = claimed(store, at=3)
    quick = claimed(store, at=30)
    store.requests.reported(slow, now=after(31))
    store.requests.reported(quick, now=after(32))
    store.requests.put_off(quick, DOWN, next_at=after(40))
    assert line(store).state is RequestState.REPORTED
    assert [what for what, _ in told(store)].count("commitment_reported") == 1


def test_five_thousand_instances_are_one_request(store: SqlStudyStore) -> None:
    uids = [f"1.2.{number}" for number in range(5000)]
    enter(store, uids=uids)
    ask(store, "2.25.1")
    assert answer(store, "2.25.1", committed=uids)
    assert line(store).committed == 5000


def test_counts_for_the_metrics(store: SqlStudyStore) -> None:
    assert store.board.counts().oldest_open_commitment_at is None
    decided(store)
    enter(store, "2.25.8", ae="MR2")
    counts = store.board.counts()
    assert counts.commitments == {("CT1", "decided"): 1, ("MR2", "asked"): 1}
    assert counts.oldest_open_commitment_at == after(0)
