"""Whose study it is: what makes two patients, and what agrees."""

from dataclasses import replace

import pytest

from services.triage.identity import TWO_PATIENTS, agree, identity, two_patients
from services.triage.routing import plan_for_model
from services.triage.study import Instance, by_series
from tests.support.records import STUDY, image, report

SERIES = f"{STUDY}.1"


def of(number: int, *, instance: Instance | None = None, **told: str) -> Instance:
    one = instance or image(number)
    return replace(one, study=replace(one.study, **told))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"patient_id": "P1"}, {"patient_id": "P2"}),
        ({"issuer_of_patient_id": "NORTH"}, {"issuer_of_patient_id": "SOUTH"}),
        ({"patient_id": "P1", "issuer_of_patient_id": "NORTH"}, {"patient_id": "", "issuer_of_patient_id": "SOUTH"}),
    ],
)
def test_two_ids_or_one_id_of_two_issuers_are_two_patients(one, other):
    reason = two_patients([of(1, **one), of(2, **other)])
    assert reason is not None
    assert reason.code == TWO_PATIENTS
    assert not {word for told in (one, other) for word in told.values() if word} & set(reason.text.split())


@pytest.mark.parametrize(
    "other",
    [
        {},
        {"patient_id": ""},
        {"issuer_of_patient_id": ""},
        {"patient_name": "DOE^JANE MARY", "accession_number": "other"},
    ],
    ids=str,
)
def test_what_is_left_out_or_spelled_otherwise_makes_no_second_patient(other):
    assert (
        two_patients([of(1, issuer_of_patient_id="NORTH"), of(2, **{"issuer_of_patient_id": "NORTH"} | other)]) is None
    )


def test_only_images_tell_whose_a_study_is():
    ours = image(9, series=9, modality="SEG", manufacturer="Vigie")
    told = [of(1), of(2, instance=report(2), patient_id="P2"), of(9, instance=ours, patient_id="P3")]
    assert two_patients(told) is None
    assert agree(told, SERIES)


@pytest.mark.parametrize(
    "name", ["Doe^Jane^^^", "Doe^Jane=", "Doe^Jane^==", "Doe^Jane "], ids=["carets", "group", "both", "blank"]
)
def test_delimiters_that_a_writer_may_leave_out_are_no_other_name(name):
    assert identity(of(1).study) == identity(of(1, patient_name=name).study)


PATIENT = ["patient_id", "issuer_of_patient_id", "patient_name", "patient_birth_date", "patient_sex"]
ORDER = ["accession_number", "study_id"]


@pytest.mark.parametrize("keyword", PATIENT + ORDER)
def test_images_that_differ_in_what_a_result_is_filed_by_do_not_agree(keyword):
    assert agree([of(1), of(2)], SERIES)
    assert not agree([of(1), of(2, **{keyword: "other"})], SERIES)


@pytest.mark.parametrize(("keyword", "agreed"), [(one, False) for one in PATIENT] + [(one, True) for one in ORDER])
def test_another_series_may_be_of_another_order_but_of_no_other_patient(keyword, agreed):
    other_series = of(2, instance=image(2, series=2), **{keyword: "other"})
    assert agree([of(1), other_series], SERIES) is agreed


def test_a_study_of_two_patients_is_refused_whatever_series_would_suit():
    study = by_series([image(1), image(2), of(3, patient_id="P2")])
    (job,) = plan_for_model(study, "lung", "CT").jobs
    assert (job.series_instance_uid, job.refusal) == (None, two_patients(study[0].instances))
