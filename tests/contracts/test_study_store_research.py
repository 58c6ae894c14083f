"""The contract of `StudyStore.research`: which studies an export takes."""

from datetime import datetime
from uuid import uuid4

import pytest

from services.backends.store import SqlStudyStore, open_store
from services.backends.store.research import Wanted
from services.triage.blind import BlindPolicy, BlindRule
from services.triage.verdict import Answer, Shown, Verdict
from tests.support.records import STUDY, a_result, after, analyse, complete_study, lease_next, lesion, new_study_uid


@pytest.fixture
def two(store: SqlStudyStore) -> tuple[str, str]:
    """A study that a reader answered, frozen at 30 s, and one that nobody did, frozen at 130 s."""
    second = new_study_uid()
    analyse(store, lesions=(lesion(1),))
    analyse(store, study=second, at=100)
    detail = store.board.study(STUDY)
    assert detail is not None
    store.verdicts.give(
        Verdict(
            verdict_id=uuid4().hex,
            study_instance_uid=STUDY,
            result_id=detail.results[0].result_id,
            answer=Answer.ACCEPT,
            reader="Dr A",
            given_at=after(200),
            shown=Shown(page="study"),
        )
    )
    return STUDY, second


def test_without_a_wish_every_study_with_a_result_is_taken(store: SqlStudyStore, two: tuple[str, str]) -> None:
    complete_study(store, study=new_study_uid(), at=300)
    assert store.research.studies(Wanted()) == sorted(two)


def test_each_wish_narrows_and_all_of_them_hold(store: SqlStudyStore, two: tuple[str, str]) -> None:
    first, second = two
    for wanted, found in (
        (Wanted(since=after(31)), [second]),
        (Wanted(until=after(130)), [first]),
        (Wanted(since=after(30), until=after(131)), sorted(two)),
        (Wanted(study_instance_uids=[second, "2.25.404"]), [second]),
        (Wanted(with_verdicts=True), [first]),
        (Wanted(with_verdicts=True, since=after(31)), []),
        (Wanted(model_names=["lung"]), sorted(two)),
        (Wanted(model_names=["liver"]), []),
        (Wanted(tenant="north"), []),
        (Wanted(tenant=""), sorted(two)),
    ):
        assert store.research.studies(wanted) == found, wanted


def test_a_study_whose_only_result_is_withheld_is_not_taken_until_it_may_be_seen(store_url: str) -> None:
    now = [after(30)]
    store = open_store(store_url, clock=lambda: now[0])
    complete_study(store)
    lease, _ = lease_next(store, at=20)
    result, sha256s = a_result(lesions=(lesion(1),))
    policy = BlindPolicy(rules=(BlindRule(share=1.0),), key="a key of sixteen")
    store.freeze(lease, result, sha256s=sha256s, destinations=[], now=now[0], blind=policy)
    assert store.research.studies(Wanted()) == []
    now[0] = a_day_later(now[0])
    assert store.research.studies(Wanted()) == [STUDY]
    store.close()


def a_day_later(moment: datetime) -> datetime:
    return moment.replace(day=moment.day + 1)
