"""What a patient registry has said holds over what images say: updates, merges, and messages in any order."""

from datetime import timedelta
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.triage.patient import AdtMessage, Demographics, PatientChange, PatientKey, Register, Stamp
from services.triage.study import StudyAttributes
from tests.support.records import NOON

A, B, C = (PatientKey(patient_id=name, issuer="NORTH") for name in "ABC")


def stamp(at: float, sender: str = "HIS") -> Stamp:
    return Stamp(at=NOON + timedelta(minutes=at), sender=sender)


def update(key: PatientKey, *, at: float = 0, sender: str = "HIS", **told: str) -> AdtMessage:
    change = PatientChange(keys=(key,), demographics=Demographics(**told))
    return AdtMessage(trigger_event="A08", control_id="1", stamp=stamp(at, sender), changes=(change,))


def merge(prior: PatientKey, surviving: PatientKey, *, at: float = 0, sender: str = "HIS", **told: str) -> AdtMessage:
    change = PatientChange(keys=(surviving,), demographics=Demographics(**told), merges=((prior, surviving),))
    return AdtMessage(trigger_event="A40", control_id="1", stamp=stamp(at, sender), changes=(change,))


def register(*messages: AdtMessage, default_issuer: str = "") -> Register:
    found = Register(default_issuer=default_issuer)
    for message in messages:
        found.apply(message)
    return found


def image(patient_id: str = "A", issuer: str = "NORTH", **told: str) -> StudyAttributes:
    told = {"patient_name": "Doe^Jane", "patient_birth_date": "19600102", "patient_sex": "F"} | told
    return StudyAttributes(
        study_instance_uid="1.2", patient_id=patient_id, issuer_of_patient_id=issuer, accession_number="A1", **told
    )


def test_an_update_changes_what_it_says_and_nothing_else() -> None:
    held = register(update(A, patient_name="Roe^Jane")).holds(image())
    assert held == image(patient_name="Roe^Jane")
    assert register(update(A, patient_name="Roe^Jane", patient_birth_date="", patient_sex="O")).holds(image()) == image(
        patient_name="Roe^Jane", patient_birth_date="", patient_sex="O"
    )


@pytest.mark.parametrize(
    ("told", "own", "held"),
    [
        ("1960", "19600102", "19600102"),
        ("196001", "19600102", "19600102"),
        ("1961", "19600102", ""),
        ("196002", "19600102", ""),
        ("1960", "", ""),
        ("", "19600102", ""),
        ("19600103", "19600102", "19600103"),
    ],
)
def test_a_birth_date_that_is_told_in_part_is_never_filled_up(told: str, own: str, held: str) -> None:
    found = register(update(A, patient_birth_date=told)).holds(image(patient_birth_date=own))
    assert found.patient_birth_date == held


@pytest.mark.parametrize(
    "other", [image(issuer="SOUTH"), image(issuer=""), image(patient_id=""), image(patient_id="a")], ids=str
)
def test_another_issuers_patient_is_left_alone(other: StudyAttributes) -> None:
    assert register(update(A, patient_name="Roe^Jane"), merge(A, B)).holds(other) == other


def test_an_id_without_issuer_is_of_the_default_one_and_stays_without() -> None:
    known = register(update(A, patient_name="Roe^Jane"), default_issuer="NORTH")
    assert known.holds(image(issuer="")) == image(issuer="", patient_name="Roe^Jane")
    known.apply(update(PatientKey(patient_id="A"), patient_sex="M", at=1))
    assert known.holds(image()).patient_sex == "M"
    known.apply(merge(A, B))
    assert (known.holds(image(issuer="")).patient_id, known.holds(image(issuer="")).issuer_of_patient_id) == ("B", "")
    elsewhere = PatientKey(patient_id="Z", issuer="SOUTH")
    known.apply(merge(B, elsewhere))
    assert known.holds(image(issuer="")).issuer_of_patient_id == "SOUTH"


def test_merged_ids_are_one_patient_whatever_the_order_of_the_messages() -> None:
    for messages in permutations([merge(A, B, at=1), merge(B, C, at=2), merge(A, B, at=1)]):
        known = register(*messages)
        assert {known.survivor(key) for key in (A, B, C)} == {C}


def test_the_survivor_is_named_as_it_was_told_last_and_else_as_those_before_it() -> None:
    known = register(update(A, patient_name="Roe^A", patient_sex="M"), merge(A, B), update(B, patient_name="Roe^B"))
    held = known.holds(image())
    assert (held.patient_id, held.patient_name, held.patient_sex) == ("B", "Roe^B", "M")


def test_a_merge_the_other_way_round_counts_if_it_is_newer() -> None:
    for messages in permutations([merge(A, B, at=1), merge(B, A, at=2)]):
        assert {register(*messages).survivor(key) for key in (A, B)} == {A}
    known = register(merge(A, B, at=1), merge(B, C, at=2), merge(C, A, at=3))
    assert {known.survivor(key) for key in (A, B, C)} == {A}


def test_what_is_older_changes_nothing_and_of_two_senders_who_comes_last_counts() -> None:
    known = register(update(A, patient_name="New", at=2))
    assert known.apply(update(A, patient_name="Old", at=1)) == []
    assert known.apply(update(A, patient_name="Other", at=1, sender="RIS")) != []
    assert known.holds(image()).patient_name == "Other"


def test_a_repetition_changes_nothing() -> None:
    known = register(update(A, patient_name="New"), merge(A, B))
    assert known.apply(update(A, patient_name="New")) == []
    assert known.apply(merge(A, B)) == []


KEYS = st.sampled_from([PatientKey(patient_id=name, issuer=issuer) for name in "ABCD" for issuer in ("", "NORTH", "S")])
MERGES = st.lists(st.tuples(KEYS, KEYS, st.integers(0, 5), st.sampled_from(["HIS", "RIS"])), max_size=12)


@given(MERGES, st.sampled_from(["", "NORTH"]))
def test_every_id_has_one_that_goes_on_after_any_merges(merges: list, default_issuer: str) -> None:
    known = Register(default_issuer=default_issuer)
    for prior, surviving, at, sender in merges:
        known.apply(merge(prior, surviving, at=at, sender=sender))
        for key in (prior, surviving):
            survivor = known.survivor(key)
            assert known.survivor(survivor) == survivor
            assert known[survivor].merged_into is None


@given(MERGES)
def test_of_one_sender_the_newest_merge_of_an_id_holds(merges: list) -> None:
    known = Register()
    for number, (prior, surviving, _, _) in enumerate(merges):
        known.apply(merge(prior, surviving, at=number))
    if merges:
        prior, surviving, *_ = merges[-1]
        assert known.survivor(prior) == known.survivor(surviving)
        again = [merge(prior, surviving, at=number) for number, (prior, surviving, _, _) in enumerate(merges)]
        assert [one for message in again for one in known.apply(message)] == []
