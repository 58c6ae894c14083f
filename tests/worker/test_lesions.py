"""Lesions in voxels: shapes with known answers, on upright, oblique and anisotropic grids."""

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from services.triage.errors import Reason
from services.triage.lesion import Lesion
from services.triage.uncertainty import NO_CANDIDATE, TIME_LIMIT, Spread, Uncertainty
from services.triage.volume import Volume
from services.worker.lesions import find_candidates, score_of, uncertainty_of
from tests.support.ellipse import chord_mm, short_axis_bound
from tests.support.lesion_case import (
    LESION,
    LUNG,
    SECOND_LESION,
    a_model,
    affine_of,
    ellipsoid,
    segmentation_of,
    volume_of,
)

# A voxel whose centre lies exactly on the border makes the error one whole voxel: a hair of room for rounding.
ONE_VOXEL = 1.0001
SPACINGS = [(1.0, 1.0, 1.0), (2.5, 0.8, 0.7), (5.0, 0.57, 0.57), (0.7, 0.9, 1.6)]


def an_empty_volume(shape: tuple[int, int, int], spacing_mm: tuple[float, float, float], turn_deg: float = 0) -> Volume:
    """A volume whose slice, row and column directions are turned about a skew axis."""
    rotation = Rotation.from_rotvec(np.radians(turn_deg) * np.array([1, 2, 3]) / np.sqrt(14)).as_matrix()
    upright = np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0]])
    return volume_of(np.zeros(shape), affine_of(spacing_mm, rotation=rotation @ upright))


def the_only_lesion(mask: np.ndarray, volume: Volume, *, min_volume_ml: float = 0.0) -> Lesion:
    found = find_candidates(segmentation_of(mask, mask * 200), volume, a_model(min_volume_ml=min_volume_ml))
    (lesion,) = found.lesions
    return lesion


def chord_across(lesion: Lesion, volume: Volume, radii_mm: np.ndarray) -> float:
    """The longest chord of an ellipse at right angles to the lesion's long axis, which in voxels may lean a little."""
    return chord_mm(np.array(lesion.long_axis_ends)[:, 1:], volume.spacing_mm[1:], radii_mm)


def diameter_bound(radii_voxels: Sequence[float]) -> float:
    """In voxels: one, and at each end the depth of a tip that passes between voxel centres (worker/diameters.py)."""
    tips = [radius / (4 * min(np.delete(radii_voxels, axis)) ** 2) for axis, radius in enumerate(radii_voxels)]
    return ONE_VOXEL + 2 * max(tips)


@settings(max_examples=25, deadline=None)
@example(spacing_mm=(2.5, 0.8, 0.7), radii_voxels=(9.5625, 6.0, 6.0), offset=(0.0, 0.0, 0.0), turn_deg=0.0)
@example(spacing_mm=(1.0, 1.0, 1.0), radii_voxels=(11.0, 12.0, 8.6875), offset=(0.0, 0.0, 0.0), turn_deg=0.0)
@given(
    spacing_mm=st.sampled_from(SPACINGS),
    radii_voxels=st.tuples(*[st.floats(6, 12)] * 3),
    offset=st.tuples(*[st.floats(-0.5, 0.5)] * 3),
    turn_deg=st.floats(0, 90),
)
def test_an_ellipsoid_is_measured_right_on_any_grid(spacing_mm, radii_voxels, offset, turn_deg):
    volume = an_empty_volume((30, 30, 30), spacing_mm, turn_deg)
    radii_mm = np.multiply(radii_voxels, spacing_mm)
    centre = np.add(14.5, offset)

    lesion = the_only_lesion(ellipsoid(volume, centre, radii_mm), volume)

    assert lesion.volume_ml == pytest.approx(4 / 3 * np.pi * np.prod(radii_mm) / 1000, rel=0.03)
    pixel_mm = max(spacing_mm[1:]) * ONE_VOXEL
    bound = diameter_bound(radii_voxels)
    assert lesion.long_axis_mm == pytest.approx(2 * max(radii_mm[1:]), abs=max(spacing_mm[1:]) * bound)
    assert lesion.max_diameter_3d_mm == pytest.approx(2 * max(radii_mm), abs=max(spacing_mm) * bound)
    # where the long axis of a nearly round lesion leans, so does the short one; the bound: services/worker/diameters.py
    short_axis_mm, short_bound = chord_across(lesion, volume, radii_mm[1:]), short_axis_bound(radii_voxels[1:])
    assert lesion.short_axis_mm == pytest.approx(short_axis_mm, abs=short_bound * pixel_mm)
    distance_voxels = np.linalg.solve(volume.affine[:3, :3], lesion.centroid_lps_mm - volume.to_lps_mm(centre))
    assert np.abs(distance_voxels).max() < 0.5


