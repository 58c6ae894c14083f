"""From labelled voxels to measured lesions: connected components on the source grid."""

from collections.abc import Sequence
from dataclasses import dataclass

import cc3d
import numpy as np
import numpy.typing as npt
from pydicom.uid import generate_uid
from scipy.ndimage import find_objects

from services.triage.errors import Reason
from services.triage.lesion import Lesion
from services.triage.model import Model
from services.triage.uncertainty import NO_CANDIDATE, Spread, Uncertainty
from services.triage.volume import Segmentation, Volume
from services.worker.diameters import longest_3d, longest_in_plane
from services.worker.surroundings import organ_around

TOP_FRACTION = 0.1
TOP_AT_LEAST = 8

Labels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
Box = tuple[slice, ...]


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """Every component that is large enough, numbered from 1 by falling score, and where its voxels lie.

    label_map: uint8 or uint16 [slice, row, column] on the source grid; value n is lesion number n, 0 none.
    """

    lesions: tuple[Lesion, ...]
    label_map: Labels

    def label_map_of(self, lesions: Sequence[Lesion]) -> Labels:
        """The label map of those lesions alone: a finding keeps the best candidates and drops the rest."""
        if len(lesions) == len(self.lesions):
            return self.label_map
        kept = np.zeros(len(self.lesions) + 1, dtype=self.label_map.dtype)
        numbers = [lesion.number for lesion in lesions]
        kept[numbers] = numbers
        return kept[self.label_map]


@dataclass(frozen=True, kw_only=True)
class _Component:
    """One connected component: its bounding box on the source grid and its voxels inside the box."""

    box: Box
    mask: npt.NDArray[np.bool_]
    class_value: int
    voxel_count: int
    score: float
    spread: Spread | None

    @property
    def start(self) -> tuple[int, ...]:
        """The first voxel of the box."""
        return tuple(along.start for along in self.box)


def find_candidates(segmentation: Segmentation, volume: Volume, model: Model) -> Candidates:
    """Measure every 26-connected component of one tumour class that has at least the model's minimum volume.

    Components of different classes stay apart even where they touch. Tracking UIDs are fresh. Scores are calibrated
    where the model is.
    Raises ValueError when the segmentation is not on the volume's grid.
    """
    if segmentation.labels.shape != volume.voxels.shape:
        raise ValueError(f"labels {segmentation.labels.shape} are not on the grid {volume.voxels.shape}")
    # by falling score; ties by falling volume, then by position from the first slice on
    components = sorted(_components(segmentation, volume, model), key=lambda c: (-c.score, -c.voxel_count, c.start))
    dtype = np.uint8 if len(components) <= np.iinfo(np.uint8).max else np.uint16
    label_map = np.zeros(volume.voxels.shape, dtype=dtype)
    for number, component in enumerate(components, start=1):
        label_map[component.box][component.mask] = number
    lesions = tuple(
        _measure(each, number, volume, organ_around(segmentation.labels, each.box, each.mask, model))
        for number, each in enumerate(components, start=1)
    )
    return Candidates(lesions=lesions, label_map=label_map)


def score_of(probability: npt.NDArray[np.uint8]) -> float:
    """A lesion's score, 0..1: the mean of its highest tenth of voxels (8 at least, all if it has fewer).

    probability: uint8, 0..255 for 0..1, of the lesion's voxels. A few sure voxels outweigh a blurred rim, and one
    lucky voxel does not decide.
    """
    count = min(len(probability), max(TOP_AT_LEAST, round(TOP_FRACTION * len(probability))))
    return float(np.partition(probability, -count)[-count:].mean() / 255)


def uncertainty_of(segmentation: Segmentation, candidates: Sequence[Lesion]) -> Uncertainty | None:
    """Of the study's score, which is that of its best candidate; the candidates come numbered by falling score."""
    match segmentation.mirrored:
        case None:
            return None
        case Reason() as reason:
            return Uncertainty(reason=reason)
    return Uncertainty(spread=candidates[0].spread) if candidates else Uncertainty(reason=NO_CANDIDATE)


