"""How two versions' lesions lie to each other."""

import numpy as np
import pytest

from services.triage.shadow import Overlap, overlap_of


def lesions(*boxes: slice) -> np.ndarray:
    """A label map of 1 x 1 x 20 voxels with a lesion in each of these columns."""
    found = np.zeros((1, 1, 20), dtype=np.uint8)
    for number, columns in enumerate(boxes, start=1):
        found[..., columns] = number
    return found


def test_dice_and_lesions_are_counted_by_the_voxels_that_both_have() -> None:
    answer = lesions(slice(0, 4), slice(8, 10), slice(12, 14))
    shadow = lesions(slice(2, 6), slice(18, 20))
    assert overlap_of(answer, shadow) == Overlap(dice=2 * 2 / (8 + 6), both=1, answer_only=2, shadow_only=1)


def test_one_lesion_that_touches_two_leaves_none_alone() -> None:
    told = overlap_of(lesions(slice(0, 2), slice(4, 6)), lesions(slice(0, 6)))
    assert (told.both, told.answer_only, told.shadow_only) == (2, 0, 0)


def test_where_neither_has_a_lesion_there_is_no_dice() -> None:
    assert overlap_of(lesions(), lesions()) == Overlap(dice=None, both=0, answer_only=0, shadow_only=0)
    assert overlap_of(lesions(slice(0, 1)), lesions()).dice == 0


def test_other_grids_are_not_compared() -> None:
    with pytest.raises(ValueError, match="grids"):
        overlap_of(lesions(), np.zeros((1, 1, 19), dtype=np.uint8))