@pytest.mark.parametrize("spacing_mm", SPACINGS)
@pytest.mark.parametrize("turn_deg", [0, 20, 45])
def test_a_sphere_of_five_centimetres_is_measured_right_on_any_grid(spacing_mm, turn_deg):
    shape = tuple(int(60 / step) + 1 for step in spacing_mm)
    volume = an_empty_volume(shape, spacing_mm, turn_deg)
    centre = [(n - 1) / 2 for n in shape]

    lesion = the_only_lesion(ellipsoid(volume, centre, [25] * 3), volume)

    assert lesion.volume_ml == pytest.approx(65.45, rel=0.03)
    assert lesion.long_axis_mm == pytest.approx(50, abs=max(spacing_mm[1:]) * ONE_VOXEL)
    assert lesion.short_axis_mm == pytest.approx(50, abs=max(spacing_mm[1:]) * ONE_VOXEL)
    assert lesion.max_diameter_3d_mm == pytest.approx(50, abs=max(spacing_mm) * ONE_VOXEL)
    assert lesion.centroid_lps_mm == pytest.approx(volume.to_lps_mm(centre), abs=min(spacing_mm) / 2)


def test_an_ellipse_that_lies_askew_in_the_plane_has_its_own_axes():
    volume = an_empty_volume((3, 80, 80), (3.0, 0.5, 0.5))
    row, column = np.ogrid[:80, :80]
    along, across = (row - 40) * 0.8 + (column - 40) * 0.6, (column - 40) * 0.8 - (row - 40) * 0.6
    mask = np.zeros((3, 80, 80), bool)
    mask[1] = (along / 30) ** 2 + (across / 12) ** 2 <= 1

    lesion = the_only_lesion(mask, volume)

    assert (lesion.long_axis_mm, lesion.short_axis_mm) == pytest.approx((30, 12), abs=0.5)


def test_the_axes_are_those_of_the_slice_where_the_long_axis_is_longest():
    volume = an_empty_volume((6, 40, 40), (1.0, 1.0, 1.0))
    mask = np.zeros((6, 40, 40), bool)
    mask[1:5, 10:20, 10:20] = True  # the bulk
    mask[3, 15, 10:36] = True  # one slice with a long tail

    lesion = the_only_lesion(mask, volume)

    assert lesion.slice_range == (1, 4)
    assert lesion.key_slice == 3
    assert lesion.long_axis_mm == pytest.approx(26, abs=1)
    (slice_index, row, column), (_, last_row, last_column) = sorted(lesion.long_axis_ends, key=lambda end: end[2])
    assert slice_index == 3
    assert np.hypot(last_row - row, last_column - column) == pytest.approx(lesion.long_axis_mm)
    assert mask[3, round(last_row), round(last_column - 0.5)]


def test_limbs_that_meet_only_in_another_slice_are_measured_each_by_itself():
    """A lesion that forks: bridged in its first slice, its limbs lie 40 pixels apart in its last."""
    volume = an_empty_volume((6, 40, 60), (5.0, 0.8, 0.8))
    mask = np.zeros((6, 40, 60), bool)
    mask[0, 13, 26:34] = True
    for index in range(1, 6):
        mask[index, 10:18, 22 - 4 * index : 30 - 4 * index] = mask[index, 10:18, 30 + 4 * index : 38 + 4 * index] = True
    mask[5, 10:18, 58] = True  # one limb is the longer there
    limb = mask.copy()
    limb[:5], limb[5, :, :30] = False, False

    lesion, alone = the_only_lesion(mask, volume), the_only_lesion(limb, volume)

    assert lesion.long_axis_mm == pytest.approx(0.8 * np.hypot(9, 7))
    for measure in ("long_axis_mm", "short_axis_mm", "key_slice", "long_axis_ends"):
        assert getattr(lesion, measure) == getattr(alone, measure), measure
    assert lesion.max_diameter_3d_mm > 0.8 * 56


def test_one_voxel_is_as_long_as_it_is_wide():
    volume = an_empty_volume((3, 3, 3), (2.0, 0.8, 0.5))
    mask = np.zeros((3, 3, 3), bool)
    mask[1, 1, 1] = True

    lesion = the_only_lesion(mask, volume)

    assert (lesion.long_axis_mm, lesion.short_axis_mm, lesion.max_diameter_3d_mm) == pytest.approx((0.8, 0.5, 2.0))
    assert lesion.volume_ml == pytest.approx(0.0008)


def test_voxels_that_touch_at_a_corner_are_one_lesion():
    volume = an_empty_volume((4, 4, 4), (1.0, 1.0, 1.0))
    mask = np.zeros((4, 4, 4), bool)
    mask[1, 1, 1] = mask[2, 2, 2] = True

    assert the_only_lesion(mask, volume).volume_ml == pytest.approx(0.002)


