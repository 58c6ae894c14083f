"""A lesion in a small picture, cut out of its key slice and outlined: source image and SEG in, JPEG out."""

from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydicom import Dataset
from pydicom.pixels.processing import apply_modality_lut

from services.backends.files.pixels import UNREADABLE
from services.gateway.dicomweb.frames import PixelData
from services.gateway.dicomweb.rendered import grey_of
from services.gateway.dicomweb.stored import StoredFile
from services.triage.lesion import Lesion

SIDE = 160
"""Pixels: twice what it takes on the page, for screens with two to each."""

LEAST_MM, LESIONS_WIDE = 70.0, 3.5  # what is shown around the lesion
OUTLINE = (255, 214, 0)
LUNG, SOFT_TISSUE = (-600.0, 1500.0, "LINEAR"), (40.0, 400.0, "LINEAR")  # HU: centre, width
_MOSTLY_AIR_HU = -500


class CannotDraw(Exception):
    """Source and segmentation are not such that a picture can be made of them."""


def cut_out(segmentation: StoredFile, lesion: Lesion, source_of: Callable[[str], StoredFile]) -> bytes:
    """A JPEG of SIDE x SIDE pixels. source_of: the file of a SOP Instance UID. Raises CannotDraw, ProblemError."""
    try:
        mask, source_uid, frame = _key_frame(segmentation, lesion)
        with (stored := source_of(source_uid)).open() as file:
            pixels = PixelData(stored, file)
            pixels.require([frame])
            values, header = pixels.array(frame), pixels.header
        if values.shape != mask.shape:
            raise CannotDraw("a segmentation on another grid than its source")
        return _drawn(values, header, mask, lesion, _spacing_mm(header))
    except (*UNREADABLE, OSError) as error:
        raise CannotDraw(type(error).__name__) from error


def _key_frame(segmentation: StoredFile, lesion: Lesion) -> tuple[npt.NDArray[np.bool_], str, int]:
    """The lesion's mask on its key slice, and that slice: SOP Instance UID and frame number (from 1)."""
    with segmentation.open() as file:
        pixels = PixelData(segmentation, file)
        shared = pixels.header.SharedFunctionalGroupsSequence[0]
        groups = pixels.header.PerFrameFunctionalGroupsSequence

        def told(number: int, keyword: str) -> Dataset:
            """What is said of this frame, by itself or of all (PS3.3 C.7.6.16)."""
            group = groups[number - 1]
            return (group if keyword in group else shared)[keyword].value[0]  # type: ignore[no-any-return]

        numbers = [
            number
            for number in range(1, len(groups) + 1)
            if told(number, "SegmentIdentificationSequence").ReferencedSegmentNumber == lesion.number
        ]

        def depth(number: int) -> float:
            cosines = told(number, "PlaneOrientationSequence").ImageOrientationPatient
            rows, columns = np.reshape(np.asarray(cosines, float), (2, 3))
            position = told(number, "PlanePositionSequence").ImagePositionPatient
            return float(np.asarray(position, float) @ np.cross(rows, columns))

        # a lesion is connected: it has a frame on every slice from its first to its last, sorted as the volume is
        key = sorted(numbers, key=depth)[lesion.key_slice - lesion.slice_range[0]]
        mask = pixels.array(key) > 0
        reference = told(key, "DerivationImageSequence").SourceImageSequence[0]
    frame = reference.get("ReferencedFrameNumber") or 1
    return mask, str(reference.ReferencedSOPInstanceUID), int(frame)


def _spacing_mm(header: Dataset) -> tuple[float, float]:
    """Along rows and columns (PS3.3 10.7.1.3), also of a multi-frame image."""
    holder = header
    for keyword in ("SharedFunctionalGroupsSequence", "PixelMeasuresSequence"):
        if "PixelSpacing" not in holder and keyword in holder:
            holder = holder[keyword].value[0]
    down, across = (float(one) for one in holder.PixelSpacing)
    if not (down > 0 and across > 0):
        raise CannotDraw("a pixel of no size")
    return down, across


def _drawn(
    values: npt.NDArray[Any], header: Dataset, mask: npt.NDArray[np.bool_], lesion: Lesion, spacing: tuple[float, float]
) -> bytes:
    rows, columns = np.nonzero(mask)
    if not rows.size:
        raise CannotDraw("an empty frame")
    wide_mm = max(LEAST_MM, LESIONS_WIDE * lesion.long_axis_mm)
    middle = rows.mean() + 0.5, columns.mean() + 0.5
    half = wide_mm / 2 / spacing[0], wide_mm / 2 / spacing[1]
    box = (middle[1] - half[1], middle[0] - half[0], middle[1] + half[1], middle[0] + half[0])
    inside = values[max(0, int(box[1])) : max(1, int(box[3]) + 1), max(0, int(box[0])) : max(1, int(box[2]) + 1)]
    grey = grey_of(values, header, _window(inside, header))
    picture = Image.fromarray(grey).transform((SIDE, SIDE), Image.Transform.EXTENT, box, Image.Resampling.BICUBIC)
    shape = Image.fromarray(mask.astype(np.uint8) * 255).transform(
        (SIDE, SIDE), Image.Transform.EXTENT, box, Image.Resampling.BILINEAR
    )
    coloured = np.array(picture.convert("RGB"))
    coloured[_ring(np.asarray(shape) > 127)] = OUTLINE
    content = BytesIO()
    Image.fromarray(coloured).save(content, "JPEG", quality=88, subsampling=0)
    return content.getvalue()


def _window(inside: npt.NDArray[Any], header: Dataset) -> tuple[float, float, str] | None:
    """Of a CT one that fits what surrounds the lesion; else as the image itself asks for."""
    if header.get("Modality") != "CT":
        return None
    return LUNG if np.median(apply_modality_lut(inside, header)) < _MOSTLY_AIR_HU else SOFT_TISSUE


def _ring(shape: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """A line of two pixels around a shape, one pixel off: it covers nothing of it."""
    inner = _grown(shape)
    return np.asarray(_grown(_grown(inner)) & ~inner)


def _grown(shape: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    padded = np.pad(shape, 1)
    return np.asarray(shape | padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:])
