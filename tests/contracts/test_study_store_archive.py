"""What DICOMweb reads of a store: which studies and instances there are, on every engine alike."""

from dataclasses import replace

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from services.backends.person_name import index_of, is_like, parts_of_index
from services.backends.store import SqlStudyStore
from services.backends.store.archive import StudyFilter, _like
from services.backends.store.engine import reading, writing
from services.backends.store.tables import study
from services.gateway.dicomweb.matching import matches
from services.triage.study import Instance
from tests.support.records import (
    EVERY_FORM,
    NOON,
    STUDY,
    a_result,
    after,
    analyse,
    complete_study,
    image,
    lease_next,
    new_study_uid,
    report,
    sent,
)


def of_patient(number: int, **attributes: str) -> Instance:
    study = f"1.2.826.0.5.{number}"
    one = image(1, study=study)
    return replace(one, study=replace(one.study, study_date=f"2024010{number}", **attributes))


def found(store: SqlStudyStore, **narrowed: object) -> list[str]:
    studies = store.archive.studies(StudyFilter(**narrowed), limit=10, offset=0)
    return [one.attributes.study_instance_uid for one in studies]


def test_studies_come_newest_date_first_and_pages_join(store: SqlStudyStore) -> None:
    store.record(sent(*(of_patient(number) for number in (2, 3, 1))), now=NOON)
    pages = [store.archive.studies(StudyFilter(), limit=2, offset=offset) for offset in (0, 2)]
    assert [one.attributes.study_date for page in pages for one in page] == ["20240103", "20240102", "20240101"]


NAMES = ("Müller^Jörg", "Doe^Jane^^^", "Иванов^Иван", "O'Brien^Pat", "Fernández-Gómez^Ana", "")


@pytest.mark.parametrize(
    ("name", "numbers"),
    [("mueller", [1]), ("Maller J", [1]), ("jane", [2]), ("Ivanov", [3]), ("o'brian", [4]), ("gomez", [5]), ("x", [])],
)
def test_a_name_is_narrowed_fuzzily_and_never_leaves_out_a_match(
    store: SqlStudyStore, name: str, numbers: list[int]
) -> None:
    for number, patient_name in enumerate(NAMES, start=1):
        store.record(sent(of_patient(number, patient_name=patient_name)), now=NOON)
    assert sorted(found(store, name_like=name)) == [f"1.2.826.0.5.{number}" for number in numbers]


def test_a_name_that_an_older_writer_left_unindexed_is_let_through(store: SqlStudyStore) -> None:
    store.record(sent(of_patient(1, patient_name="Doe^Jane")), now=NOON)
    with writing(store._engine) as connection:
        connection.execute(sa.update(study).values(name_index=None))
    assert len(found(store, name_like="nobody")) == 1


def test_a_corrected_name_is_found_under_its_new_spelling(store: SqlStudyStore) -> None:
    store.record(sent(of_patient(1, patient_name="Doe^Jane")), now=NOON)
    other = of_patient(1, patient_name="Roe^Jane")
    store.record(sent(replace(other, digest="cd" * 32)), now=after(1))
    assert (len(found(store, name_like="roe")), len(found(store, name_like="doe"))) == (1, 0)


@given(st.text(max_size=12), st.text(max_size=6))
def test_an_index_holds_what_the_likeness_of_names_needs(name: str, key: str) -> None:
    index = index_of(name).lower()
    if is_like(name, key):
        assert all(any(each.lower() in index for each in word) for word in parts_of_index(key))
    assert is_like(name, name)


@pytest.mark.parametrize(
    ("pattern", "numbers"),
    [
        ("DOE*", [2, 1]),
        ("doe^jane", [1]),
        ("schmidt^*", []),
        ("MÜLLER^J?rg", [3]),
        ("100%", []),
        ("a_c\\", []),
    ],
)
def test_a_pattern_never_leaves_out_a_match(store: SqlStudyStore, pattern: str, numbers: list[int]) -> None:
    for number, name in enumerate(("Doe^Jane^^^", "DOE^John=X", "Müller^Jörg"), start=1):
        store.record(sent(of_patient(number, patient_name=name)), now=NOON)
    assert found(store, patterns={"patient_name": pattern}) == [f"1.2.826.0.5.{number}" for number in numbers]


@example(value="", key="===?")
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=st.text("aAbBäÄ^=%_\\[. ", max_size=6), key=st.text("aAbBäÄ^=*?%_\\[. ", max_size=5))
def test_whatever_matches_is_let_through_by_sql(store: SqlStudyStore, value: str, key: str) -> None:
    value, key = value.strip(), key.strip()
    groups = dict(zip(("Alphabetic", "Ideographic", "Phonetic"), value.split("="), strict=False))
    as_name = matches({"vr": "PN", "Value": [groups]}, key)
    as_text = matches({"vr": "LO", "Value": [value]}, key)
    with reading(store._engine) as connection:
        let_through = connection.scalar(sa.select(sa.literal(value).ilike(_like(key))))
    assert let_through or not (as_name or as_text)