def test_touching_voxels_of_two_tumour_classes_are_two_lesions_and_organs_are_none():
    volume = an_empty_volume((3, 4, 4), (1.0, 1.0, 1.0))
    labels = np.full((3, 4, 4), LUNG)
    labels[1, 1, 1], labels[1, 1, 2] = LESION, SECOND_LESION

    found = find_candidates(segmentation_of(labels, labels * 50), volume, a_model())

    assert [lesion.class_value for lesion in found.lesions] == [SECOND_LESION, LESION]


def test_what_is_smaller_than_the_models_minimum_is_no_lesion():
    volume = an_empty_volume((5, 5, 5), (1.0, 1.0, 1.0))
    mask = np.zeros((5, 5, 5), bool)
    mask[2, 2, 1:4] = True
    segmentation = segmentation_of(mask, mask * 200)

    assert find_candidates(segmentation, volume, a_model(min_volume_ml=0.0031)).lesions == ()
    assert not find_candidates(segmentation, volume, a_model(min_volume_ml=0.0031)).label_map.any()
    assert len(find_candidates(segmentation, volume, a_model(min_volume_ml=0.003)).lesions) == 1


@pytest.mark.parametrize("label", [0, LUNG])
def test_without_tumour_voxels_there_are_no_lesions(label):
    volume = an_empty_volume((3, 4, 4), (1.0, 1.0, 1.0))

    found = find_candidates(segmentation_of(np.full((3, 4, 4), label), np.zeros((3, 4, 4))), volume, a_model())

    assert found.lesions == ()
    assert not found.label_map.any()


def test_lesions_are_numbered_by_falling_score_then_volume_then_position():
    volume = an_empty_volume((3, 9, 20), (1.0, 1.0, 1.0))
    probability = np.zeros((3, 9, 20), np.uint8)
    probability[1, 1, 2] = 100
    probability[1, 7, 6] = 200
    probability[1, 5, 6] = 200
    probability[1, 1, 12:14] = 200
    labels = probability > 0

    found = find_candidates(segmentation_of(labels, probability), volume, a_model())

    in_order = [found.label_map[at] for at in [(1, 1, 12), (1, 5, 6), (1, 7, 6), (1, 1, 2)]]
    assert in_order == [1, 2, 3, 4]
    assert [lesion.number for lesion in found.lesions] == [1, 2, 3, 4]
    assert len({lesion.tracking_uid for lesion in found.lesions}) == 4


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_the_label_map_and_the_lesions_tell_the_same(data):
    shape = (4, 7, 6)
    labels = np.array(data.draw(st.lists(st.sampled_from([0, 0, 0, LESION, LUNG]), min_size=168, max_size=168)))
    labels = labels.reshape(shape)
    volume = an_empty_volume(shape, (2.5, 0.8, 0.7), 20)
    probability = np.random.default_rng(0).integers(0, 256, shape)

    found = find_candidates(segmentation_of(labels, probability), volume, a_model())

    assert ((found.label_map > 0) == (labels == LESION)).all()
    assert set(np.unique(found.label_map)) - {0} == {lesion.number for lesion in found.lesions}
    for lesion in found.lesions:
        mask = found.label_map == lesion.number
        slices = np.flatnonzero(mask.any(axis=(1, 2)))
        assert lesion.volume_ml == pytest.approx(mask.sum() * 1.4 / 1000)
        assert lesion.slice_range == (slices[0], slices[-1])
        assert lesion.score == pytest.approx(score_of(probability[mask].astype(np.uint8)))
        assert lesion.short_axis_mm <= lesion.long_axis_mm + 1e-9


def test_the_label_map_of_fewer_lesions_holds_those_alone():
    volume = an_empty_volume((3, 4, 8), (1.0, 1.0, 1.0))
    probability = np.zeros((3, 4, 8), np.uint8)
    probability[1, 1, 1], probability[1, 1, 4] = 200, 100
    found = find_candidates(segmentation_of(probability > 0, probability), volume, a_model())

    kept = found.label_map_of(found.lesions[:1])

    assert kept[1, 1, 1] == 1
    assert np.count_nonzero(kept) == 1
    assert found.label_map_of(found.lesions) is found.label_map


def test_the_score_is_the_mean_of_the_top_tenth():
    assert score_of(np.arange(200, dtype=np.uint8)) == pytest.approx(np.arange(180, 200).mean() / 255)


def test_the_score_of_few_voxels_is_the_mean_of_the_best_eight():
    assert score_of(np.array([255] * 8 + [0] * 40, np.uint8)) == 1.0
    assert score_of(np.array([255, 0, 0], np.uint8)) == pytest.approx(1 / 3)