def _components(segmentation: Segmentation, volume: Volume, model: Model) -> list[_Component]:
    lookup = np.zeros(256, dtype=np.uint8)
    lookup[list(model.tumour_values)] = model.tumour_values
    box = _bounding_box(segmentation.labels, model.tumour_values)
    if box is None:
        return []
    tumour = lookup[segmentation.labels[box]]
    numbered = cc3d.connected_components(tumour, connectivity=26)
    calibrated = model.calibration or float
    smallest = model.min_volume_ml * 1000 / volume.voxel_volume_mm3
    runs = _runs(segmentation.mirrored, tumour > 0)
    components = []
    for number, inner in enumerate(find_objects(numbered), start=1):
        mask = numbered[inner] == number
        count = int(np.count_nonzero(mask))
        if count < smallest:
            continue
        score = calibrated(score_of(segmentation.tumour_probability[box][inner][mask]))
        mirrored = [calibrated(score_of(run[inner][mask])) for run in runs]
        outer = tuple(slice(o.start + i.start, o.start + i.stop) for o, i in zip(box, inner, strict=True))
        components.append(
            _Component(
                box=outer,
                mask=mask,
                class_value=int(tumour[inner][mask][0]),
                voxel_count=count,
                score=score,
                spread=Spread.of([score, *mirrored]) if mirrored else None,
            )
        )
    return components


def _runs(mirrored: npt.NDArray[np.uint8] | Reason | None, tumour: npt.NDArray[np.bool_]) -> Sequence[Labels]:
    """The probability of each mirrored run in the box around all tumour voxels, 0 where there are none."""
    if mirrored is None or isinstance(mirrored, Reason):
        return ()
    runs = np.zeros((len(mirrored), *tumour.shape), dtype=np.uint8)
    runs[:, tumour] = mirrored  # in C order, which the box keeps
    return list(runs)


def _bounding_box(labels: npt.NDArray[np.uint8], tumour_values: Sequence[int]) -> Box | None:
    """The smallest box around all tumour voxels: most of a volume is none, and need not be numbered."""
    inside = np.zeros(labels.shape[1:], dtype=bool)
    slices = []
    for index, plane in enumerate(labels):
        tumour = np.logical_or.reduce([plane == value for value in tumour_values])
        if tumour.any():
            inside |= tumour
            slices.append(index)
    if not slices:
        return None
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    return tuple(slice(int(along[0]), int(along[-1]) + 1) for along in (slices, rows, columns))


def _measure(component: _Component, number: int, volume: Volume, organ: str | None) -> Lesion:
    _, row_mm, column_mm = volume.spacing_mm
    first_slice, first_row, first_column = component.start
    in_plane = longest_in_plane(component.mask, (row_mm, column_mm))
    key_slice = in_plane.slice_index + first_slice
    (row, column), (last_row, last_column) = in_plane.ends
    intensities = volume.voxels[component.box][component.mask]
    x, y, z = volume.to_lps_mm(np.argwhere(component.mask).mean(axis=0) + component.start)
    return Lesion(
        number=number,
        tracking_uid=generate_uid(prefix=None),
        label=f"Lesion {number}",
        class_value=component.class_value,
        score=component.score,
        volume_ml=component.voxel_count * volume.voxel_volume_mm3 / 1000,
        long_axis_mm=in_plane.long_axis_mm,
        short_axis_mm=in_plane.short_axis_mm,
        max_diameter_3d_mm=longest_3d(component.mask, volume.affine[:3, :3]),
        centroid_lps_mm=(float(x), float(y), float(z)),
        slice_range=(first_slice, component.box[0].stop - 1),
        key_slice=key_slice,
        long_axis_ends=(
            (float(key_slice), row + first_row, column + first_column),
            (float(key_slice), last_row + first_row, last_column + first_column),
        ),
        mean_intensity=float(intensities.mean(dtype=np.float64)),
        sd_intensity=float(intensities.std(dtype=np.float64)),
        frame_of_reference_uid=volume.frame_of_reference_uid,
        organ=organ,
        spread=component.spread,
    )
