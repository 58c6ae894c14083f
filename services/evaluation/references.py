"""Reference masks: which belong to a series, and how each kind becomes a mask on the series' own grid.

A Segmentation (PS3.3 A.51) and an RT Structure Set (A.19.3) are found by the series that they reference, or, where that
is not here, by the study and Frame of Reference that they share with the only series that suits. A NIfTI mask is found
by its name: the Series or Study Instance UID, or `reference` beside the series' files. An empty file
`reference.none` there says that the study has no lesion.
"""

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import product
from pathlib import Path

import highdicom
import nibabel
import numpy as np
import numpy.typing as npt
from matplotlib.path import Path as Polygon
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from pydicom import Dataset, dcmread

from services.triage.completeness import OWN_MANUFACTURER
from services.triage.errors import NotAnalysed
from services.triage.geometry import normal_of
from services.triage.study import Instance, Series
from services.triage.volume import Volume
from services.worker.load.pixels import PIXEL_ERRORS

NIFTI = (".nii.gz", ".nii")
BESIDE, NONE = "reference", "reference.none"
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
OFF_THE_SLICE_MM = 0.5  # of a contour's points, of half the distance between slices at most
OFF_THE_VOXEL = 0.25
"""Of a mask's voxel, in voxels, wherever in the series: cosines rounded to 3 digits move the end of a row so far."""
UNREADABLE = (*PIXEL_ERRORS, ImageFileError, HeaderDataError, OSError, zlib.error)

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Reference:
    """The files that tell what is true of a series; none: that it has no lesion, which nothing else says."""

    series: Series
    files: tuple[Path, ...]


def references(
    series: Sequence[Series], path_of: Mapping[str, Path], niftis: Sequence[Path], *, modality: str
) -> Iterator[Reference]:
    """Of the series of one study, those of that modality that have any. niftis: all that were found, and `NONE` files.

    What Vigie wrote itself is none: a model would be judged by its own answer.
    path_of: the file of an instance's digest.
    """
    images = [one for one in series if one.header.modality == modality]
    told = [(path_of[i.digest], i) for one in series for i in one.instances if is_mask(i) and not is_own(i)]
    headers = {path: dcmread(path, stop_before_pixels=True) for path, _ in told}
    for one in images:
        mine = [path for path, instance in told if _is_of(headers[path], instance, one, images)]
        folders = {path_of[instance.digest].parent for instance in one.instances}
        names = {one.series_instance_uid, one.header.study_instance_uid}
        mine += [path for path in niftis if _stem(path) in names or (_stem(path) == BESIDE and path.parent in folders)]
        if mine:
            yield Reference(series=one, files=tuple(path for path in mine if path.name != NONE))


def is_mask(instance: Instance) -> bool:
    """Whether it is of a kind that may be a reference."""
    return instance.header.modality in ("SEG", "RTSTRUCT")


def is_own(instance: Instance) -> bool:
    """Whether Vigie wrote it."""
    return instance.header.manufacturer.startswith(OWN_MANUFACTURER)


def read_reference(reference: Reference, volume: Volume, *, structures: str) -> Mask:
    """The union of what its files mark, bool [slice, row, column]. structures: pattern of segment labels, ROI names.

    A region of interest that is declared and not drawn marks nothing, beside others that are. Raises NotAnalysed:
    no_reference (no structure of such a name), reference_off_grid, reference_outside, reference_contour,
    reference_empty, reference_unreadable.
    """
    mask = np.zeros(volume.voxels.shape, dtype=bool)
    found = not reference.files
    for path in reference.files:
        try:
            one = _read(path, volume, structures)
        except UNREADABLE as error:
            raise NotAnalysed("reference_unreadable", "a file of the reference cannot be read") from error
        if one is not None:
            mask, found = mask | one, True
    if not found:
        raise NotAnalysed("no_reference", f"no segment or region of interest is called {structures!r}")
    if reference.files and not mask.any():
        raise NotAnalysed("reference_empty", f"the reference marks no voxel of the series; only {NONE} says no lesion")
    return mask


def _read(path: Path, volume: Volume, structures: str) -> Mask | None:
    if path.name.endswith(NIFTI):
        return _from_nifti(path, volume)
    dataset = dcmread(path)
    read = _from_structures if dataset.Modality == "RTSTRUCT" else _from_segmentation
    return read(dataset, volume, structures)


def _stem(path: Path) -> str:
    return next((path.name.removesuffix(end) for end in (*NIFTI, ".none") if path.name.endswith(end)), "")


def _is_of(told: Dataset, instance: Instance, series: Series, images: Sequence[Series]) -> bool:
    """By the referenced series; where none of them is here by the frame of reference, if only one series has it."""
    named = set(_referenced(told))
    if named & {one.series_instance_uid for one in images}:
        return series.series_instance_uid in named
    frame = instance.header.frame_of_reference_uid or next(
        (str(one.get("FrameOfReferenceUID", "")) for one in told.get("ReferencedFrameOfReferenceSequence", ())), ""
    )
    fitting = [one for one in images if one.header.frame_of_reference_uid == frame]
    return len(fitting) == 1 and fitting[0] is series


