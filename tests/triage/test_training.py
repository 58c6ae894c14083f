"""Training: whom a series may be shown to, what a round takes, and how sure an agreement is."""

from dataclasses import replace
from typing import Any

import pytest
from scipy.stats import binomtest

from services.triage.finding import Outcome
from services.triage.training import (
    BURNED_IN,
    FACE,
    MAY_BE_A_FACE,
    MAY_BE_BURNED_IN,
    SECONDARY_CAPTURE,
    Candidate,
    ImageFacts,
    Kind,
    Mix,
    agreement,
    choose,
    consensus,
    exclusion,
    pseudonym,
)
from services.triage.verdict import Truth

KEY = b"k" * 32
CHEST = ImageFacts(
    sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
    modality="CT",
    image_type=("ORIGINAL", "PRIMARY", "AXIAL"),
    text="CHEST Thorax 1.0 CT chest",
    positions_mm=(100.0,),
)


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ({}, None),
        ({"text": "Poumon"}, None),
        ({"burned_in": "YES"}, BURNED_IN),
        ({"burned_in": "NO", "overlaid": True}, BURNED_IN),
        ({"modality": "US", "text": "LIVER"}, MAY_BE_BURNED_IN),
        ({"modality": "US", "text": "LIVER", "burned_in": "NO"}, None),
        ({"modality": "DX"}, MAY_BE_BURNED_IN),
        ({"modality": "DX", "burned_in": "NO", "text": ""}, None),
        ({"sop_class_uid": SECONDARY_CAPTURE}, MAY_BE_BURNED_IN),
        ({"sop_class_uid": f"{SECONDARY_CAPTURE}.4"}, MAY_BE_BURNED_IN),
        ({"image_type": ("DERIVED", "SECONDARY", "SCREEN SAVE")}, MAY_BE_BURNED_IN),
        ({"text": "HEAD"}, FACE),
        ({"text": "CHEST whole_body PET CT"}, FACE),
        ({"text": "HEADNECK"}, FACE),
        ({"modality": "MR", "text": "BRAIN"}, FACE),
        ({"modality": "MR", "text": "CSPINE"}, FACE),
        ({"recognizable": "YES"}, FACE),
        ({"text": ""}, MAY_BE_A_FACE),
        ({"text": "Vol. 0.75 mm"}, MAY_BE_A_FACE),
        ({"text": "leadership"}, MAY_BE_A_FACE),
        ({"modality": "MR", "text": "hippocampus 3D"}, FACE),
        ({"text": "linear CHEST"}, None),
        ({"text": "Crâne 1 mm TDM cérébral et thoraco-abdomino-pelvien"}, FACE),
        ({"text": "Cra\u0302ne et thorax"}, FACE),
        ({"text": "Tête et thorax"}, FACE),
        ({"text": "CHEST TDM cérébrale"}, FACE),
        ({"text": "Encéphale + abdomen"}, FACE),
        ({"text": "TDM ORL thorax"}, FACE),
        ({"text": "Oreille_moyenne THORAX"}, FACE),
        ({"text": "Schädel Thorax"}, FACE),
        ({"text": "Kopf Thorax CT"}, FACE),
        ({"text": "Gesichtsschädel, Thorax"}, FACE),
        ({"text": "HNO / Thorax"}, FACE),
        ({"text": "Cráneo y tórax"}, FACE),
        ({"text": "CABEZA-TORAX"}, FACE),
        ({"text": "Testa, collo e torace CHEST"}, FACE),
        ({"text": "Massiccio facciale CHEST"}, FACE),
        ({"text": "Dentascan CHEST"}, FACE),
        ({"text": "Whole-Body CHEST"}, FACE),
        ({"text": "C-spine CHEST"}, FACE),
        ({"text": "Polytrauma Thorax"}, FACE),
        ({"text": "CHEST CrÃ¢ne"}, MAY_BE_A_FACE),
        ({"text": "CHEST Cr\ufffdne"}, MAY_BE_A_FACE),
        ({"text": "CHEST голова"}, MAY_BE_A_FACE),
        ({"text": "CHEST arms overhead"}, None),
        ({"text": "CHEST headless surface coil"}, None),
        ({"text": "Chest, incidental nodule"}, None),
        ({"text": "Lumbar facet joints"}, None),
        ({"text": "Thoracic spine"}, None),
        ({"text": "Thorax de face", "modality": "CR", "burned_in": "NO"}, None),
        ({"text": "TDM de la face, THORAX"}, FACE),
        ({"text": "CHEST Orlando"}, None),
        ({"modality": "MG", "burned_in": "NO", "text": "BREAST cranio-caudal"}, None),
    ],
)
def test_a_series_in_which_somebody_could_be_recognized_is_not_shown(told: dict[str, Any], why: object) -> None:
    assert exclusion([CHEST, replace(CHEST, **told)] if "text" not in told else [replace(CHEST, **told)]) is why


