"""A lesion: one connected component of tumour voxels, measured."""

from dataclasses import dataclass

from services.triage.uncertainty import Spread


@dataclass(frozen=True, kw_only=True, slots=True)
class Lesion:
    """One measured component on the source grid.

    number: from 1, by falling score; it is also the lesion's value in the lesion label map and its SEG segment number.
    tracking_uid, label: its identity through all results of a study (Tracking UID and Identifier, triage/tracking.py).
    score: 0..1, the model's own, never called a probability (docs/decisions).
    long_axis_mm, short_axis_mm: longest in-plane diameter of one of its parts in a slice, where it is longest, and the
        longest perpendicular of that part (RECIST 1.1 manner), from voxel edge to voxel edge; right to within one pixel
        and, for the short one, a few hundredths (worker/diameters.py has the bound).
    long_axis_ends: the two ends of the long axis as (slice, row, column) indices; slice is `key_slice`.
    max_diameter_3d_mm: the longest distance between any two voxels of the lesion, edge to edge.
    centroid_lps_mm: centre of mass in the patient system of `frame_of_reference_uid` ("" where the source names none).
    slice_range: first and last slice index, both inclusive. intensity in the source's units (HU for CT).
    organ: name of the model's organ class that surrounds it, None where none does (worker/surroundings.py).
    spread: of the score over mirrored runs, None where none were made.
    """

    number: int
    tracking_uid: str
    label: str
    class_value: int
    score: float
    volume_ml: float
    long_axis_mm: float
    short_axis_mm: float
    max_diameter_3d_mm: float
    centroid_lps_mm: tuple[float, float, float]
    slice_range: tuple[int, int]
    key_slice: int
    long_axis_ends: tuple[tuple[float, float, float], tuple[float, float, float]]
    mean_intensity: float
    sd_intensity: float
    frame_of_reference_uid: str = ""
    organ: str | None = None
    spread: Spread | None = None
