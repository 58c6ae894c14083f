"""Mirrored runs beside answers known otherwise: of symmetric networks, and of volumes that are mirrored themselves."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.inferers import SimpleInferer, SliceInferer, SlidingWindowInferer
from tritonclient.grpc import InferenceServerClient

from services.backends.inference.catalogue import Catalogue
from services.backends.inference.flips import axes_of, mirrored_runs
from services.backends.inference.runner import BundleRunner
from services.backends.inference.wire import Report
from services.settings import Settings
from services.triage.errors import AnalysisCancelled, Reason
from services.triage.inference import InferenceMode
from services.triage.uncertainty import NOT_ON_GRID, NOT_SERVED, OUT_OF_MEMORY, TIME_LIMIT
from services.triage.volume import Segmentation, Volume
from tests.backends.test_runner import LINEAR, OBLIQUE, SIGMOID, THRESHOLD, a_bundle
from tests.backends.test_runner import a_volume as a_ball
from tests.support.bundle import bright_spot_bundle
from tests.support.spot import a_volume
from tests.support.triton import triton_server

PLENTY_S = 1000.0


def runner_of(bundle: Path, mode: InferenceMode = InferenceMode.REFERENCE) -> BundleRunner:
    return BundleRunner(bundle, Catalogue(bundle.parent).get(bundle.name), mode=mode)


def without(bundle: Path, transform: str, **sections: object) -> None:
    """Leave a transform out of a bundle's preprocessing, and put these sections into its inference config."""
    path = bundle / "configs" / "inference.json"
    config = json.loads(path.read_text())
    steps = config["preprocessing"]["transforms"]
    config["preprocessing"]["transforms"] = [one for one in steps if one["_target_"] != transform]
    path.write_text(json.dumps(config | sections))


