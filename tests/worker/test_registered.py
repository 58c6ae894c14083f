"""Further series of a frame of reference on the grid of the primary."""

from dataclasses import replace

import numpy as np
import pytest

from services.triage.errors import NotAnalysed
from services.triage.volume import SliceSource, Volume
from services.worker.load.registered import on_one_grid

TILTED = np.array([[0.0, 0.26, 0.97, -20.0], [0.0, 0.97, -0.26, 10.0], [3.0, 0, 0, 5.0], [0, 0, 0, 1.0]])


def a_volume(affine: np.ndarray, shape: tuple[int, int, int], frame: str = "1.9") -> Volume:
    """A value that is linear in space: 10 + 2 x + y - 3 z (mm in LPS)."""
    index = np.stack(np.indices(shape), axis=-1)
    place = index @ affine[:3, :3].T + affine[:3, 3]
    voxels = (10 + place @ np.array([2.0, 1.0, -3.0])).astype(np.float32)
    sources = tuple(SliceSource(sop_class_uid="1.2", sop_instance_uid=f"1.{n}") for n in range(shape[0]))
    return Volume(
        voxels=voxels, affine=affine, modality="MR", study_instance_uid="1", series_instance_uid="1.1",
        frame_of_reference_uid=frame, sources=sources,
    )  # fmt: skip


PRIMARY = a_volume(np.array([[0.0, 0, 1, -10], [0, 1, 0, 12], [2, 0, 0, 8], [0, 0, 0, 1.0]]), (8, 9, 10))


def test_a_series_on_another_grid_has_its_values_where_they_are_in_the_patient() -> None:
    other = a_volume(TILTED, (14, 50, 50))
    first, second = on_one_grid(PRIMARY, [other, None]).inputs
    np.testing.assert_allclose(first, PRIMARY.voxels, atol=1e-3)
    assert second is PRIMARY.voxels


def test_a_series_on_the_same_grid_is_taken_as_it_is() -> None:
    other = replace(PRIMARY, voxels=PRIMARY.voxels * 2)
    assert on_one_grid(PRIMARY, [None, other]).inputs == (PRIMARY.voxels, other.voxels)


def test_beyond_a_series_lies_its_darkest_value() -> None:
    shorter = replace(PRIMARY, voxels=PRIMARY.voxels[:7], sources=PRIMARY.sources[:7])
    (resampled,) = on_one_grid(PRIMARY, [shorter]).inputs
    np.testing.assert_allclose(resampled[:7], PRIMARY.voxels[:7], atol=1e-4)
    assert (resampled[7] == PRIMARY.voxels[:7].min()).all()


@pytest.mark.parametrize("angle", np.linspace(0.1, 1.5, 8))
def test_the_outermost_slices_of_a_tilted_series_are_of_it(angle: float) -> None:
    """Where the two affines meet by their last digits only, no face of the volume is dark."""
    turned = np.array([[0, np.sin(angle), np.cos(angle)], [0, np.cos(angle), -np.sin(angle)], [1, 0, 0]])
    fine, coarse = np.eye(4), np.eye(4)
    fine[:3, :3], fine[:3, 3] = turned, (-33.3, 12.7, 8.1)
    coarse[:3, :3], coarse[:3, 3] = turned * [3, 1, 1], fine[:3, 3]
    primary, other = a_volume(fine, (7, 9, 10)), a_volume(coarse, (3, 9, 10))
    (resampled,) = on_one_grid(primary, [other]).inputs
    np.testing.assert_allclose(resampled, primary.voxels, atol=1e-3)


@pytest.mark.parametrize(("start_mm", "first"), [(2.0, 5.0), (2.5, 5.0), (2.6, 1.0)])
def test_a_slice_reaches_half_its_thickness_from_its_centre(start_mm: float, first: float) -> None:
    """Slices of 5 mm with the values 5, 1, 9, the first of them at `start_mm` above that of slices of 1 mm."""
    primary = a_volume(np.eye(4), (10, 9, 10))
    other = a_volume(np.diag([5.0, 1, 1, 1]), (3, 9, 10))
    other.affine[0, 3] = start_mm
    other.voxels[:] = np.array([5, 1, 9])[:, None, None]
    (resampled,) = on_one_grid(primary, [other]).inputs
    assert (resampled[0] == first).all()
    assert (resampled[1] == 5).all()


@pytest.mark.parametrize(
    ("other", "code"),
    [
        (replace(PRIMARY, frame_of_reference_uid="1.8"), "other_frame_of_reference"),
        (a_volume(PRIMARY.affine, (8, 9, 5)), "input_not_covered"),
    ],
)
def test_what_is_not_registered_or_covers_too_little_is_not_analysed(other: Volume, code: str) -> None:
    with pytest.raises(NotAnalysed) as caught:
        on_one_grid(PRIMARY, [other])
    assert caught.value.reason.code == code


def test_a_model_of_one_series_gets_the_volume_as_it_was() -> None:
    assert on_one_grid(PRIMARY, []) is PRIMARY
