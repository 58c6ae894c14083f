"""What every Segmenter keeps: the same bundles, in this process and served by Triton."""

import time

import numpy as np
import pytest

from services.backends.inference.catalogue import Catalogue
from services.backends.inference.embedded import EmbeddedSegmenter
from services.backends.inference.wire import SERVED_CPU
from services.triage.errors import AnalysisCancelled, AnalysisFailed, ModelRefused
from services.triage.model import Model
from services.triage.ports import Segmenter
from tests.support.spot import SPOT, a_volume
from tests.support.triton import THREADS, WINDOW_S

SOON_S = 10.0


@pytest.fixture(params=["embedded", "triton", "triton without shared memory"])
def segmenter(request: pytest.FixtureRequest, segmenter_models) -> Segmenter:
    if request.param == "embedded":
        return EmbeddedSegmenter(Catalogue(segmenter_models), threads=THREADS)
    return request.getfixturevalue("triton").segmenter(share_memory=request.param == "triton")


def model(segmenter: Segmenter, name: str) -> Model:
    return next(one for one in segmenter.models() if one.identity.name == name)


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
@pytest.mark.parametrize("name", ["bright_spot", "sliding"])
def test_labels_and_probability_lie_on_the_volumes_own_grid(segmenter: Segmenter, name: str, dtype: type) -> None:
    volume = a_volume(dtype=dtype)
    answer = segmenter.segment(volume, model(segmenter, name))
    spot = np.zeros(volume.voxels.shape, bool)
    spot[SPOT] = True
    np.testing.assert_array_equal(answer.labels, spot.astype(np.uint8))
    assert answer.tumour_probability.shape == volume.voxels.shape
    assert answer.tumour_probability[spot].min() > 240
    assert answer.tumour_probability[~spot].max() < 15
    assert set(answer.timings_s) - {SERVED_CPU} == {"preprocess", "infer", "postprocess"}
    assert answer.peak_memory_mb is None or answer.peak_memory_mb > 50
    answer.labels[0, 0, 0] = 1  # the answer is the caller's own


def test_it_is_ready_although_one_of_its_models_cannot_be_used(segmenter: Segmenter) -> None:
    assert "unfit" in {one.identity.name for one in segmenter.models()}
    segmenter.require_ready()


def test_answers_follow_their_questions(segmenter: Segmenter) -> None:
    for shape in ((24, 32, 30), (12, 40, 41), (30, 21, 20)):
        assert segmenter.segment(a_volume(shape), model(segmenter, "bright_spot")).labels.shape == shape


def test_when_memory_runs_out_fewer_windows_are_tried_at_once(segmenter: Segmenter) -> None:
    answer = segmenter.segment(a_volume(), model(segmenter, "hungry"))
    assert answer.labels[SPOT].all()


def test_no_memory_for_one_window_is_a_coded_failure(segmenter: Segmenter) -> None:
    with pytest.raises(AnalysisFailed) as caught:
        segmenter.segment(a_volume(), model(segmenter, "starved"))
    assert caught.value.reason.code == "out_of_memory"


def test_a_network_that_breaks_is_a_coded_failure_and_harms_no_other_volume(segmenter: Segmenter) -> None:
    with pytest.raises(AnalysisFailed) as caught:
        segmenter.segment(a_volume(), model(segmenter, "broken"))
    assert caught.value.reason.code == "runner_failed"
    assert segmenter.segment(a_volume(), model(segmenter, "bright_spot")).labels.any()


def test_a_bundle_that_cannot_be_loaded_is_refused(segmenter: Segmenter) -> None:
    with pytest.raises(ModelRefused, match=r"model\.pt"):
        segmenter.segment(a_volume(), model(segmenter, "unfit"))


def test_cancelling_ends_the_work_where_it_is_done(segmenter: Segmenter) -> None:
    slow, begun = model(segmenter, "slow"), time.monotonic()
    with pytest.raises(AnalysisCancelled):
        # more than 300 windows: minutes
        segmenter.segment(a_volume((40, 64, 64)), slow, cancelled=lambda: time.monotonic() - begun > 1)
    # the one instance is free again
    assert segmenter.segment(a_volume((9, 20, 15)), slow).labels.any()
    assert time.monotonic() - begun < SOON_S + 12 * WINDOW_S


def test_who_does_not_cancel_is_answered(segmenter: Segmenter) -> None:
    asked = []
    answer = segmenter.segment(a_volume((9, 20, 15)), model(segmenter, "slow"), cancelled=lambda: bool(asked.append(1)))
    assert asked
    assert answer.labels.any()