def test_studies_are_narrowed_by_dates_uids_and_modalities_of_sources_and_results(store: SqlStudyStore) -> None:
    result = analyse(store)
    store.record(sent(of_patient(1), of_patient(2)), now=NOON)
    assert found(store, dates=("20240102", "")) == ["1.2.826.0.5.2"]
    assert found(store, dates=("20231231", "20240101")) == ["1.2.826.0.5.1"]
    assert found(store, study_instance_uids=[STUDY, "1.2.3"]) == [STUDY]
    assert found(store, sop_instance_uids=[f"{STUDY}.1.1"]) == [STUDY]
    assert found(store, sop_instance_uids=[result.objects[0].sop_instance_uid]) == [STUDY]
    assert found(store, series_instance_uids=[result.objects[1].series_instance_uid]) == [STUDY]
    assert found(store, modalities=["SEG"]) == [STUDY]
    assert set(found(store, modalities=["CT"])) == {STUDY, "1.2.826.0.5.1", "1.2.826.0.5.2"}
    assert found(store, modalities=["C"]) == []


def test_sources_and_results_are_counted_once_though_a_result_came_back(store: SqlStudyStore) -> None:
    result = analyse(store)
    seg, sr = result.objects
    back = report(
        7,
        sop_instance_uid=sr.sop_instance_uid,
        series_instance_uid=sr.series_instance_uid,
        sop_class_uid=sr.sop_class_uid,
    )
    store.record(sent(back), now=after(100))
    (study,) = store.archive.studies(StudyFilter(), limit=10, offset=0)
    assert (study.series_count, study.instance_count, study.modalities) == (3, 4, ("CT", "SEG", "SR"))
    stored = store.archive.instances(STUDY)
    assert [one.is_result for one in stored] == [False, False, True, True]
    assert {one.sop_instance_uid for one in stored[2:]} == {seg.sop_instance_uid, sr.sop_instance_uid}


def test_of_several_forms_of_the_same_lesions_viewers_get_one(store: SqlStudyStore) -> None:
    complete_study(store)
    lease, _ = lease_next(store)
    result, sha256s = a_result(forms=EVERY_FORM)
    store.freeze(lease, result, sha256s=sha256s, destinations=[], now=after(30))
    shown = [one.sop_instance_uid for one in store.archive.instances(STUDY) if one.is_result]
    assert shown == [one.sop_instance_uid for one in result.objects[:2]]
    (study,) = store.archive.studies(StudyFilter(), limit=10, offset=0)
    assert (study.series_count, study.instance_count) == (3, 4)
    label_map = result.objects[2]
    assert store.archive.instances(STUDY, label_map.series_instance_uid) == []
    assert found(store, sop_instance_uids=[label_map.sop_instance_uid]) == []


def test_of_two_contents_the_newest_stands_for_the_uid(store: SqlStudyStore) -> None:
    store.record(sent(image(2), image(1)), now=NOON)
    changed = image(1, content="changed", series_description="again")
    store.record(sent(changed), now=after(10))
    first, second = store.archive.instances(STUDY)
    assert (first.digest, second.sop_instance_uid) == (changed.digest, f"{STUDY}.1.2")
    (study,) = store.archive.studies(StudyFilter(), limit=10, offset=0)
    assert study.instance_count == 2


def test_instances_are_found_by_series_and_by_uid_in_order_of_their_numbers(store: SqlStudyStore) -> None:
    other = new_study_uid()
    store.record(sent(image(10), image(9), image(1, series=2), image(1, study=other)), now=NOON)
    assert [one.sop_instance_uid for one in store.archive.instances(STUDY, f"{STUDY}.1")] == [
        f"{STUDY}.1.9",
        f"{STUDY}.1.10",
    ]
    (one,) = store.archive.instances(STUDY, f"{STUDY}.2", f"{STUDY}.2.1")
    assert one.header is not None
    assert store.archive.instances(STUDY, f"{STUDY}.1", f"{STUDY}.2.1") == []
    assert store.archive.instances(other, None, f"{STUDY}.2.1") == []


def test_results_of_a_superseded_version_are_still_there(store: SqlStudyStore) -> None:
    first = analyse(store)
    complete_study(store, number=2, at=100)
    lease, _ = lease_next(store, at=120)
    second, sha256s = a_result()
    store.freeze(lease, second, sha256s=sha256s, destinations=[], now=after(130))
    uids = {one.sop_instance_uid for one in store.archive.instances(STUDY) if one.is_result}
    assert uids == {one.sop_instance_uid for result in (first, second) for one in result.objects}
