"""Reference masks: which belong to a series, and how each kind becomes a mask on the series' own grid.

A Segmentation (PS3.3 A.51) and an RT Structure Set (A.19.3) are found by the series that they reference, or, where that
is not here, by the study and Frame of Reference that they share with the only series that suits. A NIfTI mask is found
by its name: the Series or Study Instance UID, or `reference` beside the series' files. An empty file
`reference.none` there says that the study has no lesion.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import highdicom
import nibabel
import numpy as np
import numpy.typing as npt
from matplotlib.path import Path as Polygon
from pydicom import Dataset, dcmread

from services.triage.errors import NotAnalysed
from services.triage.study import Instance, Series
from services.triage.volume import Volume

NIFTI = (".nii.gz", ".nii")
BESIDE, NONE = "reference", "reference.none"
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
OFF_THE_SLICE_MM = 0.5  # of a contour's points, of half the distance between slices at most

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Reference:
    """The files that tell what is true of a series; none: that it has no lesion."""

    series: Series
    files: tuple[Path, ...]


def references(
    series: Sequence[Series], path_of: Mapping[str, Path], niftis: Sequence[Path], *, modality: str
) -> Iterator[Reference]:
    """Of the series of one study, those of that modality that have any. niftis: all that were found, and `NONE` files.

    path_of: the file of an instance's digest.
    """
    images = [one for one in series if one.header.modality == modality]
    told = [(path_of[i.digest], i) for one in series for i in one.instances if i.header.modality in ("SEG", "RTSTRUCT")]
    for one in images:
        mine = [path for path, instance in told if _is_of(dcmread(path), instance, one, images)]
        folders = {path_of[instance.digest].parent for instance in one.instances}
        names = {one.series_instance_uid, one.header.study_instance_uid}
        mine += [path for path in niftis if _stem(path) in names or (_stem(path) == BESIDE and path.parent in folders)]
        if mine:
            yield Reference(series=one, files=tuple(path for path in mine if path.name != NONE))


def read_reference(reference: Reference, volume: Volume, *, structures: str) -> Mask:
    """The union of what its files mark, bool [slice, row, column]. structures: pattern of segment labels, ROI names.

    Raises NotAnalysed: no_reference (no structure of such a name), reference_off_grid.
    """
    mask = np.zeros(volume.voxels.shape, dtype=bool)
    found = not reference.files
    for path in reference.files:
        if path.name.endswith(NIFTI):
            one: Mask | None = _from_nifti(path, volume)
        else:
            dataset = dcmread(path)
            read = _from_structures if dataset.Modality == "RTSTRUCT" else _from_segmentation
            one = read(dataset, volume, structures)
        if one is not None:
            mask, found = mask | one, True
    if not found:
        raise NotAnalysed("no_reference", f"no segment or region of interest is called {structures!r}")
    return mask


def _stem(path: Path) -> str:
    return next((path.name.removesuffix(end) for end in (*NIFTI, ".none") if path.name.endswith(end)), "")


def _is_of(told: Dataset, instance: Instance, series: Series, images: Sequence[Series]) -> bool:
    """By the referenced series; where none of them is here by the frame of reference, if only one series has it."""
    named = set(_referenced(told))
    if named & {one.series_instance_uid for one in images}:
        return series.series_instance_uid in named
    frame = instance.header.frame_of_reference_uid or next(
        (str(one.FrameOfReferenceUID) for one in told.get("ReferencedFrameOfReferenceSequence", ())), ""
    )
    fitting = [one for one in images if one.header.frame_of_reference_uid == frame]
    return len(fitting) == 1 and fitting[0] is series


def _referenced(told: Dataset) -> Iterator[str]:
    for one in told.get("ReferencedSeriesSequence", ()):
        yield str(one.SeriesInstanceUID)
    for frame in told.get("ReferencedFrameOfReferenceSequence", ()):
        for study in frame.get("RTReferencedStudySequence", ()):
            yield from (str(one.SeriesInstanceUID) for one in study.get("RTReferencedSeriesSequence", ()))


def _from_segmentation(dataset: Dataset, volume: Volume, structures: str) -> Mask | None:
    segmentation = highdicom.seg.Segmentation.from_dataset(dataset, copy=False)
    numbers = [
        int(one.SegmentNumber) for one in dataset.SegmentSequence if fnmatchcase(str(one.SegmentLabel), structures)
    ]
    if not numbers:
        return None
    stack = segmentation.get_volume(segment_numbers=numbers, combine_segments=True, skip_overlap_checks=True)
    return _on_grid(np.asarray(stack.array, dtype=np.float32), stack.affine, volume)


def _from_nifti(path: Path, volume: Volume) -> Mask:
    image = nibabel.Nifti1Image.from_filename(path)
    return _on_grid(image.get_fdata(dtype=np.float32), LPS_TO_RAS @ image.affine, volume)


def _on_grid(labels: npt.NDArray[np.float32], affine: npt.NDArray[np.float64], volume: Volume) -> Mask:
    """Axes turned, slices that are not told filled with nothing; resampled is nothing."""
    given = highdicom.Volume((labels > 0.5).astype(np.uint8), affine, "PATIENT")
    grid = highdicom.VolumeGeometry(volume.affine, volume.voxels.shape, "PATIENT")
    try:
        found = given.match_geometry(grid, tol=0.01)
    except (RuntimeError, ValueError) as error:
        raise NotAnalysed("reference_off_grid", "a reference mask does not lie on the voxels of its series") from error
    return np.asarray(found.array, dtype=bool)


def _from_structures(dataset: Dataset, volume: Volume, structures: str) -> Mask | None:
    """Voxels whose centres lie inside of an odd number of a region's contours in their slice (PS3.3 C.8.8.6)."""
    numbers = {
        int(one.ROINumber)
        for one in dataset.StructureSetROISequence
        if fnmatchcase(str(one.get("ROIName", "")), structures)
    }
    if not numbers:
        return None
    to_index = np.linalg.inv(volume.affine)
    mask = np.zeros(volume.voxels.shape, dtype=bool)
    for region in dataset.ROIContourSequence:
        if int(region.ReferencedROINumber) not in numbers:
            continue
        mine = np.zeros_like(mask)
        for contour in region.get("ContourSequence", ()):
            if contour.ContourGeometricType == "CLOSED_PLANAR":
                points = np.reshape(np.asarray(contour.ContourData, dtype=float), (-1, 3))
                _fill(mine, points @ to_index[:3, :3].T + to_index[:3, 3], volume.spacing_mm[0])
        mask |= mine
    return mask


def _fill(mask: Mask, points: npt.NDArray[np.float64], slice_mm: float) -> None:
    """points: [n, 3] as (slice, row, column)."""
    at = round(float(points[:, 0].mean()))
    if np.abs(points[:, 0] - at).max() * slice_mm > min(OFF_THE_SLICE_MM, slice_mm / 2):
        raise NotAnalysed("reference_off_grid", "a contour of the reference does not lie in a slice of its series")
    if not 0 <= at < len(mask):
        return
    low = np.maximum(np.floor(points[:, 1:].min(axis=0)).astype(int), 0)
    high = np.minimum(np.ceil(points[:, 1:].max(axis=0)).astype(int) + 1, mask.shape[1:])
    if (high <= low).any():
        return
    centres = np.stack(np.meshgrid(*(np.arange(a, b) for a, b in zip(low, high, strict=True)), indexing="ij"), axis=-1)
    inside = Polygon(points[:, 1:]).contains_points(centres.reshape(-1, 2)).reshape(centres.shape[:2])
    mask[at, low[0] : high[0], low[1] : high[1]] ^= inside
