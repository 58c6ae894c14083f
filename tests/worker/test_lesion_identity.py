"""A lesion is the same lesion in the results of two versions of its study."""

import numpy as np
import pytest
from pydicom import Dataset, dcmread

from tests.support.ct import ct_series
from tests.support.house import House


def series_with_balls(*balls: tuple[int, int, int, float]) -> list[Dataset]:
    """A chest CT of 30 slices; balls as (slice, row, column, radius in mm)."""
    z, y, x = np.ogrid[:30, :40, :40]
    bright = np.zeros((30, 40, 40), bool)
    for slice_, row, column, radius in balls:
        bright |= ((z - slice_) * 2.5) ** 2 + ((y - row) * 0.8) ** 2 + ((x - column) * 0.7) ** 2 < radius**2
    return ct_series(np.where(bright, 40, -1000))


@pytest.fixture
def house(tmp_path):
    return House(data=tmp_path / "data")


def objects(house: House, uid: str) -> dict[str, Dataset]:
    return {each.modality: dcmread(house.files.result_path(each.sha256)) for each in house.result(uid).objects}


def identities(seg: Dataset) -> dict[str, str]:
    return {segment.TrackingID: segment.TrackingUID for segment in seg.SegmentSequence}


def test_late_slices_leave_lesions_their_tracking_uids_and_a_new_lesion_gets_a_new_one(house):
    series = series_with_balls((5, 10, 10, 5.0), (14, 28, 28, 4.0), (25, 20, 20, 7.0))
    uid = house.freeze(series[:20])
    before, first = house.result(uid), objects(house, uid)

    assert house.freeze(series[20:]) == uid

    after, second = house.result(uid), objects(house, uid)
    assert identities(first["SEG"]) == {
        "Lesion 1": before.lesions[0].tracking_uid,
        "Lesion 2": before.lesions[1].tracking_uid,
    }
    new_uid = identities(second["SEG"])["Lesion 3"]
    assert identities(second["SEG"]) == {**identities(first["SEG"]), "Lesion 3": new_uid}
    assert new_uid not in identities(first["SEG"]).values()
    # the new one is the largest, and so the first
    assert [lesion.label for lesion in after.lesions] == ["Lesion 3", "Lesion 1", "Lesion 2"]
    assert {each.sop_instance_uid for each in after.objects}.isdisjoint(
        each.sop_instance_uid for each in before.objects
    )
    named = second["SR"].PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert named.ReferencedSOPInstanceUID == first["SR"].SOPInstanceUID


def test_a_lesion_that_grows_by_a_late_slice_is_the_same(house):
    series = series_with_balls((20, 20, 20, 6.0))
    uid = house.freeze(series[:21])
    (before,) = house.result(uid).lesions

    house.freeze(series[21:])

    (after,) = house.result(uid).lesions
    assert after.volume_ml > before.volume_ml
    assert (after.tracking_uid, after.label) == (before.tracking_uid, before.label)
