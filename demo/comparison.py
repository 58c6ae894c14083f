"""What the DICOM SEG says, beside what is known: read back from the delivered file, by plane position."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pydicom

from demo.studies import TrueLesion
from dicom_samples.real_ct import Reference
from services.triage.volume import Volume

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """How the lesions of a result lie to those that are known.

    found of known: known lesions met by one of ours. false_lesions: ours that meet none.
    dice: of a reference mask and all of our lesions that touch it; None where only centres are known.
    """

    known: int
    found: int
    false_lesions: int
    dice: float | None = None


def read_segments(path: Path, source: Volume) -> dict[int, Mask]:
    """The segments of a BINARY SEG (PS3.3 A.51) as masks [slice, row, column] on the grid of its source.

    Raises ValueError when a frame lies off that grid.
    """
    shape = source.voxels.shape
    seg = pydicom.dcmread(path)
    frames = seg.pixel_array.reshape(-1, seg.Rows, seg.Columns)
    shared = seg.SharedFunctionalGroupsSequence[0]  # holds what is the same in every frame, the segment too if alone
    to_index = np.linalg.inv(source.affine)
    masks: dict[int, Mask] = {}
    for frame, groups in zip(frames, seg.PerFrameFunctionalGroupsSequence, strict=True):
        position = _macro(groups, shared, "PlanePositionSequence").ImagePositionPatient
        index = to_index @ [*map(float, position), 1]
        place = round(float(index[0]))
        if frame.shape != shape[1:] or not np.allclose(index[:3], [place, 0, 0], atol=0.01):
            raise ValueError(f"a frame at {list(position)} does not lie on the grid of the series")
        number = int(_macro(groups, shared, "SegmentIdentificationSequence").ReferencedSegmentNumber)
        masks.setdefault(number, np.zeros(shape, dtype=bool))[place] |= frame.astype(bool)
    return masks


def _macro(groups: pydicom.Dataset, shared: pydicom.Dataset, keyword: str) -> pydicom.Dataset:
    return (groups.get(keyword) or shared[keyword].value)[0]


def compare_with_mask(segments: Sequence[Mask], reference: Reference) -> Comparison:
    """Compare with a reference mask on the same grid."""
    touching = [segment for segment in segments if (segment & reference.mask).any()]
    ours = np.logical_or.reduce(touching) if touching else np.zeros_like(reference.mask)
    dice = 2 * np.count_nonzero(ours & reference.mask) / (np.count_nonzero(ours) + np.count_nonzero(reference.mask))
    return Comparison(known=1, found=int(bool(touching)), false_lesions=len(segments) - len(touching), dice=float(dice))


def compare_with_truth(centroids_lps_mm: npt.ArrayLike, truth: Sequence[TrueLesion]) -> Comparison:
    """Compare with painted lesions: ours meets one when its centroid lies within that one's radius.

    centroids_lps_mm: shape [lesion, 3].
    """
    ours = np.asarray(centroids_lps_mm, dtype=np.float64).reshape(-1, 1, 3)
    centres = np.array([lesion.centre_lps_mm for lesion in truth]).reshape(1, -1, 3)
    radii = np.array([lesion.diameter_mm / 2 for lesion in truth])
    meets = np.linalg.norm(ours - centres, axis=2) <= radii
    return Comparison(
        known=len(truth), found=int(meets.any(axis=0).sum()), false_lesions=int((~meets.any(axis=1)).sum())
    )
