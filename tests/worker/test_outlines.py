"""Outlines run along the edges of pixels, around all of a lesion and nothing else."""

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.worker.report.outlines import outlines
from tests.support.polygons import enclosed

masks = arrays.arrays(np.bool_, st.tuples(st.integers(1, 9), st.integers(1, 9)))


def area(line: np.ndarray) -> float:
    (x, y), (next_x, next_y) = line[:-1].T, line[1:].T
    return float((x * next_y - next_x * y).sum() / 2)


@given(masks)
def test_an_outline_encloses_the_pixels_of_the_mask_and_no_other(mask):
    np.testing.assert_array_equal(enclosed(outlines(mask), mask.shape), mask)


@given(masks)
def test_the_area_inside_is_that_of_the_pixels(mask):
    assert sum(area(line) for line in outlines(mask)) == np.count_nonzero(mask)


@given(masks)
def test_every_outline_is_closed_and_has_no_needless_points(mask):
    for line in outlines(mask):
        np.testing.assert_array_equal(line[0], line[-1])
        steps = np.diff(line, axis=0)
        assert (np.abs(steps).sum(axis=1) > 0).all()
        assert (steps[:-1] * steps[1:]).sum(axis=1) == pytest.approx(0)


def test_the_centre_of_a_pixel_is_half_a_pixel_from_its_corner():
    mask = np.zeros((5, 7), dtype=bool)
    mask[2, 4] = True

    (line,) = outlines(mask)

    np.testing.assert_array_equal(line, [[4, 2], [5, 2], [5, 3], [4, 3], [4, 2]])


def test_a_hole_has_an_outline_of_its_own_the_other_way_round():
    mask = np.ones((3, 3), dtype=bool)
    mask[1, 1] = False

    assert sorted(area(line) for line in outlines(mask)) == [-1, 9]
