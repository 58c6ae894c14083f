"""The contract of `StudyStore.training`: what was found of the images of a result, and by which rules."""

import sqlalchemy as sa

from services.backends.store import SqlStudyStore
from services.backends.store.engine import writing
from services.backends.store.migrate import downgrade, upgrade
from services.backends.store.tables import training_check
from tests.support.records import STUDY, after, analyse, image, lesion, sent


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
