"""The contract of what a PACS is asked: who asks about which version, what it said, and what that completes."""

from datetime import timedelta

import pytest

from services.backends.store import SqlStudyStore, open_store
from services.backends.store.inquiries import Inquiry
from services.triage.completeness import Answer, Inquired
from services.triage.errors import Reason
from services.triage.job import OrderPriority
from services.triage.study import VersionKey
from tests.support.other_process import at_once, claim_inquiries
from tests.support.records import (
    LEASE,
    NOON,
    PACS,
    QUIET,
    STUDY,
    a_result,
    after,
    complete_study,
    image,
    lease_next,
    one_job,
    report,
    sent,
)

FIRST = VersionKey(study_instance_uid=STUDY, number=1)
MORE = Answer(outcome=Inquired.MORE, text="archive has 5 images of 1 series that are not here")
ALL_HERE = Answer(outcome=Inquired.ALL_HERE, text="archive has no image that is not here")
AWAY = Answer(outcome=Inquired.UNREACHABLE, text="archive cannot be reached")


def claim(store: SqlStudyStore, at: float = 15.0) -> Inquiry | None:
    return store.inquiries.claim(now=after(at), quiet_period=QUIET, duration=LEASE)


def ask(store: SqlStudyStore, answer: Answer, at: float = 15.0, again_at: float | None = None) -> None:
    due = claim(store, at)
    assert due is not None
    again = None if again_at is None else after(again_at)
    store.inquiries.answered(due, answer, now=after(at), again_at=again)


def answer(store: SqlStudyStore) -> Answer | None:
    found = store.evidence(FIRST)
    assert found is not None
    return found.answer


def history(store: SqlStudyStore) -> list[str]:
    detail = store.board.study(STUDY)
    assert detail is not None
    return [event.what for event in detail.events]


def test_a_version_is_asked_about_once_it_is_quiet_and_by_one_alone(store: SqlStudyStore) -> None:
    store.record(sent(image(1)), now=NOON)
    assert claim(store, 14.9) is None
    assert claim(store) == Inquiry(version=FIRST, as_of=NOON, asked=0)
    assert claim(store) is None


def test_the_longest_quiet_comes_first(store: SqlStudyStore) -> None:
    store.record(sent(image(1, study="1.8")), now=after(1))
    store.record(sent(image(1, study="1.7")), now=NOON)
    due = [claim(store, 30), claim(store, 30)]
    assert [one.version.study_instance_uid for one in due if one] == ["1.7", "1.8"]


def test_a_claim_that_ran_out_is_free_again(store: SqlStudyStore) -> None:
    store.record(sent(image(1)), now=NOON)
    assert claim(store)
    assert claim(store, 15 + LEASE.total_seconds() - 0.1) is None
    assert claim(store, 15 + LEASE.total_seconds())


def test_processes_that_ask_side_by_side_share_the_versions(store: SqlStudyStore, store_url: str) -> None:
    studies = [f"1.7.{number}" for number in range(12)]
    store.record(sent(*(image(1, study=study) for study in studies)), now=NOON)
    claimed = at_once(claim_inquiries, [(store_url,)] * 2)
    assert sorted(claimed[0] + claimed[1]) == sorted(studies)


def test_an_answer_is_kept_and_is_final_unless_it_is_to_be_asked_again(store: SqlStudyStore) -> None:
    store.record(sent(image(1)), now=NOON)
    assert answer(store) is None
    ask(store, ALL_HERE)
    assert answer(store) == ALL_HERE
    assert claim(store, 10_000) is None


def test_it_is_asked_again_at_the_time_that_was_said(store: SqlStudyStore, store_url: str) -> None:
    store.record(sent(image(1)), now=NOON)
    ask(store, MORE, again_at=25)
    assert claim(store, 24.9) is None
    reopened = open_store(store_url)
    due = claim(reopened, 25)
    assert due is not None
    assert due.asked == 1
    reopened.close()


def test_an_image_makes_the_answer_stale_and_an_answer_that_comes_after_it_is_not_kept(store: SqlStudyStore) -> None:
    store.record(sent(image(1)), now=NOON)
    ask(store, ALL_HERE)
    store.record(sent(image(2)), now=after(16))
    assert answer(store) is None
    assert claim(store, 30.9) is None
    due = claim(store, 31)
    assert due == Inquiry(version=FIRST, as_of=after(16), asked=0)
    store.record(sent(image(3)), now=after(32))
    store.inquiries.answered(due, ALL_HERE, now=after(33), again_at=None)
    assert answer(store) is None