def runs_of(segmentation: Segmentation) -> np.ndarray:
    assert isinstance(segmentation.mirrored, np.ndarray)
    return segmentation.mirrored


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), shape=st.tuples(*[st.integers(3, 9)] * 3))
def test_a_network_that_is_symmetric_gives_the_same_in_every_run(seed: int, shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(seed)
    kernel = torch.randn((1, 1, 3, 3, 3), generator=generator)
    for axis in (2, 3, 4):
        kernel = kernel + kernel.flip(axis)
    image = torch.randn((1, 1, *shape), generator=generator)

    def ask(asked: torch.Tensor, _: object) -> torch.Tensor:
        return torch.nn.functional.conv3d(asked, kernel, padding=1)

    def read(answer: torch.Tensor) -> np.ndarray:
        return answer.sigmoid().mul(255).round().to(torch.uint8).numpy().ravel()

    ordinary = ask(image, None)
    runs = mirrored_runs(
        image, ordinary.shape, axes=(2, 3, 4), ask=ask, read=read, any_tumour=True, once_s=0, within_s=PLENTY_S,
        check=lambda: None,
    )  # fmt: skip
    assert isinstance(runs, np.ndarray)
    off = np.abs(runs.astype(int) - read(ordinary).astype(int))
    assert off.max() <= 1  # a sum in another order


def test_a_network_that_sees_voxels_alone_gives_the_same_on_an_oblique_resampled_grid(tmp_path: Path) -> None:
    bundle = a_bundle(tmp_path / "models" / "tiny", [SIGMOID, LINEAR, THRESHOLD], 1)
    pointwise = {"_target_": "torch.nn.Conv3d", "in_channels": 1, "out_channels": 1, "kernel_size": 1}
    without(bundle, "none of them", network_def=pointwise)
    torch.save(
        {"weight": torch.full((1, 1, 1, 1, 1), 20.0), "bias": torch.tensor([-8.0])}, bundle / "models" / "model.pt"
    )
    segmentation = runner_of(bundle).run(a_ball(OBLIQUE), flips_within_s=PLENTY_S)
    ordinary = segmentation.tumour_probability[segmentation.labels > 0]
    assert ordinary.size
    runs = runs_of(segmentation)
    assert len(runs) == 3
    assert np.abs(runs.astype(int) - ordinary).max() <= 1  # windows add up in another order


def test_a_mirrored_run_is_the_run_on_a_mirrored_volume_mirrored_back(tmp_path: Path) -> None:
    bundle = a_bundle(tmp_path / "models" / "tiny", [SIGMOID, LINEAR, THRESHOLD], 1)
    without(bundle, "Spacingd")  # it would lay another grid over a mirrored volume
    runner, volume = runner_of(bundle), a_ball(OBLIQUE)
    segmentation = runner.run(volume, flips_within_s=PLENTY_S)
    tumour = segmentation.labels > 0
    ordinary = segmentation.tumour_probability[tumour]
    runs = runs_of(segmentation)
    # the network's x, y, z are columns, rows, slices here, whatever their directions: a mirror knows none
    for run, axis in zip(runs, (2, 1, 0), strict=True):
        theirs = runner.run(replace(volume, voxels=np.ascontiguousarray(np.flip(volume.voxels, axis))))
        np.testing.assert_array_equal(run, np.flip(theirs.tumour_probability, axis)[tumour])
        assert (run != ordinary).any()  # random weights are not symmetric


@pytest.mark.parametrize("mode", list(InferenceMode))
def test_labels_and_probability_of_every_volume_are_those_without_mirrored_runs(
    mode: InferenceMode, tmp_path: Path
) -> None:
    bundle = a_bundle(tmp_path / "models" / "tiny", [SIGMOID, LINEAR, THRESHOLD], 1)
    without(bundle, "none of them", inferer={"_target_": "SlidingWindowInferer", "roi_size": [32] * 3, "overlap": 0.25})
    plain, flipping = runner_of(bundle, mode), runner_of(bundle, mode)
    for shape in ((24, 40, 36), (30, 33, 41), (24, 40, 36)):
        volume = a_ball(shape=shape)
        once, again = plain.run(volume), flipping.run(volume, flips_within_s=PLENTY_S)
        np.testing.assert_array_equal(again.labels, once.labels)
        np.testing.assert_array_equal(again.tumour_probability, once.tumour_probability)
        assert again.inference == once.inference
        assert len(runs_of(again)) == 3


def test_slices_that_are_seen_one_by_one_are_not_put_in_another_order() -> None:
    assert axes_of(SimpleInferer()) == axes_of(SlidingWindowInferer(roi_size=(8, 8, 8))) == (2, 3, 4)
    assert axes_of(SliceInferer(roi_size=(8, 8), spatial_dim=2)) == (2, 3)
    assert axes_of(SliceInferer(roi_size=(8, 8), spatial_dim=0)) == (3, 4)


def asked(volume: torch.Tensor, answer: torch.Size, *, once_s: float = 0.0, within_s: float = 1.0) -> object:
    def never(*_: object) -> torch.Tensor:
        raise AssertionError("it was asked")

    return mirrored_runs(
        volume, answer, axes=(2, 3, 4), ask=never, read=never, any_tumour=True, once_s=once_s, within_s=within_s,
        check=lambda: None,
    )  # fmt: skip


def test_no_run_is_begun_whose_answer_would_lie_on_another_grid_or_come_too_late() -> None:
    image = torch.zeros(1, 1, 8, 8, 8)
    assert asked(image, torch.Size([1, 2, 4, 4, 4])) is NOT_ON_GRID
    assert asked(image, image.shape, once_s=0.5) is TIME_LIMIT


def test_runs_that_turn_out_slower_are_broken_off(tmp_path: Path) -> None:
    slow = "time.sleep(1) if inputs[0][..., 12:].max() > 0.9 else None"
    bundle = bright_spot_bundle(tmp_path / "models", name="slow_mirrored", hook=slow)
    segmentation = runner_of(bundle).run(a_volume(), flips_within_s=0.5)
    assert segmentation.mirrored is TIME_LIMIT
    assert segmentation.labels.any()


def test_mirrored_runs_are_cancelled_like_the_ordinary_one(tmp_path: Path) -> None:
    runner = runner_of(bright_spot_bundle(tmp_path / "models", windows_at_once=4))
    answers: list[bool] = []
    runner.run(a_volume(), cancelled=lambda: bool(answers.append(False)))
    late = iter([False] * (len(answers) + 1) + [True])
    with pytest.raises(AnalysisCancelled):
        runner.run(a_volume(), cancelled=lambda: next(late), flips_within_s=PLENTY_S)


def test_where_the_fast_mode_ran_out_of_memory_no_mirrored_run_judges_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def starved(*_: object) -> None:
        raise RuntimeError("std::bad_alloc")

    monkeypatch.setattr("services.backends.inference.fast.compile_network", starved)
    bundle = a_bundle(tmp_path / "models" / "tiny", [SIGMOID, LINEAR, THRESHOLD], 1)
    segmentation = runner_of(bundle, InferenceMode.FAST).run(a_ball(), flips_within_s=PLENTY_S)
    assert str(segmentation.inference) == "reference (out_of_memory)"
    assert segmentation.mirrored is OUT_OF_MEMORY


def test_the_runs_may_take_half_of_the_shorter_limit() -> None:
    limits = {"analysis_limit_s": 100, "triton_deadline_s": 60}
    assert Settings(**limits).flips_within_s is None
    assert Settings(uncertainty="flips", **limits).flips_within_s == 50
    assert Settings(uncertainty="flips", triton="127.0.0.1:8001", **limits).flips_within_s == 30


RUNS = np.arange(12, dtype=np.uint8).reshape(3, 4)


@pytest.mark.parametrize("mirrored", [None, TIME_LIMIT, RUNS, RUNS[:, :0]])
def test_a_report_travels_with_mirrored_runs_and_as_before_without(mirrored: np.ndarray | Reason | None) -> None:
    report = Report(bundle_sha256="0", timings_s={}, peak_memory_mb=None, mirrored=mirrored)
    assert ("mirrored" in json.loads(report.to_json())) is (mirrored is not None)
    told = Report.from_json(report.to_json()).mirrored
    if isinstance(mirrored, np.ndarray):
        np.testing.assert_array_equal(told, mirrored)
    else:
        assert told == mirrored


def test_a_triton_of_before_answers_as_before_and_that_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The parameter is taken off the request: an older server has never heard of it."""
    bright_spot_bundle(tmp_path / "models")
    ask, taken_off = InferenceServerClient.async_infer, []

    def deaf(client: InferenceServerClient, *given: Any, parameters: dict[str, int], **named: Any) -> Any:
        taken_off.append(parameters)
        return ask(client, *given, **named)

    monkeypatch.setattr(InferenceServerClient, "async_infer", deaf)
    with triton_server(tmp_path / "models", tmp_path) as server:
        segmenter = server.segmenter(flips_within_s=2)
        volume: Volume = a_volume()
        segmentation = segmenter.segment(volume, segmenter.model("bright_spot"))
    assert taken_off == [{"flips_within_s": 2}]
    assert segmentation.labels.any()
    assert segmentation.mirrored is NOT_SERVED
