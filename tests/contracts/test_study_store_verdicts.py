"""The contract of `StudyStore.verdicts`: what readers answered is kept, in full and for good."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from uuid import uuid4

import pytest
import sqlalchemy as sa

from services.backends.store import SqlStudyStore, open_store
from services.triage.errors import VerdictRefused
from services.triage.finding import Flag
from services.triage.job import OrderPriority
from services.triage.study import VersionKey
from services.triage.verdict import Answer, MarkedLesion, RejectReason, Shown, Verdict
from tests.support.postgres import Postgres
from tests.support.records import (
    PACS,
    STUDY,
    a_result,
    adt,
    after,
    analyse,
    image,
    lease_next,
    lesion,
    one_job,
    sent,
)


@pytest.fixture
def verdict(store: SqlStudyStore) -> Verdict:
    analyse(store, lesions=(lesion(1), lesion(2)))
    detail = store.board.study(STUDY)
    assert detail is not None
    result = detail.versions[0].jobs[0].result
    assert result is not None
    return Verdict(
        verdict_id=uuid4().hex,
        study_instance_uid=STUDY,
        result_id=result.result_id,
        answer=Answer.ACCEPT,
        reader="Dr A",
        given_at=after(100),
        shown=Shown(page="study", vigie_version="0.1.0"),
        tracking_uid="2.25.1",
    )


def another(verdict: Verdict, **told: object) -> Verdict:
    return replace(verdict, verdict_id=uuid4().hex, **told)  # type: ignore[arg-type]


def test_all_of_a_verdict_is_kept(store: SqlStudyStore, verdict: Verdict) -> None:
    marked = MarkedLesion(finding="nodule", long_axis_mm=7.5, object_sop_instance_uid="2.25.77")
    verdicts = (
        verdict,
        another(verdict, answer=Answer.REJECT, reason=RejectReason.VESSEL, comment="hilum", given_at=after(101)),
        another(verdict, answer=Answer.ADD, tracking_uid="2.25.9", lesion=marked, given_at=after(102)),
        another(verdict, answer=Answer.UNDO, undoes=verdict.verdict_id, given_at=after(103)),
    )
    assert all(store.verdicts.give(each) for each in verdicts)
    assert store.verdicts.of_study(STUDY) == verdicts


def test_an_undo_is_of_what_it_undoes_whatever_it_names(store: SqlStudyStore, verdict: Verdict) -> None:
    assert store.verdicts.give(verdict)
    undo = another(
        verdict,
        answer=Answer.UNDO,
        undoes=verdict.verdict_id,
        given_at=after(101),
        result_id=None,
        tracking_uid=None,
    )
    assert store.verdicts.give(undo)
    assert not store.verdicts.give(undo)
    kept = replace(undo, result_id=verdict.result_id, tracking_uid=verdict.tracking_uid)
    assert store.verdicts.of_study(STUDY) == (verdict, kept)


def test_given_twice_it_is_kept_once(store: SqlStudyStore, verdict: Verdict) -> None:
    assert store.verdicts.give(verdict)
    later = replace(verdict, given_at=after(130), shown=Shown(page="viewer", vigie_version="0.2.0"))
    assert not store.verdicts.give(later)
    assert store.verdicts.of_study(STUDY) == (verdict,)


def test_another_answer_under_a_known_id_is_refused_and_the_first_stays(store: SqlStudyStore, verdict: Verdict) -> None:
    marked = MarkedLesion(finding="nodule", long_axis_mm=7.5, volume_ml=0.1)
    first = replace(verdict, answer=Answer.MODIFY, lesion=marked, comment="hilum")
    undo = another(verdict, answer=Answer.UNDO, undoes=first.verdict_id, given_at=after(101))
    assert store.verdicts.give(first)
    assert store.verdicts.give(undo)
    assert not store.verdicts.give(first)
    store.record(sent(image(1, study="1.7")), now=after(50))
    rejected = {"answer": Answer.REJECT, "lesion": None}
    for other in (
        replace(first, lesion=replace(marked, volume_ml=0.2)),
        replace(first, comment=""),
        replace(first, tracking_uid="2.25.2"),
        replace(first, **rejected, reason=RejectReason.VESSEL),
        replace(first, **rejected, reason=RejectReason.ARTEFACT),
        replace(first, reader="Dr B"),
        replace(first, study_instance_uid="1.7"),
        replace(first, answer=Answer.NOT_MY_QUESTION, lesion=None, result_id=None),
        replace(undo, undoes=uuid4().hex),
    ):
        with pytest.raises(VerdictRefused) as refused:
            store.verdicts.give(other)
        assert refused.value.reason.code == "other_answer"
    assert store.verdicts.of_study(STUDY) == (first, undo)


def test_of_two_studies_answered_under_one_id_at_once_one_is_refused(postgresql: Postgres) -> None:
    both_insert = threading.Barrier(2)

    def wait_for_the_other(_connection: object, _cursor: object, statement: str, *_more: object) -> None:
        if statement.startswith("INSERT INTO verdict "):
            both_insert.wait(30)

    def give(study: str) -> bool | str:
        try:
            return store.verdicts.give(replace(of_no_result, study_instance_uid=study))
        except VerdictRefused as refused:
            return refused.reason.code

    # on SQLite writers are alone
    with postgresql.database() as url, closing(open_store(url)) as store, ThreadPoolExecutor(2) as both:
        of_no_result = Verdict(
            verdict_id=uuid4().hex,
            study_instance_uid="",
            result_id=None,
            answer=Answer.NOT_MY_QUESTION,
            reader="Dr A",
            given_at=after(100),
            shown=Shown(page="study"),
        )
        studies = ("1.7", "1.8")
        for study in studies:
            store.record(sent(image(1, study=study)), now=after(50))
        sa.event.listen(store._engine, "before_cursor_execute", wait_for_the_other)
        told = list(both.map(give, studies))
        assert sorted(map(str, told)) == ["True", "other_answer"]
        assert [len(store.verdicts.of_study(study)) for study in studies] == [one is True for one in told]
        refused = studies[told.index("other_answer")]
        assert [one.what for one in store.board.study(refused).events if one.what.startswith("verdict")] == []


def test_the_history_of_the_study_tells_of_it(store: SqlStudyStore, verdict: Verdict) -> None:
    store.verdicts.give(another(verdict, answer=Answer.REJECT, reason=RejectReason.ARTEFACT))
    detail = store.board.study(STUDY)
    assert detail is not None
    told = detail.events[-1]
    assert (told.actor, told.what, told.cause, told.time) == ("Dr A", "verdict_reject", "artefact", after(100))


def test_what_is_not_there_is_not_judged(store: SqlStudyStore, verdict: Verdict) -> None:
    store.record(sent(image(1, study="1.7")), now=after(50))
    for wrong, code in (
        ({"study_instance_uid": "1.8"}, "unknown_study"),
        ({"study_instance_uid": "1.7"}, "unknown_result"),
        ({"result_id": "0" * 32}, "unknown_result"),
        ({"tracking_uid": "2.25.3"}, "unknown_lesion"),
        ({"answer": Answer.UNDO, "undoes": "0" * 32}, "unknown_verdict"),
    ):
        with pytest.raises(VerdictRefused) as refused:
            store.verdicts.give(another(verdict, **wrong))
        assert refused.value.reason.code == code
    assert store.verdicts.of_study(STUDY) == ()


ANSWERS = [
    {"tracking_uid": None},
    {"answer": Answer.REJECT, "reason": RejectReason.VESSEL},
    {"answer": Answer.NOT_MY_QUESTION, "tracking_uid": None},
    {"answer": Answer.ADD, "tracking_uid": "2.25.9"},
]


def test_a_result_that_a_newer_one_has_superseded_is_not_judged(store: SqlStudyStore, verdict: Verdict) -> None:
    early = another(verdict, given_at=after(90))
    store.verdicts.give(early)
    analyse(store, number=2, at=100, flag=Flag.URGENT, lesions=(lesion(1),))
    for told in ANSWERS:
        with pytest.raises(VerdictRefused) as refused:
            store.verdicts.give(another(verdict, given_at=after(140), **told))
        assert refused.value.reason.code == "superseded_result"
    detail = store.board.study(STUDY)
    assert detail is not None
    # nobody saw the urgent result: the study is still to be read
    assert detail.row.reading.state == "unread"
    undo = another(early, answer=Answer.UNDO, undoes=early.verdict_id, given_at=after(141))
    assert store.verdicts.give(undo)


def test_a_result_that_is_written_again_for_another_name_is_judged_until_images_come(
    store: SqlStudyStore, verdict: Verdict
) -> None:
    store.reconcile_patients(adt("P1", patient_name="Roe^Jane", at=40), now=after(40))
    version = VersionKey(study_instance_uid=STUDY, number=2)
    assert store.complete(version, one_job(), priority=OrderPriority.ROUTINE, seen=2, now=after(60))
    lease, job = lease_next(store, at=65)
    assert job.reconciles is not None
    rewritten, sha256s = a_result(lesions=(lesion(1), lesion(2)))
    store.freeze(lease, rewritten, sha256s=sha256s, destinations=[PACS], now=after(70))
    assert all(store.verdicts.give(another(verdict, **told)) for told in ANSWERS)
    analyse(store, number=3, at=200, lesions=(lesion(1),))
    with pytest.raises(VerdictRefused, match="newer result"):
        store.verdicts.give(another(verdict, given_at=after(240)))


def test_only_who_gave_a_verdict_takes_it_back_and_once(store: SqlStudyStore, verdict: Verdict) -> None:
    store.verdicts.give(verdict)
    undo = another(verdict, answer=Answer.UNDO, undoes=verdict.verdict_id, given_at=after(101))
    with pytest.raises(VerdictRefused, match="by who gave it"):
        store.verdicts.give(replace(undo, reader="Dr B"))
    assert store.verdicts.give(undo)
    with pytest.raises(VerdictRefused, match="undone before"):
        store.verdicts.give(another(undo))
    with pytest.raises(VerdictRefused, match="no such verdict"):
        store.verdicts.give(another(undo, undoes=undo.verdict_id))
