"""What is measured of a volume, on bodies of which the answer is known."""

import time

import numpy as np
import pytest

from services.triage.expectation import Attribute, Measure
from services.triage.study import InstanceHeader
from services.worker.measure import observe
from tests.support.lesion_case import affine_of, volume_of

HEADER = InstanceHeader(
    sop_class_uid="2.25.1",
    sop_instance_uid="2.25.2",
    series_instance_uid="2.25.3",
    study_instance_uid="2.25.4",
    transfer_syntax_uid="2.25.5",
    slice_thickness_mm=3.5,
    body_part_examined="CHEST",
    convolution_kernel="B30f",
)
SPACING = (3.0, 2.0, 2.0)


def a_chest(shape: tuple[int, int, int] = (30, 160, 200)) -> np.ndarray:
    """A body of 300 x 200 mm with two round lungs of 80 mm and a spine of 40 mm, on a table, in air."""
    _, rows, columns = shape
    y, x = np.meshgrid((np.arange(rows) - rows / 2) * 2.0, (np.arange(columns) - columns / 2) * 2.0, indexing="ij")
    plane = np.full((rows, columns), -1000)
    plane[(x / 150) ** 2 + (y / 100) ** 2 < 1] = 40
    for side in (-70, 70):
        plane[(x - side) ** 2 + y**2 < 40**2] = -850
    plane[x**2 + (y - 70) ** 2 < 20**2] = 700
    plane[(y > 120) & (y < 126) & (abs(x) < 180)] = 100
    return np.repeat(plane[None], shape[0], axis=0).astype(np.int16)


def numbers_of(voxels: np.ndarray, spacing=SPACING, modality: str = "CT", **geometry) -> dict[Measure, float]:
    volume = volume_of(voxels, affine_of(spacing, **geometry), modality=modality)
    return dict(observe(volume, HEADER).numbers)


def test_lung_bone_and_cross_section_are_those_of_the_body_without_its_table() -> None:
    numbers = numbers_of(a_chest())
    body_cm2, lung_cm2, bone_cm2 = np.pi * 150, 2 * np.pi * 16, np.pi * 4
    assert numbers[Measure.BODY_AREA_CM2] == pytest.approx(body_cm2, rel=0.04)
    assert numbers[Measure.LUNG_PERCENT] == pytest.approx(100 * lung_cm2 / body_cm2, rel=0.05)
    assert numbers[Measure.LUNG_ML] == pytest.approx(lung_cm2 * 9.0, rel=0.05)
    assert numbers[Measure.BONE_PERCENT] == pytest.approx(100 * bone_cm2 / body_cm2, rel=0.1)


def test_extent_and_intensities_are_told_for_any_modality_and_content_for_ct_alone() -> None:
    numbers = numbers_of(a_chest(), modality="MR")
    assert numbers[Measure.EXTENT_MM] == pytest.approx(90)
    assert numbers[Measure.FIELD_OF_VIEW_MM] == pytest.approx(320)
    assert numbers[Measure.SLICE_SPACING_MM] == pytest.approx(3)
    assert numbers[Measure.PIXEL_SPACING_MM] == pytest.approx(2)
    assert numbers[Measure.SLICE_THICKNESS_MM] == 3.5
    assert (numbers[Measure.LOW_INTENSITY], numbers[Measure.HIGH_INTENSITY]) == (-1000, 700)
    assert Measure.LUNG_PERCENT not in numbers


def test_a_coronal_series_shows_the_same_body() -> None:
    axial = numbers_of(a_chest())
    rotation = np.array([[0, 0, 1], [1, 0, 0], [0, -1, 0]])  # slices from front to back, rows from head to feet
    coronal = np.ascontiguousarray(a_chest().transpose(1, 0, 2)[:, ::-1])
    numbers = numbers_of(coronal, (2.0, 3.0, 2.0), rotation=rotation)
    for measure in (Measure.LUNG_PERCENT, Measure.BODY_AREA_CM2, Measure.BONE_PERCENT):
        assert numbers[measure] == pytest.approx(axial[measure], rel=0.02), measure


@pytest.mark.parametrize("value", [0, -1000, 40])
def test_a_constant_volume_has_no_lung(value: int) -> None:
    numbers = numbers_of(np.full((20, 64, 64), value, dtype=np.int16))
    assert numbers[Measure.LUNG_PERCENT] == 0
    assert numbers[Measure.LOW_INTENSITY] == numbers[Measure.HIGH_INTENSITY] == value
    assert np.isfinite(list(numbers.values())).all()


def test_words_are_those_of_the_header() -> None:
    words = observe(volume_of(a_chest(), affine_of(SPACING)), HEADER).words
    assert words == {Attribute.BODY_PART_EXAMINED: "CHEST", Attribute.CONVOLUTION_KERNEL: "B30f"}


def test_it_is_cheap() -> None:
    """512 x 512 x 300: half a second is the promise; twice of it where other tests run beside."""
    volume = volume_of(np.broadcast_to(np.int16(-850), (300, 512, 512)).copy(), affine_of((1.0, 0.7, 0.7)))
    begin = time.thread_time()
    observe(volume, HEADER)
    assert time.thread_time() - begin < 0.5
