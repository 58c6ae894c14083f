"""The contract of `StudyStore`: when a version is complete, and closing it with its plan, once."""

from datetime import timedelta

from services.backends.store import ShownState, SqlStudyStore
from services.triage.job import OrderPriority
from services.triage.study import StudyState, VersionKey
from tests.support.records import NOON, OUT_OF_SCOPE, QUIET, STUDY, after, complete_study, image, one_job, report, sent

FIRST = VersionKey(study_instance_uid=STUDY, number=1)


def close(store: SqlStudyStore, *, seen: int, at: float = 20.0) -> bool:
    return store.complete(FIRST, one_job(), priority=OrderPriority.ROUTINE, seen=seen, now=after(at))


def test_a_version_is_quiet_when_its_quiet_period_has_passed_since_the_last_image(store: SqlStudyStore) -> None:
    store.record(sent(image(1)), now=NOON)
    store.record(sent(image(2)), now=after(10))
    assert store.quiet_versions(now=after(24.9), quiet_period=QUIET) == []
    assert store.quiet_versions(now=after(25), quiet_period=QUIET) == [FIRST]


def test_a_report_or_a_resend_does_not_put_completion_off(store: SqlStudyStore) -> None:
    store.record(sent(image(1)), now=NOON)
    store.record(sent(image(1), report(1)), now=after(10))
    assert store.quiet_versions(now=after(15), quiet_period=QUIET) == [FIRST]


def test_the_version_that_has_waited_longest_comes_first(store: SqlStudyStore) -> None:
    store.record(sent(image(1, study="1.8")), now=after(1))
    store.record(sent(image(1, study="1.7")), now=NOON)
    quiet = store.quiet_versions(now=after(60), quiet_period=QUIET)
    assert [one.study_instance_uid for one in quiet] == ["1.7", "1.8"]


def test_the_counts_tell_since_when_the_oldest_receiving_version_has_waited(store: SqlStudyStore) -> None:
    assert store.board.counts().oldest_receiving_image_at is None
    store.record(sent(image(1)), now=NOON)
    store.record(sent(image(2)), now=after(3))
    store.record(sent(image(1, study="1.8")), now=after(10))
    assert store.board.counts().oldest_receiving_image_at == after(3)
    assert close(store, seen=2)
    assert store.board.counts().oldest_receiving_image_at == after(10)


def test_a_completion_that_was_asked_for_does_not_wait(store: SqlStudyStore) -> None:
    store.record(sent(image(1)), now=NOON)
    assert store.ask_completion(STUDY, actor="Dr Who", now=after(1))
    assert store.ask_completion(STUDY, actor="Dr Who", now=after(1))
    assert store.quiet_versions(now=after(1), quiet_period=QUIET) == [FIRST]
    detail = store.board.study(STUDY)
    assert detail is not None
    assert [one.actor for one in detail.events if one.what == "completion_asked"] == ["Dr Who"]


def test_nobody_can_complete_what_is_unknown_or_complete(store: SqlStudyStore) -> None:
    assert not store.ask_completion("1.2.3.404", actor="a person", now=NOON)
    complete_study(store)
    assert not store.ask_completion(STUDY, actor="a person", now=after(60))


def test_a_complete_version_is_no_longer_quiet_and_its_job_is_in_the_outbox(store: SqlStudyStore) -> None:
    complete_study(store)
    assert store.quiet_versions(now=after(100), quiet_period=QUIET) == []
    assert len(store.unpublished(limit=10)) == 1


def test_a_version_is_completed_once(store: SqlStudyStore) -> None:
    store.record(sent(image(1)), now=NOON)
    assert close(store, seen=1)
    assert not close(store, seen=1)
    assert len(store.unpublished(limit=10)) == 1


def test_a_plan_made_before_an_image_arrived_is_refused(store: SqlStudyStore) -> None:
    store.record(sent(image(1)), now=NOON)
    store.record(sent(image(2)), now=after(1))
    assert not close(store, seen=1)
    assert store.unpublished(limit=10) == []
    assert close(store, seen=2)


def test_a_plan_made_before_a_second_content_arrived_is_refused(store: SqlStudyStore) -> None:
    store.record(sent(image(1)), now=NOON)
    store.record(sent(image(1, content="other")), now=after(21))
    assert not close(store, seen=1, at=20)
    assert close(store, seen=1, at=40)


def test_an_unknown_version_cannot_be_completed(store: SqlStudyStore) -> None:
    assert not close(store, seen=0)


def test_a_study_that_no_rule_claims_gets_no_job_and_its_reason_is_kept(store: SqlStudyStore) -> None:
    complete_study(store, plan=OUT_OF_SCOPE)
    assert store.unpublished(limit=10) == []
    detail = store.board.study(STUDY)
    assert detail is not None
    assert detail.row.state is ShownState.OUT_OF_SCOPE
    assert detail.row.reason == detail.versions[0].out_of_scope == OUT_OF_SCOPE.out_of_scope


def test_a_version_tells_when_it_opened_and_closed(store: SqlStudyStore) -> None:
    complete_study(store, at=5)
    detail = store.board.study(STUDY)
    assert detail is not None
    (version,) = detail.versions
    assert version.state is StudyState.COMPLETE
    assert (version.opened_at, version.completed_at) == (after(5), after(20))
    assert version.opened_at.utcoffset() == timedelta(0)