def _referenced(told: Dataset) -> Iterator[str]:
    for one in told.get("ReferencedSeriesSequence", ()):
        yield str(one.get("SeriesInstanceUID", ""))
    for frame in told.get("ReferencedFrameOfReferenceSequence", ()):
        for study in frame.get("RTReferencedStudySequence", ()):
            yield from (str(one.get("SeriesInstanceUID", "")) for one in study.get("RTReferencedSeriesSequence", ()))


def _from_segmentation(dataset: Dataset, volume: Volume, structures: str) -> Mask | None:
    _square(dataset)
    segmentation = highdicom.seg.Segmentation.from_dataset(dataset, copy=False)
    numbers = [
        int(one.SegmentNumber) for one in dataset.SegmentSequence if fnmatchcase(str(one.SegmentLabel), structures)
    ]
    if not numbers:
        return None
    stack = segmentation.get_volume(segment_numbers=numbers, combine_segments=True, skip_overlap_checks=True)
    return _on_grid(np.asarray(stack.array, dtype=np.float32), stack.affine, volume)


def _square(dataset: Dataset) -> None:
    """Makes rounded direction cosines perpendicular unit vectors, which highdicom wants to four digits.

    By no more than series may be off (`triage.geometry`). Raises NotAnalysed: bad_geometry.
    """
    for groups in (*dataset.SharedFunctionalGroupsSequence, *dataset.PerFrameFunctionalGroupsSequence):
        for plane in groups.get("PlaneOrientationSequence", ()):
            row = np.array(plane.ImageOrientationPatient[:3], dtype=float)
            normal = normal_of(plane.ImageOrientationPatient)
            row /= np.linalg.norm(row)
            plane.ImageOrientationPatient = [round(float(x), 12) for x in (*row, *np.cross(normal, row))]


def _from_nifti(path: Path, volume: Volume) -> Mask:
    image = nibabel.Nifti1Image.from_filename(path)
    return _on_grid(image.get_fdata(dtype=np.float32), LPS_TO_RAS @ image.affine, volume)


def _on_grid(labels: npt.NDArray[np.float32], affine: npt.NDArray[np.float64], volume: Volume) -> Mask:
    """Axes turned, slices that are not told filled with nothing; resampled is nothing.

    Only where voxels lie counts: axes need not be perpendicular to the last digit, as rounded cosines are not.
    """
    shape = volume.voxels.shape
    corners = np.array([(*corner, 1.0) for corner in product(*((0, size - 1) for size in shape))])
    try:
        place = (np.linalg.inv(affine) @ volume.affine)[:3]  # of a voxel of the series, in the mask's indices
    except np.linalg.LinAlgError as error:
        raise _off_grid() from error
    whole = np.rint(place)
    axes = np.abs(whole[:, :3])
    of_one_size = labels.ndim == 3 and (axes.sum(axis=0) == 1).all() and (axes.sum(axis=1) == 1).all()
    # said so that what is no number is off, too
    if not (of_one_size and np.abs(corners @ (place - whole).T).max() <= OFF_THE_VOXEL):
        raise _off_grid()
    turned = axes.argmax(axis=0)  # the mask's axis that each of the series' runs along
    index = [whole[axis, at] * np.arange(shape[at]) + whole[axis, 3] for at, axis in enumerate(turned)]
    there = [(one >= 0) & (one < labels.shape[axis]) for one, axis in zip(index, turned, strict=True)]
    mask = np.zeros(shape, dtype=bool)
    taken = [one[inside].astype(int) for one, inside in zip(index, there, strict=True)]
    mask[np.ix_(*there)] = labels.transpose(turned)[np.ix_(*taken)] > 0.5
    if np.count_nonzero(mask) < np.count_nonzero(labels > 0.5):
        raise _outside()
    return mask


def _off_grid() -> NotAnalysed:
    return NotAnalysed("reference_off_grid", "a reference mask is not one volume on the voxels of its series")


def _outside() -> NotAnalysed:
    return NotAnalysed("reference_outside", "the reference marks something outside of its series")


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
            if contour.ContourGeometricType != "CLOSED_PLANAR":
                text = f"a contour of the reference is {contour.ContourGeometricType}, not CLOSED_PLANAR"
                raise NotAnalysed("reference_contour", text)
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
        raise _outside()
    low = np.maximum(np.floor(points[:, 1:].min(axis=0)).astype(int), 0)
    high = np.minimum(np.ceil(points[:, 1:].max(axis=0)).astype(int) + 1, mask.shape[1:])
    if (high <= low).any():
        raise _outside()
    centres = np.stack(np.meshgrid(*(np.arange(a, b) for a, b in zip(low, high, strict=True)), indexing="ij"), axis=-1)
    inside = Polygon(points[:, 1:]).contains_points(centres.reshape(-1, 2)).reshape(centres.shape[:2])
    mask[at, low[0] : high[0], low[1] : high[1]] ^= inside