def test_a_chest_that_reaches_up_to_the_head_is_not_shown() -> None:
    assert exclusion([CHEST, replace(CHEST, positions_mm=(500.0,))]) is None
    assert exclusion([CHEST, replace(CHEST, positions_mm=(900.0,))]) is MAY_BE_A_FACE
    assert exclusion([replace(CHEST, positions_mm=(100.0, 900.0))]) is MAY_BE_A_FACE


def test_a_chest_of_which_nobody_knows_how_long_it_is_is_not_shown() -> None:
    assert exclusion([CHEST, replace(CHEST, positions_mm=())]) is MAY_BE_A_FACE
    assert exclusion([replace(CHEST, modality="DX", burned_in="NO", positions_mm=())]) is None


def candidate(number: int, outcome: Outcome, truth: Truth) -> Candidate:
    return Candidate(
        study_instance_uid=f"1.2.{number}",
        result_id=str(number),
        series_instance_uid=f"1.2.{number}.1",
        model_name="lung",
        outcome=outcome,
        truth=truth,
        readers=1,
    )


CANDIDATES = [
    candidate(number, outcome, truth)
    for number, (outcome, truth) in enumerate(
        [(Outcome.FOUND, Truth.PRESENT)] * 3
        + [(Outcome.NOTHING_FOUND, Truth.ABSENT)] * 12
        + [(Outcome.NOTHING_FOUND, Truth.PRESENT)] * 2
        + [(Outcome.EQUIVOCAL, Truth.ABSENT)]
    )
]


def test_a_round_is_of_the_kinds_that_were_asked_for() -> None:
    def kinds(mix: Mix, size: int = 50) -> list[Kind]:
        return sorted(one.kind for one in choose(CANDIDATES, mix, size, key=KEY))

    assert len(kinds(Mix.ANY)) == len(CANDIDATES)
    assert kinds(Mix.AI_WRONG) == [Kind.AI_FALSE_ALARM, Kind.AI_MISSED, Kind.AI_MISSED]
    assert set(kinds(Mix.LESIONS)) == {Kind.AI_FOUND, Kind.AI_MISSED}
    assert len(kinds(Mix.NORMAL)) == 13
    lesions = [kind in (Kind.AI_FOUND, Kind.AI_MISSED) for kind in kinds(Mix.BALANCED)]
    assert (len(lesions), sum(lesions)) == (10, 5)
    assert len(kinds(Mix.BALANCED, 4)) == 4


def test_the_order_of_a_round_is_its_keys() -> None:
    first = choose(CANDIDATES, Mix.ANY, 10, key=KEY)
    assert first == choose(list(reversed(CANDIDATES)), Mix.ANY, 10, key=KEY)
    assert first != choose(CANDIDATES, Mix.ANY, 10, key=b"other")


def test_readers_who_disagree_are_no_reference() -> None:
    assert consensus([Truth.PRESENT, Truth.UNKNOWN, Truth.PRESENT]) is Truth.PRESENT
    assert consensus([Truth.PRESENT, Truth.ABSENT]) is Truth.UNKNOWN
    assert consensus([]) is Truth.UNKNOWN


@pytest.mark.parametrize(("right", "answered"), [(8, 10), (0, 5), (50, 50), (1, 3)])
def test_the_interval_of_an_agreement_is_wilsons(right: int, answered: int) -> None:
    expected = binomtest(right, answered).proportion_ci(method="wilson")
    found = agreement(right, answered)
    assert (found.low, found.high) == (pytest.approx(expected.low, abs=1e-6), pytest.approx(expected.high, abs=1e-6))


def test_of_nothing_there_is_no_interval() -> None:
    assert agreement(0, 0).low is None


def test_a_pseudonym_is_a_uid_that_only_the_key_leads_to() -> None:
    real = "1.2.826.0.1.3680043.8.498.1"
    other = pseudonym(real, key=KEY)
    assert other == pseudonym(real, key=KEY)
    assert other != pseudonym(real, key=b"other")
    assert other.startswith("2.25.")
    assert len(other) <= 64
    assert real not in other
    assert pseudonym("1.2.840.10008.5.1.4.1.1.2", key=KEY) == "1.2.840.10008.5.1.4.1.1.2"
