"""Calibration on simulated scores of which the truth is known."""

import errno
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.backends.files import durable
from services.backends.inference.catalogue import Catalogue
from services.backends.inference.registration import content_sha256, is_trusted
from services.evaluation.calibrate import Candidates, calibrate, fit_isotonic, reliability
from services.evaluation.model_card import bars, write_into
from services.triage.calibration import Isotonic, Method
from services.triage.errors import ModelRefused, OutOfResources
from services.triage.finding import assess
from services.worker.lesions import find_candidates
from tests.support.bundle import bright_spot_bundle, trusted_bundle
from tests.support.lesion_case import a_model, affine_of, segmentation_of, volume_of


def simulated(studies: int, *, seed: int = 1, per_study: int = 4) -> Candidates:
    """Overconfident: of what is said to be right with probability p, p squared is."""
    draw = np.random.default_rng(seed)
    scores = draw.uniform(0.5, 1, studies * per_study)
    hits = (draw.uniform(size=len(scores)) < scores**2 * 0.6).astype(float)
    return Candidates(scores=scores, hits=hits, study=np.repeat(np.arange(studies), per_study), studies=studies)


def test_the_error_falls_on_studies_that_it_was_not_fitted_on() -> None:
    fitted = calibrate(simulated(250), Method.ISOTONIC)
    assert fitted.before.error.value == pytest.approx(0.75 - 0.6 * 7 / 12, abs=0.04)  # E[p] - 0.6 E[p^2] on [0.5, 1]
    assert fitted.after.error.value is not None
    assert fitted.after.error.upper < 0.15 < fitted.before.error.lower
    assert fitted.after.brier.upper < fitted.before.brier.lower
    fresh = simulated(2000, seed=2)
    said = np.array([fitted.calibration(score) for score in fresh.scores])
    assert reliability(said, fresh).error.value < 0.06


def test_out_of_fold_is_no_better_than_it_is() -> None:
    """Scores that mean nothing, few studies: in sample isotonic regression would seem to know."""
    draw = np.random.default_rng(3)
    told = Candidates(
        scores=draw.uniform(size=60), hits=(draw.uniform(size=60) < 0.5).astype(float), study=np.arange(60), studies=60
    )
    fitted = calibrate(told, Method.ISOTONIC)
    in_sample = reliability(np.array([fitted.calibration(score) for score in told.scores]), told)
    assert in_sample.brier.value < 0.25 < fitted.after.brier.value


def test_candidates_of_one_study_narrow_no_bar_of_the_diagram() -> None:
    """Each study ten times over, and its candidates alike: it tells no more than once."""
    once = simulated(100, per_study=1)
    tenfold = Candidates(
        scores=np.repeat(once.scores, 10), hits=np.repeat(once.hits, 10), study=np.repeat(once.study, 10), studies=100
    )
    for one, ten in zip(reliability(once.scores, once).bins, reliability(tenfold.scores, tenfold).bins, strict=True):
        assert (ten.observed.value, ten.observed.n) == (one.observed.value, 100)
        narrow, wide = (each.observed.upper - each.observed.lower for each in (ten, one))
        assert narrow == pytest.approx(wide, rel=0.1)


@pytest.mark.parametrize("hits", [np.ones(20), np.arange(20) % 2])
def test_where_one_study_has_all_candidates_of_a_bar_there_is_no_interval(hits: np.ndarray) -> None:
    told = Candidates(scores=np.linspace(0.1, 0.9, 40), hits=np.tile(hits, 2), study=np.arange(40) // 20, studies=2)
    bins = reliability(told.scores, told).bins
    assert {(one.observed.lower, one.observed.upper, one.observed.n) for one in bins} == {(None, None, 4)}
    assert np.isnan(bars(bins)).all()


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=2, max_size=60))
def test_the_map_rises_strictly_between_0_and_1(told: list[tuple[float, bool]]) -> None:
    scores, hits = (np.array(column, dtype=float) for column in zip(*told, strict=True))
    mapped = fit_isotonic(scores, hits, 1)
    values = [mapped(float(score)) for score in np.unique(np.concatenate([scores, [0, 0.5, 1]]))]
    assert all(0 <= value <= 1 for value in values)
    assert all(low <= high for low, high in pairwise(values))


@pytest.mark.parametrize("scores", [(0.0, 0.5), (0.0, 0.5, 0.5, 1.0), (0.1, 1.0)])
def test_a_map_that_would_lose_the_order_is_refused(scores: tuple[float, ...]) -> None:
    with pytest.raises(ValueError):
        Isotonic(scores=scores, probabilities=tuple(np.linspace(0.1, 0.9, len(scores))), studies=200)


def test_too_few_candidates_are_refused() -> None:
    with pytest.raises(ValueError, match="too few to calibrate on"):
        calibrate(simulated(4))


