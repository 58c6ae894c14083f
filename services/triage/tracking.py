"""Which of a result's lesions were already told by an earlier result of the same model, and keep their identity.

A Tracking UID names one lesion through all results of a study (PS3.16 TID 1411). Both results look at the same
patient at the same time, so that a lesion stays where it is but for what late slices or another series add to it.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import count

import numpy as np

from services.triage.lesion import Lesion


def keep_identities(lesions: Sequence[Lesion], earlier: Sequence[Lesion]) -> tuple[Lesion, ...]:
    """The lesions, those that are the same as an earlier one with its Tracking UID and its label (Tracking Identifier).

    Two are the same when each is the other's nearest, by centroids in one frame of reference, and at most half the
    larger long axis apart. Nearest both ways, and not the pairing with the most matches: that one would hand a vanished
    lesion's identity to its neighbour. A new lesion gets a label that no earlier one has.
    """
    same = _same(lesions, earlier)
    taken = {lesion.label for lesion in earlier}
    fresh = (label for number in count(1) if (label := f"Lesion {number}") not in taken)
    return tuple(
        replace(lesion, tracking_uid=same[index].tracking_uid, label=same[index].label)
        if index in same
        else replace(lesion, label=next(fresh))
        for index, lesion in enumerate(lesions)
    )


def _same(lesions: Sequence[Lesion], earlier: Sequence[Lesion]) -> dict[int, Lesion]:
    """The earlier lesion that is the same, by index into `lesions`."""
    if not lesions or not earlier:
        return {}
    away = np.array([[_distance_mm(lesion, other) for other in earlier] for lesion in lesions])
    nearest, nearest_back = away.argmin(axis=1), away.argmin(axis=0)
    return {
        index: earlier[other]
        for index, other in enumerate(nearest)
        if nearest_back[other] == index
        and away[index, other] <= max(lesions[index].long_axis_mm, earlier[other].long_axis_mm) / 2
    }


def _distance_mm(lesion: Lesion, other: Lesion) -> float:
    """Between centroids; infinite where they cannot be compared, or are of two classes."""
    frame = lesion.frame_of_reference_uid
    if not frame or (frame, lesion.class_value) != (other.frame_of_reference_uid, other.class_value):
        return float("inf")
    return float(np.linalg.norm(np.subtract(lesion.centroid_lps_mm, other.centroid_lps_mm)))