def test_the_intensity_is_that_of_the_source_under_the_lesion():
    mask = np.zeros((3, 4, 4), bool)
    mask[1, 1, 1:3] = True
    volume = volume_of(np.where(mask, np.arange(48).reshape(3, 4, 4) * 100, -1000), affine_of())

    lesion = the_only_lesion(mask, volume)

    assert lesion.mean_intensity == 2150
    assert lesion.sd_intensity == 50


def test_more_than_255_lesions_keep_their_numbers():
    volume = an_empty_volume((1, 40, 60), (1.0, 1.0, 1.0))
    mask = np.zeros((1, 40, 60), bool)
    mask[0, ::2, ::2] = True

    found = find_candidates(segmentation_of(mask, mask * 200), volume, a_model())

    assert len(found.lesions) == 600
    assert found.label_map.max() == 600


def test_a_segmentation_on_another_grid_is_refused():
    volume = an_empty_volume((3, 4, 4), (1.0, 1.0, 1.0))
    with pytest.raises(ValueError, match="not on the grid"):
        find_candidates(segmentation_of(np.zeros((3, 4, 5)), np.zeros((3, 4, 5))), volume, a_model())


def test_a_large_volume_with_many_specks_takes_little_time():
    volume = an_empty_volume((300, 512, 512), (1.0, 0.7, 0.7))
    labels = np.zeros(volume.voxels.shape, np.uint8)
    labels[::3, 10, 20] = labels[::3, 500, 490] = LESION
    for index, radius in enumerate((40, 20, 10, 6, 4)):
        first, width = 50 * (index + 1), 2 * radius + 1
        ball = ellipsoid(volume_of(np.zeros((width,) * 3), affine_of((1, 1, 1))), [radius] * 3, [radius] * 3)
        labels[first - radius :, first:, first:][:width, :width, :width] = ball
    begin = time.process_time()

    found = find_candidates(segmentation_of(labels, labels * 200), volume, a_model(min_volume_ml=0.1))

    assert len(found.lesions) == 5
    assert time.process_time() - begin < 4


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), runs=st.integers(1, 7))
def test_the_spread_of_a_lesion_is_that_of_its_score_by_each_runs_own_map(seed: int, runs: int):
    """Maps of whole volumes, of which the segmentation has the tumour voxels alone; an organ lies between."""
    rng = np.random.default_rng(seed)
    volume = an_empty_volume((6, 7, 8), (2.0, 1.0, 1.0))
    labels = rng.choice([0, LUNG, LESION, SECOND_LESION], p=[0.5, 0.2, 0.2, 0.1], size=(6, 7, 8)).astype(np.uint8)
    ordinary, *maps = rng.integers(0, 256, (runs + 1, 6, 7, 8), dtype=np.uint8)
    tumour = np.isin(labels, (LESION, SECOND_LESION))
    segmentation = replace(segmentation_of(labels, ordinary), mirrored=np.stack([one[tumour] for one in maps]))
    candidates = find_candidates(segmentation, volume, a_model())
    without = find_candidates(segmentation_of(labels, ordinary), volume, a_model())

    np.testing.assert_array_equal(candidates.label_map, without.label_map)
    for lesion, plain in zip(candidates.lesions, without.lesions, strict=True):
        voxels = candidates.label_map == lesion.number
        scores = [score_of(one[voxels]) for one in (ordinary, *maps)]
        assert lesion.spread == Spread(runs=runs + 1, sd=float(np.std(scores)), lowest=min(scores), highest=max(scores))
        assert replace(lesion, spread=None, tracking_uid="") == replace(plain, tracking_uid="")
        assert lesion.spread.lowest <= lesion.score <= lesion.spread.highest
    if candidates.lesions:
        told = Uncertainty(spread=candidates.lesions[0].spread)
        assert uncertainty_of(segmentation, candidates.lesions) == told


@pytest.mark.parametrize(
    ("mirrored", "told"),
    [(None, None), (TIME_LIMIT, TIME_LIMIT), (np.zeros((3, 0), np.uint8), NO_CANDIDATE)],
)
def test_without_a_spread_there_is_its_reason_or_nothing_was_asked(
    mirrored: np.ndarray | Reason | None, told: Reason | None
):
    nothing = np.zeros((4, 5, 6), np.uint8)
    segmentation = replace(segmentation_of(nothing, nothing), mirrored=mirrored)
    volume = an_empty_volume((4, 5, 6), (2.0, 1.0, 1.0))
    assert find_candidates(segmentation, volume, a_model()).lesions == ()
    assert uncertainty_of(segmentation, ()) == (told and Uncertainty(reason=told))
