"""Any regular stack is found again, whatever its order; anything else is refused by its own code."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.triage.errors import NotAnalysed
from services.triage.geometry import Grid, normal_of, regular_grid

AXIAL = np.array([1.0, 0, 0, 0, 1, 0])


@st.composite
def orientations(draw):
    """Six cosines of any plane: a rotation from a random unit quaternion."""
    quaternion = np.array(draw(st.tuples(*[st.floats(-1, 1)] * 4)))
    quaternion = quaternion / np.linalg.norm(quaternion) if np.linalg.norm(quaternion) > 0.1 else np.eye(4)[0]
    w, x, y, z = quaternion
    row = [1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)]
    column = [2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)]
    return np.array(row + column)


def stack(offsets_mm, orientation=AXIAL, origin=(0.0, 0.0, 0.0)):
    """Positions [plane, 3] of planes at these distances along the normal."""
    return np.asarray(origin) + np.outer(offsets_mm, normal_of(orientation))


def grid_of(positions, orientation=AXIAL, spacing=(0.7, 0.7)) -> Grid:
    return regular_grid(positions, np.tile(orientation, (len(positions), 1)), spacing)


def refusal_of(positions, orientation=AXIAL) -> str:
    with pytest.raises(NotAnalysed) as refused:
        grid_of(positions, orientation)
    return refused.value.reason.code


@given(
    orientation=orientations(),
    gap=st.floats(0.3, 12),
    count=st.integers(3, 60),
    origin=st.tuples(*[st.floats(-500, 500)] * 3),
    spacing=st.tuples(st.floats(0.2, 4), st.floats(0.2, 4)),
    random=st.randoms(use_true_random=False),
)
def test_a_regular_stack_is_found_again_in_any_order(orientation, gap, count, origin, spacing, random):
    positions = stack(gap * np.arange(count), orientation, origin)
    order = list(range(count))
    random.shuffle(order)
    grid = grid_of(positions[order], orientation, spacing)
    assert [order[index] for index in grid.order] == list(range(count))
    for number in (0, count - 1):
        assert grid.affine @ (number, 0, 0, 1) == pytest.approx([*positions[number], 1], abs=1e-6)
    at = grid.affine @ (0, 2, 3, 1)
    expected = positions[0] + 3 * spacing[1] * orientation[:3] + 2 * spacing[0] * orientation[3:]
    assert at[:3] == pytest.approx(expected, abs=1e-6)


@given(gap=st.floats(0.35, 10), count=st.integers(3, 400), start=st.floats(-500, 500))
def test_axial_positions_rounded_to_a_tenth_of_a_millimetre_pass(gap, count, start):
    grid = grid_of(np.round(stack(start + gap * np.arange(count)), 1))
    assert np.linalg.norm(grid.affine[:3, 0]) == pytest.approx(gap, abs=0.2 / (count - 1))


@given(gap=st.floats(0.7, 10), count=st.integers(3, 400), start=st.floats(-500, 500), orientation=orientations())
def test_oblique_positions_rounded_to_a_tenth_of_a_millimetre_pass(gap, count, start, orientation):
    grid = grid_of(np.round(stack(start + gap * np.arange(count), orientation), 1), orientation)
    assert np.linalg.norm(grid.affine[:3, 0]) == pytest.approx(gap, abs=0.2 / (count - 1))


@given(gaps=st.lists(st.floats(3.19, 3.29), min_size=3, max_size=300))
def test_steps_of_3_19_to_3_29_mm_pass(gaps):
    grid = grid_of(stack(np.cumsum(gaps)))
    assert grid.order == tuple(range(len(gaps)))


@settings(deadline=None)
@given(count=st.integers(5, 80), gap=st.floats(0.5, 8), data=st.data(), orientation=orientations())
def test_any_missing_inner_slice_is_told(count, gap, data, orientation):
    missing = data.draw(st.integers(1, count - 2))
    assert refusal_of(stack(np.delete(gap * np.arange(count), missing), orientation), orientation) == "missing_slices"


@given(count=st.integers(4, 40), gap=st.floats(0.5, 8), data=st.data())
def test_a_repeated_position_is_told(count, gap, data):
    offsets = gap * np.arange(count)
    twice = data.draw(st.integers(0, count - 1))
    assert refusal_of(stack([*offsets, offsets[twice]])) == "duplicate_positions"


@given(count=st.integers(2, 20), phases=st.integers(2, 5))
def test_several_volumes_at_the_same_positions_are_told(count, phases):
    assert refusal_of(stack(np.tile(2.0 * np.arange(count + 1), phases))) == "several_volumes"


@given(degrees=st.floats(0.6, 40), sign=st.sampled_from([-1, 1]), count=st.integers(20, 60), gap=st.floats(1, 6))
def test_a_stack_that_leans_is_told(degrees, sign, count, gap):
    positions = stack(gap * np.arange(count))
    positions[:, 1] += sign * np.tan(np.radians(degrees)) * gap * np.arange(count)
    assert refusal_of(positions) == "gantry_tilt"


@pytest.mark.parametrize(
    ("offsets", "code"),
    [
        ([0, 1, 2, 3.4, 4.4, 5.4], "variable_spacing"),
        ([0, 5, 10, 12, 14, 16], "variable_spacing"),
        (np.concatenate([np.arange(40) * 1.0, 39 + np.arange(1, 40) * 1.04]), "variable_spacing"),
        ([0, 1, 2, 5, 6, 7], "missing_slices"),
        ([0, 3], "too_few_slices"),
        ([7], "too_few_slices"),
        ([5, 5, 5, 5], "several_volumes"),
    ],
    ids=["one-wider", "two-spacings", "drift", "two-missing", "two", "one", "one-place"],
)
def test_a_stack_that_is_no_grid_is_refused_by_its_own_code(offsets, code):
    assert refusal_of(stack(offsets)) == code


def test_slices_shifted_in_their_plane_are_told():
    positions = stack(np.arange(20.0))
    positions[7] += (1.0, 0, 0)
    assert refusal_of(positions) == "shifted_slices"


def test_planes_that_are_not_parallel_are_told():
    with pytest.raises(NotAnalysed, match="mixed_orientations"):
        regular_grid(stack([0, 1, 2]), [AXIAL, AXIAL, [1, 0, 0, 0, 0, -1]], (1, 1))


@pytest.mark.parametrize(
    "orientation",
    [(0, 0, 0, 0, 0, 0), (1, 0, 0, 1, 0, 0), (2, 0, 0, 0, 1, 0), (1, 0, 0, 0, 1, float("nan"))],
)
def test_cosines_without_meaning_are_refused(orientation):
    with pytest.raises(NotAnalysed, match="bad_geometry"):
        normal_of(orientation)


@pytest.mark.parametrize(
    ("position", "spacing"),
    [((0, 0, float("nan")), (1, 1)), ((0, 0, float("inf")), (1, 1)), ((0, 0, 3), (0, 1)), ((0, 0, 3), (1, -1))],
)
def test_positions_and_spacings_without_meaning_are_refused(position, spacing):
    with pytest.raises(NotAnalysed, match="bad_geometry"):
        grid_of([(0, 0, 0), (0, 0, 1), (0, 0, 2), position], spacing=spacing)
