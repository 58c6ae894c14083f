"""Temperature scaling: what it never changes, and that it finds a temperature that was planted."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, logit

from services.backends.inference.catalogue import Catalogue
from services.evaluation.calibrate import HOTTEST, Candidates, calibrate, fit_temperature
from services.evaluation.model_card import card_text, write_into
from services.triage.calibration import Isotonic, Method, Temperature
from services.triage.errors import ModelRefused
from services.worker.lesions import find_candidates
from tests.support.bundle import bright_spot_bundle
from tests.support.lesion_case import affine_of, segmentation_of, volume_of

SCORES = st.floats(0, 1)
TEMPERATURES = st.floats(1e-3, 1e3)
STEPS = 255 * 5000
"""A score is a mean of voxels that have one of 256 values each; of 5,000 of them in a lesion of 50 mL."""


def planted(temperature: float, *, candidates: int = 4000, seed: int = 1, per_study: int = 4) -> Candidates:
    """Right as often as p says, and told as p with its logit multiplied; in 255 steps, as the runner tells it."""
    draw = np.random.default_rng(seed)
    truth = draw.uniform(0.2, 0.95, candidates)
    return Candidates(
        scores=np.round(expit(logit(truth) * temperature) * 255) / 255,
        hits=(draw.uniform(size=candidates) < truth).astype(float),
        study=np.repeat(np.arange(candidates // per_study), per_study),
        studies=candidates // per_study,
    )


@given(SCORES)
def test_temperature_1_changes_nothing(score: float) -> None:
    assert Temperature(temperature=1, studies=1)(score) == pytest.approx(score, abs=1e-12)


@given(TEMPERATURES, st.integers(0, STEPS), st.integers(0, STEPS))
def test_no_two_scores_change_places_or_become_one(temperature: float, one: int, other: int) -> None:
    mapped = Temperature(temperature=temperature, studies=1)
    low, high = sorted((one, other))
    assert (mapped(low / STEPS) < mapped(high / STEPS)) == (low < high)


@given(TEMPERATURES, st.integers(1, 10_000))
def test_nor_do_neighbours_at_either_end_where_the_curve_is_flat_to_a_computer(temperature: float, step: int) -> None:
    mapped = Temperature(temperature=temperature, studies=1)
    assert mapped((step - 1) / STEPS) < mapped(step / STEPS)
    assert mapped(1 - step / STEPS) < mapped(1 - (step - 1) / STEPS)


@given(st.floats(min_value=0, exclude_min=True, allow_infinity=False), SCORES)
def test_whatever_the_temperature_it_is_a_probability_and_one_half_stays(temperature: float, score: float) -> None:
    mapped = Temperature(temperature=temperature, studies=1)
    assert 0 <= mapped(score) <= 1
    assert mapped(0.5) == pytest.approx(0.5)
    assert mapped(score) == pytest.approx(1 - mapped(1 - score), abs=1e-9)


@given(st.floats(1, 1e3), SCORES)
def test_above_1_it_says_less_and_below_1_more(temperature: float, score: float) -> None:
    less = Temperature(temperature=temperature, studies=1)(score)
    more = Temperature(temperature=1 / temperature, studies=1)(score)
    assert abs(less - 0.5) <= abs(score - 0.5) + 1e-12
    assert abs(more - 0.5) >= abs(score - 0.5) - 1e-12


def test_it_is_guos_but_for_half_a_step_at_the_ends() -> None:
    scores = np.linspace(0.01, 0.99, 99)
    for temperature in (0.5, 1.5, 3.0):
        mapped = Temperature(temperature=temperature, studies=1)
        guo = expit(logit(scores) / temperature)
        assert np.abs([mapped(float(score)) for score in scores] - guo).max() < 0.02


@pytest.mark.parametrize("temperature", [0.5, 0.8, 1.0, 1.5, 2.0, 3.0])
def test_a_planted_temperature_is_found(temperature: float) -> None:
    """Within a tenth, from 4,000 candidates; and what it says of others is right."""
    told = planted(temperature)
    fitted = calibrate(told, Method.TEMPERATURE)
    assert isinstance(fitted.calibration, Temperature)
    assert fitted.calibration.temperature == pytest.approx(temperature, rel=0.1)
    assert fitted.after.error.lower < 0.03
    if abs(np.log(temperature)) > 0.5:
        assert fitted.after.brier.value < fitted.before.brier.value
        assert fitted.after.error.upper < fitted.before.error.lower


@pytest.mark.parametrize("seed", range(5))
def test_scores_that_are_right_already_are_not_made_worse(seed: int) -> None:
    """Out of fold, beyond noise: a thousandth of a Brier score of 0.19, from 1,000 candidates."""
    fitted = calibrate(planted(1, candidates=1000, seed=seed), Method.TEMPERATURE)
    assert fitted.calibration.temperature == pytest.approx(1, abs=0.25)
    assert fitted.after.brier.value - fitted.before.brier.value < 0.001
    assert fitted.after.error.value < fitted.before.error.upper


def test_few_studies_get_a_temperature_and_many_of_another_shape_the_steps() -> None:
    chosen = [calibrate(planted(2, candidates=60, seed=seed)).method for seed in range(9)]
    assert chosen.count(Method.TEMPERATURE) >= 7
    told = planted(1)
    rarely = Candidates(
        scores=np.maximum(told.scores, 0.5),
        hits=told.hits * (told.scores > 0.8),
        study=told.study,
        studies=told.studies,
    )  # a candidate's score is above one half, and most of them are false
    fitted = calibrate(rarely)
    assert isinstance(fitted.calibration, Isotonic)
    assert fitted.method == min(fitted.brier, key=lambda each: fitted.brier[each]) == Method.ISOTONIC
    assert fitted.after.brier.value == pytest.approx(fitted.brier[Method.ISOTONIC])
    assert f"isotonic regression on 4000 candidates of {told.studies} studies" in card_text(fitted, calibrated=True)


def test_a_model_whose_candidates_are_mostly_false_gets_no_temperature() -> None:
    """None says less than one half of a score above it: what it would call a probability is twice too high."""
    told = planted(1)
    mostly_false = Candidates(
        scores=np.maximum(told.scores, 0.5),
        hits=told.hits * (told.study % 4 == 0),
        study=told.study,
        studies=told.studies,
    )
    with pytest.raises(ValueError, match="no temperature"):
        calibrate(mostly_false, Method.TEMPERATURE)
    assert calibrate(mostly_false).method is Method.ISOTONIC


def test_of_auto_is_said_which_and_by_what_and_of_a_method_that_was_asked_for_that_alone() -> None:
    told = planted(2, candidates=60, seed=0)
    auto, alone = calibrate(told), calibrate(told, Method.TEMPERATURE)
    assert auto.calibration == alone.calibration
    assert auto.after == alone.after, "judged by the same folds"
    text = card_text(auto, calibrated=False)
    assert f"temperature scaling (T = {auto.calibration.temperature:.3g}) on 60 candidates" in text
    assert f"{auto.brier[Method.TEMPERATURE]:.4f} by temperature scaling" in text
    assert f"{auto.brier[Method.ISOTONIC]:.4f} by isotonic regression" in text
    assert "Chosen" not in card_text(alone, calibrated=False)


def test_scores_that_tell_nothing_have_a_temperature_all_the_same() -> None:
    told = planted(1)
    assert fit_temperature(told.scores, 1 - told.hits, 1).temperature == HOTTEST
    assert fit_temperature(told.scores, (told.scores > 0.5).astype(float), 1).temperature < 0.1


def test_a_bundle_takes_it_and_the_worker_says_its_numbers(tmp_path: Path) -> None:
    bundle = bright_spot_bundle(tmp_path)
    raw = Catalogue(tmp_path).get("bright_spot")
    fitted = calibrate(planted(2, candidates=800), Method.TEMPERATURE)
    write_into(bundle, fitted, calibrated=True)
    stored = json.loads((bundle / "configs" / "triage.json").read_text())["calibration"]
    assert stored == {"temperature": fitted.calibration.temperature, "studies": 200}
    model = Catalogue(tmp_path).get("bright_spot")
    assert model.calibration == fitted.calibration
    assert model.thresholds.urgent == fitted.calibration(raw.thresholds.urgent) < raw.thresholds.urgent

    volume = volume_of(np.zeros((6, 12, 24)), affine_of())
    probability = np.zeros(volume.voxels.shape)
    for number, level in enumerate((255, 254, 204)):
        probability[2:4, 2:6, 8 * number : 8 * number + 4] = level
    segmentation = segmentation_of(probability > 0, probability)
    before, after = (find_candidates(segmentation, volume, one).lesions for one in (raw, model))
    assert [one.score for one in before] == [1, 254 / 255, 0.8]
    assert [one.score for one in after] == [fitted.calibration(one.score) for one in before]
    assert [one.centroid_lps_mm for one in after] == [one.centroid_lps_mm for one in before]
    assert after[0].score < 0.97


@pytest.mark.parametrize(
    ("stored", "said"),
    [
        ('{"temperature": 0, "studies": 200}', "temperature is 0.0: it must be finite and above 0"),
        ('{"temperature": -1.5, "studies": 200}', "it must be finite and above 0"),
        ('{"temperature": NaN, "studies": 200}', "it must be finite and above 0"),
        ('{"temperature": Infinity, "studies": 200}', "it must be finite and above 0"),
        ('{"temperature": "hot", "studies": 200}', "calibration.temperature.temperature: "),
        ('{"temperature": 1.5}', "calibration.temperature.studies: Field required"),
        (
            '{"temperature": 1.5, "studies": 200, "scores": [0, 1], "probabilities": [0.1, 0.9]}',
            "calibration.temperature.scores: Extra inputs are not permitted",
        ),
        ('{"temperature": 1.5, "studies": 199}', "on 199 studies: 200 are needed"),
        ('"hot"', "calibration.isotonic: "),
    ],
)
def test_what_is_no_temperature_is_refused_by_name(tmp_path: Path, stored: str, said: str) -> None:
    path = bright_spot_bundle(tmp_path, calibration="HERE", calibrated=True) / "configs" / "metadata.json"
    path.write_text(path.read_text().replace('"HERE"', stored))
    with pytest.raises(ModelRefused) as caught:
        Catalogue(tmp_path).get("bright_spot")
    assert (caught.value.reason.code, said in str(caught.value)) == ("bad_metadata", True), str(caught.value)


def test_metadata_from_before_there_were_temperatures_mean_what_they_meant(tmp_path: Path) -> None:
    stored = {"scores": [0, 0.5, 1], "probabilities": [0.1, 0.2, 0.9], "studies": 12}
    bright_spot_bundle(tmp_path, calibration=stored)
    calibration = Catalogue(tmp_path).get("bright_spot").calibration
    assert calibration == Isotonic(scores=(0, 0.5, 1), probabilities=(0.1, 0.2, 0.9), studies=12)
