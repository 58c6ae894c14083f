"""A series of classic or enhanced CT, MR or PET files -> one Volume, or a coded reason why not.

Everything the headers can tell is checked before the first pixel is decoded. What geometry may pass, and its reason
codes, are told in `services.triage.geometry`; those of the headers in `planes`, of the pixels in `pixels`.
"""

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np

from services.backends.image_header import ReadHeader, read_header
from services.triage.errors import NotAnalysed
from services.triage.geometry import common_normal, regular_grid
from services.triage.volume import MAX_VOXELS, SliceSource, Volume
from services.worker.load.pixels import Voxels, decoded_frames, rescale
from services.worker.load.planes import Plane, read_planes

SPACING_TOLERANCE = 0.001
INT16 = np.iinfo(np.int16)

# Attribute of a plane that must be one -> reason code; orientations are looked at between the two.
ONE_IN_A_SERIES = {
    "study_instance_uid": "several_series",
    "series_instance_uid": "several_series",
    "modality": "several_series",
}
ONE_IN_A_VOLUME = {"frame_of_reference_uid": "mixed_frames_of_reference", "shape": "mixed_sizes"}


def load_volume(paths: Sequence[Path], *, max_voxels: int = MAX_VOXELS, read: ReadHeader = read_header) -> Volume:
    """Load one series from its files, in any order; of more than `max_voxels` nothing is decoded.

    Slices increase along the normal (row x column direction). Voxels are int16 when every rescaled value is an integer
    that fits, else float32. Raises NotAnalysed: the codes of `planes`, `pixels` and `services.triage.geometry`, and
    several_series, mixed_frames_of_reference, mixed_sizes, mixed_pixel_spacing, too_large.
    """
    planes = [plane for path in paths for plane in read_planes(path, read)]
    if not planes:
        raise NotAnalysed("too_few_slices", "there is no image to make a volume of")
    _refuse_mixtures(planes)
    first = planes[0]
    rows, columns = first.shape
    if rows * columns * len(planes) > max_voxels:
        text = (
            f"{len(planes)} slices of {rows} x {columns} are more than the {max_voxels} voxels that are analysed here"
        )
        raise NotAnalysed("too_large", text)
    grid = regular_grid(
        [plane.position for plane in planes], [plane.orientation for plane in planes], first.pixel_spacing_mm
    )
    return Volume(
        voxels=_decode(planes, grid.order),
        affine=grid.affine,
        modality=first.modality,
        study_instance_uid=first.study_instance_uid,
        series_instance_uid=first.series_instance_uid,
        frame_of_reference_uid=first.frame_of_reference_uid,
        sources=tuple(_source(planes[index]) for index in grid.order),
    )


def _source(plane: Plane) -> SliceSource:
    return SliceSource(
        sop_class_uid=plane.sop_class_uid, sop_instance_uid=plane.sop_instance_uid, frame_number=plane.frame_number
    )


def _refuse_mixtures(planes: Sequence[Plane]) -> None:
    _refuse_several(planes, ONE_IN_A_SERIES)
    common_normal([plane.orientation for plane in planes])
    _refuse_several(planes, ONE_IN_A_VOLUME)
    spacings = np.array([plane.pixel_spacing_mm for plane in planes])
    if not np.allclose(spacings, spacings[0], rtol=SPACING_TOLERANCE, atol=0):
        raise NotAnalysed(
            "mixed_pixel_spacing", f"pixel spacing varies from {spacings.min():.4f} to {spacings.max():.4f} mm"
        )


def _refuse_several(planes: Sequence[Plane], codes: Mapping[str, str]) -> None:
    for attribute, code in codes.items():
        values = {getattr(plane, attribute) for plane in planes}
        if len(values) > 1:
            name = attribute.removesuffix("_uid").replace("_", " ")
            raise NotAnalysed(code, f"{len(planes)} slices have {len(values)} different values of {name}")


def _decode(planes: Sequence[Plane], order: Sequence[int]) -> Voxels:
    """Decode file by file into one preallocated array; slice k of it is planes[order[k]]."""
    slice_of = {index: number for number, index in enumerate(order)}
    integers = all(plane.slope.is_integer() and plane.intercept.is_integer() for plane in planes)
    shape = (len(planes), *planes[0].shape)
    try:
        voxels: Voxels = np.empty(shape, np.int16) if integers else np.empty(shape, np.float32)
        for path, group in groupby(enumerate(planes), key=lambda pair: pair[1].path):
            frames = list(group)
            for (index, plane), stored in zip(frames, decoded_frames(path, len(frames)), strict=True):
                values = rescale(stored, plane)
                if voxels.dtype == np.int16 and (values.min() < INT16.min or values.max() > INT16.max):
                    voxels = voxels.astype(np.float32)
                voxels[slice_of[index]] = values
    except MemoryError as error:
        text = f"{shape[0]} slices of {shape[1]} x {shape[2]} do not fit into memory"
        raise NotAnalysed("too_large", text) from error
    return voxels
