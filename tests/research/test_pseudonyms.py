"""Pseudonyms: the same for the same key, nobody's for another; and what a key file must be."""

from datetime import date
from pathlib import Path

import pytest

from services.research.pseudonyms import KeyRefused, Pseudonyms, fingerprint, load_key, make_key
from services.triage.study import StudyAttributes

KEY, OTHER = bytes(range(32)), bytes(32)


def of(study: StudyAttributes, key: bytes = KEY, tenant: str = "") -> Pseudonyms:
    return Pseudonyms.of(key, study, tenant=tenant, keep_uids=False)


def study(uid: str = "2.25.1", patient_id: str = "4711", issuer: str = "") -> StudyAttributes:
    return StudyAttributes(study_instance_uid=uid, patient_id=patient_id, issuer_of_patient_id=issuer)


def test_a_patient_has_one_pseudonym_and_one_shift_in_every_study_and_export() -> None:
    first, second = of(study("2.25.1")), of(study("2.25.2"))
    assert (first.subject, first.shift) == (second.subject, second.shift)


@pytest.mark.parametrize("other", [study(patient_id="4712"), study(issuer="CLINIC")])
def test_another_id_or_issuer_is_another_patient(other: StudyAttributes) -> None:
    assert of(study()).subject != of(other).subject


def test_another_tenant_or_key_gives_other_pseudonyms() -> None:
    subjects = {of(study()).subject, of(study(), tenant="b").subject, of(study(), OTHER).subject}
    assert len(subjects) == 3
    assert of(study(), OTHER).uid("2.25.1") != of(study()).uid("2.25.1")


def test_two_studies_without_an_id_are_not_one_patient() -> None:
    assert of(study("2.25.1", patient_id="")).subject != of(study("2.25.2", patient_id="")).subject


def test_a_uid_is_the_same_for_every_patient_and_those_of_the_standard_stay() -> None:
    assert of(study()).uid("2.25.7") == of(study(patient_id="x")).uid("2.25.7") != "2.25.7"
    assert of(study()).uid("1.2.840.10008.5.1.4.1.1.2") == "1.2.840.10008.5.1.4.1.1.2"
    assert of(study()).uid("2.16.840.1.113883.3.4711.1").startswith("2.25.")
    assert len(of(study()).uid("2.25.7")) <= 64


def test_a_reader_is_the_same_person_however_the_name_is_written() -> None:
    assert of(study()).reader("Lovelace^Ada") == of(study()).reader("lovelace ada") != of(study()).reader("Ada")


def test_dates_move_back_by_a_month_at_least_and_never_before_the_year_one() -> None:
    pseudonyms = of(study())
    assert -3650 <= pseudonyms.shift.days <= -30
    assert pseudonyms.moved(date(1, 1, 2)) == date.min


def test_a_key_is_made_once_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "key"
    make_key(path)
    assert len(load_key(path)) == 32
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(KeyRefused, match="File exists"):
        make_key(path)


@pytest.mark.parametrize(
    ("content", "mode", "told"),
    [("00" * 31, 0o600, "31 bytes"), ("zz" * 32, 0o600, "hexadecimal"), ("00" * 32, 0o644, "chmod 600")],
)
def test_a_key_that_is_short_odd_or_for_all_eyes_is_refused(tmp_path: Path, content: str, mode: int, told: str) -> None:
    path = tmp_path / "key"
    path.write_text(content)
    path.chmod(mode)
    with pytest.raises(KeyRefused, match=told):
        load_key(path)


def test_the_fingerprint_tells_keys_apart_and_is_not_the_key() -> None:
    assert fingerprint(KEY) != fingerprint(OTHER)
    assert fingerprint(KEY) not in KEY.hex()
