"""What every Segmenter keeps: the same bundles, in this process and served by Triton."""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from services.backends.inference.bundle_code import outside_of_bundle
from services.backends.inference.catalogue import Catalogue
from services.backends.inference.embedded import EmbeddedSegmenter
from services.backends.inference.wire import SERVED_CPU
from services.triage.errors import AnalysisCancelled, AnalysisFailed, ModelRefused, Reason, VersionNotHere
from services.triage.ports import Segmenter
from services.triage.uncertainty import NO_CANDIDATE, OUT_OF_MEMORY, TIME_LIMIT
from tests.support.spot import SPOT, a_volume
from tests.support.triton import LOPSIDED_LOGIT, THREADS, WINDOW_S

SOON_S = 10.0


KINDS = ["embedded", "triton", "triton without shared memory"]


def opened(kind: str, request: pytest.FixtureRequest, **asked: float) -> Segmenter:
    if kind == "embedded":
        return EmbeddedSegmenter(Catalogue(request.getfixturevalue("segmenter_models")), threads=THREADS, **asked)
    return request.getfixturevalue("triton").segmenter(share_memory=kind == "triton", **asked)


@pytest.fixture(params=KINDS)
def segmenter(request: pytest.FixtureRequest) -> Segmenter:
    return opened(request.param, request)


@pytest.fixture(params=KINDS)
def flipping(request: pytest.FixtureRequest) -> Segmenter:
    """One that is asked for mirrored runs, which may take two seconds."""
    return opened(request.param, request, flips_within_s=2)


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
@pytest.mark.parametrize("name", ["bright_spot", "sliding"])
def test_labels_and_probability_lie_on_the_volumes_own_grid(segmenter: Segmenter, name: str, dtype: type) -> None:
    volume = a_volume(dtype=dtype)
    answer = segmenter.segment(volume, segmenter.model(name))
    spot = np.zeros(volume.voxels.shape, bool)
    spot[SPOT] = True
    np.testing.assert_array_equal(answer.labels, spot.astype(np.uint8))
    assert answer.tumour_probability.shape == volume.voxels.shape
    assert answer.tumour_probability[spot].min() > 240
    assert answer.tumour_probability[~spot].max() < 15
    assert set(answer.timings_s) - {SERVED_CPU} == {"preprocess", "infer", "postprocess"}
    assert answer.peak_memory_mb is None or answer.peak_memory_mb > 50
    answer.labels[0, 0, 0] = 1  # the answer is the caller's own


def test_a_model_is_found_by_name_and_version_and_one_that_is_missing_is_told_apart(segmenter: Segmenter) -> None:
    standing = segmenter.model("bright_spot")
    assert standing.identity.name == "bright_spot"
    assert segmenter.model("bright_spot", "") == segmenter.model("bright_spot", standing.identity.version) == standing
    with pytest.raises(VersionNotHere):
        segmenter.model("bright_spot", "99")
    with pytest.raises(ModelRefused) as caught:
        segmenter.model("no_such")
    assert caught.value.reason.code == "unknown_model"


def test_several_series_are_channels_in_their_order(segmenter: Segmenter) -> None:
    volume = a_volume()
    before = volume.voxels.astype(np.float32)
    before[SPOT][:, ::2] = -1000
    both = replace(volume, inputs=(volume.voxels, before))
    answer = segmenter.segment(both, segmenter.model("difference"))
    expected = np.zeros(volume.voxels.shape, np.uint8)
    expected[SPOT][:, ::2] = 1
    np.testing.assert_array_equal(answer.labels, expected)


def test_it_is_ready_although_one_of_its_models_cannot_be_used(segmenter: Segmenter) -> None:
    assert segmenter.model("unfit").identity.name == "unfit"
    segmenter.require_ready()


def test_answers_follow_their_questions(segmenter: Segmenter) -> None:
    for shape in ((24, 32, 30), (12, 40, 41), (30, 21, 20)):
        assert segmenter.segment(a_volume(shape), segmenter.model("bright_spot")).labels.shape == shape


def test_when_memory_runs_out_fewer_windows_are_tried_at_once(segmenter: Segmenter) -> None:
    answer = segmenter.segment(a_volume(), segmenter.model("hungry"))
    assert answer.labels[SPOT].all()


def test_no_memory_for_one_window_is_a_coded_failure(segmenter: Segmenter) -> None:
    with pytest.raises(AnalysisFailed) as caught:
        segmenter.segment(a_volume(), segmenter.model("starved"))
    assert caught.value.reason.code == "out_of_memory"