def test_a_report_that_arrives_leaves_the_answer(store: SqlStudyStore) -> None:
    store.record(sent(image(1)), now=NOON)
    ask(store, ALL_HERE)
    store.record(sent(report(1)), now=after(16))
    assert answer(store) == ALL_HERE


def test_a_pacs_that_went_away_takes_back_nothing_of_what_it_said(store: SqlStudyStore) -> None:
    store.record(sent(image(1)), now=NOON)
    ask(store, AWAY, again_at=20)
    assert answer(store) == AWAY
    ask(store, MORE, at=20, again_at=30)
    ask(store, AWAY, at=30, again_at=40)
    assert answer(store) == MORE
    ask(store, ALL_HERE, at=40)
    assert answer(store) == ALL_HERE


def test_that_a_study_waits_is_in_its_history_once(store: SqlStudyStore) -> None:
    store.record(sent(image(1)), now=NOON)
    ask(store, MORE, again_at=20)
    ask(store, MORE, at=20, again_at=30)
    assert history(store).count("waits_for_pacs") == 1
    assert store.board.counts().waiting_for_pacs == 1


def test_what_people_asked_to_be_completed_and_what_is_complete_is_not_asked_about(store: SqlStudyStore) -> None:
    store.record(sent(image(1)), now=NOON)
    store.ask_completion(STUDY, actor="a person", now=after(1))
    assert claim(store) is None
    found = store.evidence(FIRST)
    assert found is not None
    assert found.completion_asked
    complete_study(store, study="1.7")
    assert claim(store, 100) is None
    assert store.evidence(VersionKey(study_instance_uid="1.7", number=1)) is None


def test_on_what_a_version_was_completed_is_told_before_its_end_and_counted(store: SqlStudyStore) -> None:
    store.record(sent(image(1)), now=NOON)
    ask(store, MORE, again_at=25)
    reason = Reason(code="pacs_has_more", text=MORE.text)
    arguments = {"priority": OrderPriority.ROUTINE, "now": after(900), "said": reason}
    assert not store.complete(FIRST, one_job(), seen=2, **arguments)  # type: ignore[arg-type]
    assert store.board.counts().completions == {}
    assert store.complete(FIRST, one_job(), seen=1, **arguments)  # type: ignore[arg-type]
    assert history(store)[-3:] == ["waits_for_pacs", "pacs_has_more", "complete"]
    counts = store.board.counts()
    assert (counts.completions, counts.waiting_for_pacs) == ({"pacs_has_more": 1}, 0)


def test_what_is_here_is_counted_by_series_each_uid_once_and_our_own_results_not(store: SqlStudyStore) -> None:
    assert store.inquiries.here(STUDY) == {}
    complete_study(store, images=3)
    lease, _ = lease_next(store)
    result, sha256s = a_result()
    store.freeze(lease, result, sha256s=sha256s, destinations=[PACS], now=after(30))
    back = [image(1, sop_instance_uid=one.sop_instance_uid, content="back") for one in result.objects]
    store.record(sent(image(1, content="other"), image(1, series=2), *back), now=after(40))
    assert store.inquiries.here(STUDY) == {f"{STUDY}.1": 3, f"{STUDY}.2": 1}
    assert store.inquiries.is_receiving(STUDY)
    assert not store.inquiries.is_receiving("1.2.404")


@pytest.mark.parametrize("again_at", [None, 20.0])
def test_an_answer_that_comes_twice_changes_nothing(store: SqlStudyStore, again_at: float | None) -> None:
    """As after a claim that ran out while its process was only slow."""
    store.record(sent(image(1)), now=NOON)
    slow = claim(store)
    quick = claim(store, 15 + LEASE.total_seconds())
    assert slow is not None
    assert quick is not None
    again = None if again_at is None else NOON + timedelta(seconds=again_at)
    for one in (quick, slow):
        store.inquiries.answered(one, ALL_HERE, now=after(80), again_at=again)
    assert answer(store) == ALL_HERE
