"""What a volume shows, measured before any model looks: extent, intensities, body, lung, bone.

All on every n-th voxel, about 4 mm apart: shares and areas of a whole body need no more, and it takes milliseconds.
"""

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from services.triage.expectation import Attribute, Measure, Observed
from services.triage.study import InstanceHeader
from services.triage.volume import Volume

GRID_MM = 4.0
PERCENTILES = (0.5, 99.5)
# Hounsfield units. Lung ends above the air outside and in the bowel, and below fat; bone begins above soft tissue.
TISSUE_FROM_HU = -300
LUNG_HU = (-970, -500)
BONE_FROM_HU = 300

Voxels = npt.NDArray[np.int16] | npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


def observe(volume: Volume, header: InstanceHeader) -> Observed:
    """Everything that can be measured of a volume; what a header does not tell, or a modality has not, is left out.

    header: of any of its slices.
    """
    slices, rows, columns = volume.voxels.shape
    slice_mm, row_mm, column_mm = volume.spacing_mm
    thin, spacing_mm = _thinned(volume)
    low, high = np.percentile(thin, PERCENTILES)
    numbers = {
        Measure.LOW_INTENSITY: float(low),
        Measure.HIGH_INTENSITY: float(high),
        Measure.EXTENT_MM: slices * slice_mm,
        Measure.FIELD_OF_VIEW_MM: min(rows * row_mm, columns * column_mm),
        Measure.SLICE_SPACING_MM: slice_mm,
        Measure.PIXEL_SPACING_MM: max(row_mm, column_mm),
    }
    if header.slice_thickness_mm:
        numbers[Measure.SLICE_THICKNESS_MM] = header.slice_thickness_mm
    if volume.modality == "CT":
        numbers |= _content(thin, spacing_mm)
    return Observed(
        numbers=numbers,
        words={
            Attribute.BODY_PART_EXAMINED: header.body_part_examined,
            Attribute.CONVOLUTION_KERNEL: header.convolution_kernel,
        },
    )


def _thinned(volume: Volume) -> tuple[Voxels, npt.NDArray[np.float64]]:
    """Every n-th voxel, the axis along the body first, and the spacing in mm of what is left."""
    spacing = np.array(volume.spacing_mm)
    steps = np.maximum(1, np.round(GRID_MM / spacing)).astype(int)
    along = int(np.argmax(np.abs(volume.affine[2, :3]) / spacing))
    first, second, third = (int(step) for step in steps)
    thin: Voxels = volume.voxels[::first, ::second, ::third].copy()
    kept = spacing * steps
    return np.moveaxis(thin, along, 0), np.concatenate([kept[along : along + 1], np.delete(kept, along)])


def _content(hounsfield: Voxels, spacing_mm: npt.NDArray[np.float64]) -> dict[Measure, float]:
    """Of a CT, the first axis along the body."""
    body = _body(hounsfield)
    areas = np.count_nonzero(body, axis=(1, 2))
    inside = max(1, int(areas.sum()))
    values = hounsfield[body]
    lung = int(np.count_nonzero((values > LUNG_HU[0]) & (values < LUNG_HU[1])))
    return {
        Measure.LUNG_PERCENT: 100 * lung / inside,
        Measure.LUNG_ML: lung * float(np.prod(spacing_mm)) / 1000,
        Measure.BONE_PERCENT: 100 * int(np.count_nonzero(values > BONE_FROM_HU)) / inside,
        Measure.BODY_AREA_CM2: float(np.median(areas[areas > 0])) * spacing_mm[1] * spacing_mm[2] / 100
        if areas.any()
        else 0.0,
    }


def _body(hounsfield: Voxels) -> Mask:
    """The largest piece of tissue, and in each slice what it closes in.

    Lung that the field of view cuts is open and does not count, for the foam of a table is as dense as lung.
    """
    pieces, count = ndimage.label(hounsfield > TISSUE_FROM_HU)
    if not count:
        return np.zeros(hounsfield.shape, dtype=bool)
    tissue = pieces == 1 + int(np.argmax(np.bincount(pieces.ravel())[1:]))
    in_plane = np.zeros((3, 3, 3), dtype=bool)
    in_plane[1] = ndimage.generate_binary_structure(2, 1)
    gaps, count = ndimage.label(~tissue, structure=in_plane)
    edge = np.ones(tissue.shape, dtype=bool)
    edge[:, 1:-1, 1:-1] = False
    outside = np.zeros(count + 1, dtype=bool)
    outside[gaps[edge]] = True
    outside[0] = False  # tissue
    body: Mask = ~outside[gaps]
    return body
