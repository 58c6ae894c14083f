"""The contract of `StudyStore.training`: what was found of the images of a result, and by which rules."""

import sqlalchemy as sa

from services.backends.store import SqlStudyStore
from services.backends.store.engine import writing
from services.backends.store.migrate import downgrade, upgrade
from services.backends.store.tables import training_check
from tests.support.records import STUDY, analyse, lesion


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
