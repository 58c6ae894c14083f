"""The contract of `StudyStore.training`: what was found of the images of a result, and by which rules."""

from collections.abc import Callable
from uuid import uuid4

import pytest
import sqlalchemy as sa

from services.backends.store import SqlStudyStore
from services.backends.store.engine import writing
from services.backends.store.migrate import downgrade, upgrade
from services.backends.store.tables import training_check
from services.backends.store.training import Case
from services.triage.job import OrderPriority
from services.triage.study import VersionKey
from services.triage.switch import ModelScope
from services.triage.training import Mix
from services.triage.verdict import Answer, RejectReason, Shown, Truth, Verdict
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


def checked(store: SqlStudyStore) -> dict[str, str]:
    return store.training.checked([result_of(store)])


def result_of(store: SqlStudyStore) -> str:
    detail = store.board.study(STUDY)
    assert detail is not None
    return detail.results[0].result_id


def test_what_an_older_process_finds_beside_a_newer_one_is_not_believed(store: SqlStudyStore) -> None:
    analyse(store, lesions=(lesion(1),))
    with writing(store._engine) as connection:
        connection.execute(sa.insert(training_check).values(result_id=result_of(store), exclusion=""))
    assert checked(store) == {}
    store.training.note_checked({result_of(store): "face"})
    assert checked(store) == {result_of(store): "face"}


def test_what_was_found_before_accents_were_understood_is_gone_with_the_upgrade(store: SqlStudyStore) -> None:
    analyse(store, lesions=(lesion(1),))
    downgrade(store._engine, "0033")
    with writing(store._engine) as connection:
        connection.execute(
            sa.text("INSERT INTO training_check (result_id, exclusion) VALUES (:result, '')"),
            {"result": result_of(store)},
        )
    upgrade(store._engine)
    assert checked(store) == {}


def test_the_images_of_a_result_are_those_of_its_version_and_none_that_came_since(store: SqlStudyStore) -> None:
    analyse(store, lesions=(lesion(1),))
    result_id = result_of(store)
    before = store.archive.images_of(result_id)
    assert before
    assert {one.sop_instance_uid for one in before} == {
        one.sop_instance_uid for one in store.archive.instances(STUDY, f"{STUDY}.1")
    }
    changed, late, beside = image(1, content="other pixels"), image(99), image(1, series=7)
    store.record(sent(changed, late, beside), now=after(100))
    assert changed.digest in {one.digest for one in store.archive.instances(STUDY)}
    assert store.archive.images_of(result_id) == before
    assert store.archive.images_of("0" * 32) == []


def say(
    store: SqlStudyStore, result_id: str, answer: Answer, *, reader: str = "Dr A", at: float = 100, **told: object
) -> None:
    store.verdicts.give(
        Verdict(
            verdict_id=uuid4().hex,
            study_instance_uid=STUDY,
            result_id=result_id,
            answer=answer,
            reader=reader,
            given_at=after(at),
            shown=Shown(page="study"),
            **told,  # type: ignore[arg-type]
        )
    )


def answered_case(store: SqlStudyStore) -> Case:
    """Of a round of all candidates, the first one once it is answered."""
    found = store.training.candidates()
    store.training.begin(found, learner="L", model_name="lung", mix=Mix.ANY, key=b"k" * 32, now=after(110))
    case = store.training.rounds("L")[0].cases[0]
    store.training.answer(case, Answer.ABSENT, None, now=after(111))
    return case


def recall(store: SqlStudyStore, result_id: str) -> None:
    store.recall(result_id, reason="wrong", actor="lead", now=after(120))


def switch_off(store: SqlStudyStore, _: str) -> None:
    store.switches.switch_off(ModelScope(model_name="lung"), reason="bad weights", actor="lead", now=after(120))


@pytest.mark.parametrize("withdraw", [recall, switch_off])
def test_of_a_result_that_is_recalled_or_kept_back_nothing_is_told(
    store: SqlStudyStore, withdraw: Callable[[SqlStudyStore, str], None]
) -> None:
    analyse(store, lesions=(lesion(1),))
    say(store, result_of(store), Answer.ACCEPT)
    case = answered_case(store)
    said = store.training.said(case)
    assert said is not None
    assert said.lesions
    assert store.training.progress("L")[case.kind].answered == 1
    withdraw(store, case.result_id)
    assert store.training.candidates() == []
    (now,) = store.training.rounds("L")[0].cases
    assert now == store.training.case("L", case.name)
    assert not now.stands
    assert store.training.said(now) is None
    progress = store.training.progress("L")
    assert (progress[None].answered, progress[case.kind].answered) == (1, 0)


def written_again(store: SqlStudyStore) -> str:
    """The only result under corrected patient data."""
    first = result_of(store)
    store.reconcile_patients(adt("P1", patient_name="Roe^Jane", at=40), now=after(40))
    version = VersionKey(study_instance_uid=STUDY, number=2)
    assert store.complete(version, one_job(), priority=OrderPriority.ROUTINE, seen=2, now=after(60))
    lease, _ = lease_next(store, at=65)
    result, sha256s = a_result(lesions=(lesion(1),))
    store.freeze(lease, result, sha256s=sha256s, destinations=[PACS], now=after(70))
    detail = store.board.study(STUDY)
    assert detail is not None
    return next(one.result_id for one in detail.results if one.rewrites == first)


def test_under_corrected_patient_data_readers_said_what_they_said_before(store: SqlStudyStore) -> None:
    analyse(store, lesions=(lesion(1),))
    say(store, result_of(store), Answer.ACCEPT, at=36)
    copy = written_again(store)
    assert [(one.result_id, one.truth) for one in store.training.candidates()] == [(copy, Truth.PRESENT)]
    case = answered_case(store)
    say(store, copy, Answer.REJECT, reader="Dr B", reason=RejectReason.VESSEL, at=112)
    assert store.training.candidates() == []
    said = store.training.said(case)
    assert said is not None
    assert said.readers == {Truth.PRESENT: 1, Truth.ABSENT: 1}
    say(store, copy, Answer.REJECT, reason=RejectReason.VESSEL, at=113)
    assert [(one.truth, one.readers) for one in store.training.candidates()] == [(Truth.ABSENT, 2)]


def test_an_analysis_of_which_a_copy_was_recalled_does_not_stand(store: SqlStudyStore) -> None:
    analyse(store, lesions=(lesion(1),))
    say(store, result_of(store), Answer.ACCEPT, at=36)
    case = answered_case(store)
    recall(store, written_again(store))
    assert store.training.candidates() == []
    now = store.training.case("L", case.name)
    assert now is not None
    assert not now.stands