def test_a_bundle_with_it_says_other_numbers_and_decides_the_same(tmp_path: Path) -> None:
    bundle = bright_spot_bundle(tmp_path)
    raw = Catalogue(tmp_path).get("bright_spot")
    for _ in range(2):
        write_into(bundle, calibrate(simulated(250), Method.ISOTONIC), calibrated=True)
    model = Catalogue(tmp_path).get("bright_spot")
    assert model.calibrated
    assert model.calibration is not None
    assert model.thresholds.detect == model.calibration(raw.thresholds.detect) != raw.thresholds.detect

    volume = volume_of(np.zeros((12, 24, 24)), affine_of())
    for score in (0.2, 0.299, 0.31, 0.59, 0.61, 0.71, 0.89, 0.91, 1.0):
        probability = np.zeros(volume.voxels.shape)
        probability[4:8, 8:16, 8:16] = round(score * 255)
        probability[4:8, 20:22, 20:22] = round(0.25 * 255)
        says = [
            assess(
                find_candidates(segmentation_of(probability > 0, probability), volume, one).lesions,
                one.thresholds,
                calibrated=one.calibrated,
            )
            for one in (raw, model)
        ]
        assert says[0].outcome is says[1].outcome
        assert says[0].flag is says[1].flag
        assert [one.centroid_lps_mm for one in says[0].lesions] == [one.centroid_lps_mm for one in says[1].lesions]
        assert says[1].score == pytest.approx(model.calibration(says[0].score))

    card = (bundle / "calibration" / "README.md").read_text()
    assert card.count("## Calibration") == 1
    assert "1000 candidates of 250 studies" in card
    assert (bundle / "calibration" / "calibration.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("beside", [True, False])
def test_its_own_files_stay_as_they_came_so_that_it_is_the_same_bundle_and_trusted(
    tmp_path: Path, beside: bool
) -> None:
    bundle = trusted_bundle(tmp_path)
    section = json.loads((bundle / "configs" / "metadata.json").read_text())["triage"]
    if beside:
        (bundle / "configs" / "triage.json").write_text(json.dumps({**section, "min_slices": 5}))
    before = content_sha256(bundle)
    write_into(bundle, calibrate(simulated(100)), calibrated=False)
    assert (content_sha256(bundle), is_trusted(bundle)) == (before, True)
    model = Catalogue(tmp_path).get("scripted")
    assert (model.calibrated, model.calibration.studies, model.min_slices) == (False, 100, 5 if beside else 3)


def test_whoever_reads_while_it_is_written_reads_all_or_nothing_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = bright_spot_bundle(tmp_path)
    write_into(bundle, calibrate(simulated(100)), calibrated=False)
    before, digest = Catalogue(tmp_path).get("bright_spot"), content_sha256(bundle)
    written = durable._write_synced

    def on_a_full_disk(content: bytes, path: Path) -> None:
        written(content[:10], path)
        assert (Catalogue(tmp_path).get("bright_spot"), content_sha256(bundle)) == (before, digest)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(durable, "_write_synced", on_a_full_disk)
    with pytest.raises(OutOfResources, match="No space left"):
        write_into(bundle, calibrate(simulated(200)), calibrated=True)
    assert Catalogue(tmp_path).get("bright_spot") == before


def test_a_bundle_that_calls_itself_calibrated_on_too_few_is_refused(tmp_path: Path) -> None:
    bundle = bright_spot_bundle(tmp_path)
    write_into(bundle, calibrate(simulated(199)), calibrated=True)
    with pytest.raises(ModelRefused, match="on 199 studies: 200 are needed"):
        Catalogue(tmp_path).get("bright_spot")


def test_a_bundle_that_calls_itself_calibrated_says_on_how_many(tmp_path: Path) -> None:
    bright_spot_bundle(tmp_path, name="bare", calibrated=True)
    with pytest.raises(ModelRefused, match=r"without a `calibration`.*{\"temperature\": 1, \"studies\": N}") as refusal:
        Catalogue(tmp_path).get("bare")
    assert refusal.value.reason.code == "bad_metadata"
    raw = bright_spot_bundle(tmp_path, name="told", calibrated=True, calibration={"temperature": 1, "studies": 200})
    model = Catalogue(tmp_path).get(raw.name)
    assert (model.calibrated, model.thresholds.detect) == (True, pytest.approx(0.6))


def test_without_a_calibration_scores_are_what_they_were() -> None:
    volume = volume_of(np.zeros((6, 8, 8)), affine_of())
    probability = np.zeros(volume.voxels.shape)
    probability[2:4, 2:6, 2:6] = 204
    (lesion,) = find_candidates(segmentation_of(probability > 0, probability), volume, a_model()).lesions
    assert lesion.score == 0.8
