"""The demo's figures: the SEG is read back where it lies, and the counts and Dice are what they say."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image

from demo.comparison import compare_with_mask, compare_with_truth, read_segments
from demo.overlay import write_overlay
from demo.studies import TrueLesion
from dicom_samples.real_ct import Reference
from services.triage.volume import Volume
from services.worker.report import write_report
from tests.support.ct import ct_series
from tests.support.lesion_case import a_model, volume_of_series, with_balls

OBLIQUE = (0.6, 0.8, 0.0, 0.0, 0.0, -1.0)


def a_volume(**options: object) -> tuple[Volume, list[pydicom.Dataset]]:
    series = ct_series(slices=12, rows=40, columns=48, spacing_mm=(3.0, 1.0, 0.9), **options)
    return volume_of_series(series), series


def seg_of(volume: Volume, series: list[pydicom.Dataset], path: Path) -> np.ndarray:
    finding, labels = with_balls(volume, (0.95, 0.8), radius_mm=6)
    seg, _ = write_report(
        finding, model=a_model(), headers=series, volume=volume, label_map=labels, now=datetime.now(UTC)
    )
    path.write_bytes(seg.content)
    return labels


@pytest.mark.parametrize("orientation", [(1.0, 0, 0, 0, 1.0, 0), OBLIQUE])
def test_segments_are_read_back_voxel_by_voxel(tmp_path: Path, orientation: tuple[float, ...]):
    volume, series = a_volume(orientation=orientation)
    labels = seg_of(volume, series, tmp_path / "seg.dcm")

    segments = read_segments(tmp_path / "seg.dcm", volume)

    assert sorted(segments) == [1, 2]
    for number, mask in segments.items():
        np.testing.assert_array_equal(mask, labels == number)


def test_a_seg_of_another_grid_is_refused(tmp_path: Path):
    volume, series = a_volume()
    seg_of(volume, series, tmp_path / "seg.dcm")
    shifted, _ = a_volume(origin_mm=(-100.0, -120.0, 41.0))

    with pytest.raises(ValueError, match="grid"):
        read_segments(tmp_path / "seg.dcm", shifted)


def masks(*boxes: slice) -> list[np.ndarray]:
    found = []
    for box in boxes:
        mask = np.zeros((10, 4, 4), dtype=bool)
        mask[box] = True
        found.append(mask)
    return found


def test_dice_counts_lesions_that_touch_the_reference_and_the_others_are_false():
    (reference,) = masks(slice(0, 4))

    seen = compare_with_mask(masks(slice(2, 6), slice(8, 9)), Reference(mask=reference, affine=np.eye(4)))

    assert (seen.known, seen.found, seen.false_lesions) == (1, 1, 1)
    assert seen.dice == pytest.approx(2 * 2 / (4 + 4))


def test_without_a_touching_lesion_the_reference_is_missed_with_dice_zero():
    (reference,) = masks(slice(0, 4))

    seen = compare_with_mask(masks(slice(5, 6)), Reference(mask=reference, affine=np.eye(4)))

    assert (seen.found, seen.false_lesions, seen.dice) == (0, 1, 0.0)


def test_a_centroid_within_a_painted_lesion_finds_it_and_one_outside_is_false():
    truth = [
        TrueLesion(centre_lps_mm=(0, 0, 0), diameter_mm=20),
        TrueLesion(centre_lps_mm=(100, 0, 0), diameter_mm=20),
    ]

    seen = compare_with_truth([(0, 9.9, 0), (100, 10.1, 0), (0, -5, 0)], truth)

    assert (seen.known, seen.found, seen.false_lesions) == (2, 1, 1)


def test_a_negative_phantom_has_nothing_to_find_and_every_lesion_is_false():
    assert compare_with_truth([], []).false_lesions == 0
    assert compare_with_truth([(0, 0, 0)], []).false_lesions == 1


@pytest.mark.parametrize("with_lesions", [True, False])
def test_the_picture_outlines_what_was_found_and_only_that(tmp_path: Path, with_lesions: bool):
    volume, _ = a_volume()
    _, labels = with_balls(volume, (0.95,), radius_mm=6)
    segments = [labels == 1] if with_lesions else []

    write_overlay(tmp_path / "a.png", title="a study", volume=volume, segments=segments, reference=None)

    pixels = np.asarray(Image.open(tmp_path / "a.png"))
    assert (pixels == (255, 80, 60)).all(axis=2).any() == with_lesions
