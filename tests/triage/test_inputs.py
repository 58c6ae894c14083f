"""Which series of a study are the inputs of a model that looks at several at once."""

import pytest

from services.triage.contrast import has_contrast
from services.triage.inputs import with_inputs
from services.triage.job import JobPlan
from services.triage.model import ModelInput
from services.triage.study import Series
from tests.triage.test_routing import series

BRATS = tuple(ModelInput(name=name, modality="MR") for name in ("T1c", "T1", "T2", "FLAIR"))
FRAME = "1.9"


def mr(uid: str, words: str, **attributes: object) -> Series:
    told = {"modality": "MR", "frame_of_reference_uid": FRAME, "series_description": words} | attributes
    return series(uid, slices=20, **told)


STUDY = [
    mr("1.1", "t2_tirm_tra_dark-fluid"),
    mr("1.2", "t1_mprage_tra_iso post Gd"),
    mr("1.3", "AX T2 TSE"),
    mr("1.4", "t1 se tra"),
    mr("1.5", "ep2d_diff_3scan_trace"),
]


def planned(study: list[Series], chosen: str = "1.4", inputs: tuple[ModelInput, ...] = BRATS) -> JobPlan:
    return with_inputs(JobPlan(model_name="brain", series_instance_uid=chosen), study, inputs)


def test_the_inputs_are_found_by_their_descriptions_in_the_order_of_the_models_channels() -> None:
    plan = planned(STUDY)
    assert plan.input_series == ("1.2", "1.4", "1.3", "1.1")
    assert plan.series_instance_uid == "1.4", "the series that routing chose stays the primary"


def test_without_an_input_among_the_planned_the_first_input_is_the_primary() -> None:
    assert planned(STUDY, chosen="1.5").series_instance_uid == "1.2"


@pytest.mark.parametrize(
    ("absent", "told"), [("1.2", "missing T1c"), ("1.4", "missing T1"), ("1.3", "missing T2"), ("1.1", "missing FLAIR")]
)
def test_a_missing_input_is_told_by_its_name(absent: str, told: str) -> None:
    refusal = planned([one for one in STUDY if one.series_instance_uid != absent]).refusal
    assert refusal is not None
    assert (refusal.code, refusal.text) == ("missing_input", told)


def test_all_missing_inputs_are_told() -> None:
    refusal = planned(STUDY[:1]).refusal
    assert refusal is not None
    assert refusal.text == "missing T1c, T1, T2"


def test_the_contrast_agent_tells_what_the_description_does_not() -> None:
    study = [*(one for one in STUDY if one.series_instance_uid != "1.2"), mr("1.6", "AX T1", contrast_bolus_agent="Gd")]
    assert planned(study).input_series == ("1.6", "1.4", "1.3", "1.1")


@pytest.mark.parametrize(
    "none", ["NONE", "NO", "n", "C-", "N/A", "Without contrast", "sans injection", "nativ", "0 ml"]
)
def test_a_series_that_says_it_has_no_contrast_agent_is_not_the_one_with_it(none: str) -> None:
    rest = [one for one in STUDY if one.series_instance_uid not in ("1.2", "1.4")]
    plain = mr("1.6", "SAG T1 MPRAGE", contrast_bolus_agent=none)
    study = [*rest, plain, mr("1.7", "AX T1 SE", contrast_bolus_agent="Gadovist")]
    assert planned(study).input_series == ("1.7", "1.6", "1.3", "1.1")


@pytest.mark.parametrize("words", ["SAG T1 CUBE +C", "T1_MPRAGE_C+", "SAG T1 BRAVO + Gd", "T1 CUBE GADO", "T1 POST"])
@pytest.mark.parametrize("agent", ["", "NONE"])
def test_a_description_tells_the_contrast_agent_that_its_field_does_not(words: str, agent: str) -> None:
    rest = [one for one in STUDY if one.series_instance_uid != "1.2"]
    assert planned([*rest, mr("1.6", words, contrast_bolus_agent=agent)]).input_series == ("1.6", "1.4", "1.3", "1.1")


@pytest.mark.parametrize("agent", ["Gadovist", "Non-ionic", "0.1 mmol/kg Dotarem", "YES", "C+", "contraste no iónico"])
def test_whatever_else_is_told_of_an_agent_is_one(agent: str) -> None:
    assert has_contrast(mr("1.1", "T1", contrast_bolus_agent=agent).header)


@pytest.mark.parametrize("protocol", ["BRAIN C-/C+", "BRAIN +/- C", "Brain W/WO", "HEAD W AND W/O"])
def test_a_protocol_with_and_without_tells_nothing_of_a_series(protocol: str) -> None:
    told = {"protocol_name": protocol}
    study = [*STUDY[::2], mr("1.6", "AX T1 SE", **told), mr("1.7", "AX T1 SE", contrast_bolus_agent="Gd", **told)]
    assert planned(study).input_series == ("1.7", "1.6", "1.3", "1.1")


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("T1 pre contrast", "T1"), ("AX T1 +C", "T1c"), ("T1w", "T1"), ("T1 KM", "T1c"), ("T1ce", "T1c"),
        ("3D T1 MPRAGE without Gd", "T1"), ("sag T2 FLAIR", "FLAIR"), ("t2w tse", "T2"), ("AX T1 FLAIR", "T1"),
        ("T1 C-", "T1"), ("T1 -C", "T1"), ("AX T1 W/O CONTRAST", "T1"), ("T1 C-SPINE C+", "T1c"),
        ("T1 injecté", "T1c"), ("FLAIR nativ", "FLAIR"), ("T1 nativ", "T1"), ("t1_vibe_gado", "T1c"),
    ],
)  # fmt: skip
def test_words_of_brain_mr(words: str, name: str) -> None:
    found = [one.name for one in BRATS if planned([mr("1.1", words)], "1.1", (one,)).refusal is None]
    assert found == [name]


@pytest.mark.parametrize("words", ["T2*", "t2_star_swi", "ADC", "localizer T1", "perfusion"])
def test_what_is_no_input(words: str) -> None:
    assert all(planned([mr("1.1", words)], "1.1", (one,)).refusal for one in BRATS)


def test_a_series_in_another_frame_of_reference_is_no_input_though_it_fits() -> None:
    moved = [one for one in STUDY if one.series_instance_uid != "1.3"] + [mr("1.7", "T2", frame_of_reference_uid="1.8")]
    refusal = planned(moved).refusal
    assert refusal is not None
    assert refusal.code == "other_frame_of_reference"
    assert "T2" in refusal.text
    assert planned([*moved, STUDY[2]]).input_series == ("1.2", "1.4", "1.3", "1.1"), "the one that is registered"


def test_own_patterns_hold_over_the_usual_words() -> None:
    inputs = (
        ModelInput(name="arterial", modality="CT", patterns=(r"\barter",)),
        ModelInput(name="portal", modality="CT", patterns=(r"\b(portal|venous)",)),
    )
    study = [
        series("1.1", series_description="venous 3mm", frame_of_reference_uid=FRAME),
        series("1.2", series_description="Arterial 3mm", frame_of_reference_uid=FRAME),
    ]
    assert planned(study, "1.1", inputs).input_series == ("1.2", "1.1")


def test_a_model_of_one_series_and_a_refusal_stay_as_they_are() -> None:
    plan = JobPlan(model_name="m", series_instance_uid="1.4")
    assert with_inputs(plan, STUDY, ()) is plan
    refused = planned(STUDY[:1])
    assert with_inputs(refused, STUDY, BRATS) is refused