@pytest.mark.parametrize("name", ["broken", "undefined"])
def test_a_network_that_breaks_is_a_coded_failure_and_harms_no_other_volume(segmenter: Segmenter, name: str) -> None:
    with pytest.raises(AnalysisFailed) as caught:
        segmenter.segment(a_volume(), segmenter.model(name))
    assert caught.value.reason.code == "runner_failed"
    assert segmenter.segment(a_volume(), segmenter.model("bright_spot")).labels.any()


def test_a_bundle_that_cannot_be_loaded_is_refused(segmenter: Segmenter) -> None:
    with pytest.raises(ModelRefused, match=r"model\.pt"):
        segmenter.segment(a_volume(), segmenter.model("unfit"))


def test_cancelling_ends_the_work_where_it_is_done(segmenter: Segmenter) -> None:
    slow, begun = segmenter.model("slow"), time.monotonic()
    with pytest.raises(AnalysisCancelled):
        # more than 300 windows: minutes
        segmenter.segment(a_volume((40, 64, 64)), slow, cancelled=lambda: time.monotonic() - begun > 1)
    # the one instance is free again
    assert segmenter.segment(a_volume((9, 20, 15)), slow).labels.any()
    assert time.monotonic() - begun < SOON_S + 12 * WINDOW_S


def test_who_does_not_cancel_is_answered(segmenter: Segmenter) -> None:
    asked = []
    answer = segmenter.segment(a_volume((9, 20, 15)), segmenter.model("slow"), cancelled=lambda: bool(asked.append(1)))
    assert asked
    assert answer.labels.any()


def test_a_trusted_bundles_own_code_runs_in_triton_only(segmenter: Segmenter) -> None:
    scripted = segmenter.model("scripted")
    if isinstance(segmenter, EmbeddedSegmenter):
        with pytest.raises(ModelRefused) as caught:
            segmenter.segment(a_volume(), scripted)
        assert caught.value.reason.code == "runs_only_in_triton"
    else:
        assert segmenter.segment(a_volume(), scripted).labels[SPOT].all()


def test_a_pickle_that_an_untrusted_bundle_has_read_is_not_unpickled(
    segmenter: Segmenter, segmenter_models: Path
) -> None:
    assert outside_of_bundle(segmenter_models / "unpickling") == ()
    with pytest.raises(ModelRefused, match="ConfigExpression"):
        segmenter.segment(a_volume(), segmenter.model("unpickling"))
    assert not (segmenter_models / "unpickling" / "unpickled").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_mirrored_runs_tell_of_the_tumour_voxels_and_change_nothing(kind: str, request: pytest.FixtureRequest) -> None:
    segmenter, flipping = opened(kind, request), opened(kind, request, flips_within_s=2)
    volume, model = a_volume(), segmenter.model("lopsided")
    once, again = segmenter.segment(volume, model), flipping.segment(volume, model)
    np.testing.assert_array_equal(again.labels, once.labels)
    np.testing.assert_array_equal(again.tumour_probability, once.tumour_probability)
    assert once.mirrored is None
    unsure = round(255 / (1 + np.exp(-LOPSIDED_LOGIT)))
    assert isinstance(again.mirrored, np.ndarray)
    assert again.mirrored.shape == (3, np.count_nonzero(again.labels))
    np.testing.assert_array_equal(again.mirrored[:, 0], [255, 255, unsure])  # along x, y and the slices
    np.testing.assert_array_equal(again.mirrored, again.mirrored[:, :1].repeat(again.mirrored.shape[1], axis=1))
    assert set(again.timings_s) - set(once.timings_s) == {"uncertainty"}


@pytest.mark.parametrize(
    ("name", "voxels", "why"),
    [
        ("starved_mirrored", SPOT, OUT_OF_MEMORY.code),
        ("broken_mirrored", SPOT, "run_failed"),
        ("undefined_mirrored", SPOT, "run_failed"),
        ("slow", SPOT, TIME_LIMIT.code),
        ("bright_spot", None, NO_CANDIDATE.code),
    ],
)
def test_what_keeps_mirrored_runs_from_an_end_is_coded_and_costs_no_result(
    flipping: Segmenter, name: str, voxels: tuple[slice, ...] | None, why: str
) -> None:
    volume = a_volume()
    if voxels is None:
        volume = replace(volume, voxels=np.full_like(volume.voxels, 40))
    answer = flipping.segment(volume, flipping.model(name))
    spot = np.zeros(volume.voxels.shape, np.uint8)
    if voxels is not None:
        spot[voxels] = 1
    np.testing.assert_array_equal(answer.labels, spot)
    assert isinstance(answer.mirrored, Reason)
    assert answer.mirrored.code == why
