"""The planes of one file as its header tells them: one in a classic image, one per frame in an enhanced one.

Classic attributes are of PS3.3 C.7.6.2 and C.7.6.3, enhanced ones of the functional groups of C.7.6.16.
"""

import math
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from services.backends.image_header import ReadHeader, read_header
from services.triage.errors import NotAnalysed
from services.triage.geometry import normal_of

MODALITIES = frozenset({"CT", "MR", "PT"})
HOUNSFIELD_TYPES = frozenset({"", "HU", "HU_MOD", "US"})  # US: unspecified, as some CTs write
GRAYSCALE = frozenset({"MONOCHROME1", "MONOCHROME2"})
MAX_SIDE = 16384
UPRIGHT = math.cos(math.radians(0.5))
"""Along the body's axis, the normal of a slice that lies upright, whichever way the patient is turned in it."""

# What pydicom raises on a header that cannot be read, or when a value is asked for that cannot be understood.
HEADER_ERRORS = (
    InvalidDicomError,
    BytesLengthException,
    ValueError,
    AttributeError,
    TypeError,
    KeyError,
    IndexError,
    EOFError,
    NotImplementedError,
    OverflowError,
    RecursionError,
    struct.error,
    zlib.error,
)


@dataclass(frozen=True, kw_only=True)
class Plane:
    """One slice before it is decoded.

    frame_number: from 1 in a multi-frame object, else None. shape: (rows, columns). position: mm, LPS.
    orientation: six cosines, along a row first. pixel_spacing_mm: (between rows, between columns).
    padding: lowest and highest stored value that is no image. frame_of_reference_uid: "" where an anonymiser took it.
    """

    path: Path
    study_instance_uid: str
    series_instance_uid: str
    sop_class_uid: str
    sop_instance_uid: str
    frame_number: int | None
    modality: str
    frame_of_reference_uid: str
    shape: tuple[int, int]
    position: tuple[float, ...]
    orientation: tuple[float, ...]
    pixel_spacing_mm: tuple[float, ...]
    slope: float
    intercept: float
    padding: tuple[int, int] | None


def open_dataset(path: Path, read: ReadHeader) -> Dataset:
    """Read a file, with or without preamble and file meta information; its transfer syntax is always set.

    Raises NotAnalysed(unreadable_header).
    """
    try:
        dataset = read(path)
        if "TransferSyntaxUID" not in dataset.file_meta:
            implicit, little_endian = dataset.original_encoding
            explicit = ExplicitVRLittleEndian if little_endian else ExplicitVRBigEndian
            dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    except HEADER_ERRORS as error:
        raise NotAnalysed("unreadable_header", "a file of the series cannot be read as DICOM") from error
    return dataset


def read_planes(path: Path, read: ReadHeader = read_header) -> list[Plane]:
    """Read the planes of one file, in frame order.

    Raises NotAnalysed: unreadable_header, no_pixels, unsupported_modality, not_grayscale, unsupported_pixels,
    implausible_size, no_geometry, bad_geometry, no_rescale, gantry_tilt.
    """
    dataset = open_dataset(path, read)
    try:
        _refuse_other_images(dataset)
        if "PerFrameFunctionalGroupsSequence" in dataset:
            return _enhanced(dataset, path)
        if _frames(dataset) != 1:
            raise NotAnalysed("no_geometry", "a multi-frame image does not tell where its frames lie")
        return [_plane(dataset, path, None, (dataset,))]
    except HEADER_ERRORS as error:
        raise NotAnalysed("unreadable_header", "a header of the series holds a value that has no meaning") from error


def _refuse_other_images(dataset: Dataset) -> None:
    modality = str(dataset.get("Modality", ""))
    if "SOPClassUID" not in dataset:
        raise NotAnalysed("unreadable_header", "a file of the series is no DICOM instance")
    if "Rows" not in dataset or "Columns" not in dataset:
        raise NotAnalysed("no_pixels", "an instance of the series is no image")
    if modality not in MODALITIES:
        raise NotAnalysed("unsupported_modality", f"only {', '.join(sorted(MODALITIES))} make volumes")
    if dataset.get("SamplesPerPixel", 1) != 1 or dataset.PhotometricInterpretation not in (
        "MONOCHROME1",
        "MONOCHROME2",
    ):
        raise NotAnalysed("not_grayscale", "an image of the series has colours")
    allocated, stored, high = dataset.BitsAllocated, dataset.BitsStored, dataset.get("HighBit", dataset.BitsStored - 1)
    if allocated not in (8, 16, 32) or not 1 <= stored <= allocated or high != stored - 1:
        raise NotAnalysed("unsupported_pixels", f"bits allocated {allocated}, stored {stored}, high bit {high}")
    rows, columns, frames = dataset.Rows, dataset.Columns, _frames(dataset)
    if not (0 < rows <= MAX_SIDE and 0 < columns <= MAX_SIDE and frames > 0):
        raise NotAnalysed("implausible_size", f"{frames} frames of {rows} x {columns} are declared")


def _frames(dataset: Dataset) -> int:
    return int(dataset.get("NumberOfFrames") or 1)


def _enhanced(dataset: Dataset, path: Path) -> list[Plane]:
    shared = dataset.get("SharedFunctionalGroupsSequence") or [Dataset()]
    per_frame = dataset.PerFrameFunctionalGroupsSequence
    if len(per_frame) != _frames(dataset):
        raise NotAnalysed("no_geometry", f"{_frames(dataset)} frames, but geometry for {len(per_frame)}")
    planes = []
    for number, groups in enumerate(per_frame, 1):
        macros = [
            item[0]
            for keyword in (
                "PlanePositionSequence",
                "PlaneOrientationSequence",
                "PixelMeasuresSequence",
                "PixelValueTransformationSequence",
                "CTAcquisitionDetailsSequence",
                "CTImageFrameTypeSequence",
            )
            if (item := groups.get(keyword) or shared[0].get(keyword))
        ]
        planes.append(_plane(dataset, path, number, macros))
    return planes


def _plane(dataset: Dataset, path: Path, frame_number: int | None, macros: Sequence[Dataset]) -> Plane:
    """`macros`: where the attributes of this plane are found, the data set itself in a classic image."""
    slope, intercept = _rescale(dataset.Modality, macros)
    orientation = _numbers(macros, "ImageOrientationPatient", 6)
    _refuse_contradicted_tilt((*macros, dataset), orientation)
    return Plane(
        path=path,
        study_instance_uid=str(dataset.StudyInstanceUID),
        series_instance_uid=str(dataset.SeriesInstanceUID),
        sop_class_uid=str(dataset.SOPClassUID),
        sop_instance_uid=str(dataset.SOPInstanceUID),
        frame_number=frame_number,
        modality=str(dataset.Modality),
        frame_of_reference_uid=str(dataset.get("FrameOfReferenceUID") or ""),
        shape=(int(dataset.Rows), int(dataset.Columns)),
        position=_numbers(macros, "ImagePositionPatient", 3),
        orientation=orientation,
        pixel_spacing_mm=_numbers(macros, "PixelSpacing", 2),
        slope=slope,
        intercept=intercept,
        padding=_padding(dataset),
    )


def _refuse_contradicted_tilt(macros: Sequence[Dataset], orientation: tuple[float, ...]) -> None:
    """A gantry said to lean while the slices are said to lie upright: one of the two is wrong.

    Not so in what was reformatted from leaning slices, which keeps the tilt of its source and says that it is DERIVED.
    """
    tilt = abs(float(str(_found(macros, "GantryDetectorTilt") or 0)))
    types = _found(macros, "FrameType") or _found(macros, "ImageType") or ()
    if tilt < 1 or (isinstance(types, Sequence) and "DERIVED" in types):
        return
    if abs(normal_of(orientation)[2]) > UPRIGHT:
        raise NotAnalysed("gantry_tilt", f"the gantry leans {tilt:.1f} degrees, the slices are said to be upright")


def _found(macros: Sequence[Dataset], keyword: str) -> object:
    return next((macro[keyword].value for macro in macros if keyword in macro), None)


def _numbers(macros: Sequence[Dataset], keyword: str, count: int) -> tuple[float, ...]:
    value = _found(macros, keyword)
    numbers = tuple(float(part) for part in value) if isinstance(value, Sequence) else ()
    if len(numbers) != count:
        raise NotAnalysed("no_geometry", f"{keyword} is missing or incomplete in an image of the series")
    return numbers


def _rescale(modality: str, macros: Sequence[Dataset]) -> tuple[float, float]:
    """Slope and intercept; only MR may have none."""
    if _found(macros, "ModalityLUTSequence"):
        raise NotAnalysed("no_rescale", "values are told by a look-up table, not by slope and intercept")
    slope, intercept = _found(macros, "RescaleSlope"), _found(macros, "RescaleIntercept")
    if modality == "MR" and slope is None and intercept is None:
        return 1.0, 0.0
    if slope is None or intercept is None:
        raise NotAnalysed("no_rescale", f"a {modality} image has no rescale slope or intercept")
    kind = str(_found(macros, "RescaleType") or "")
    if modality == "CT" and kind not in HOUNSFIELD_TYPES:
        raise NotAnalysed("no_rescale", f"CT values are told in {kind[:16]!r}, not in Hounsfield units")
    numbers = float(str(slope)), float(str(intercept))
    if not all(map(math.isfinite, numbers)) or numbers[0] == 0:
        raise NotAnalysed("no_rescale", f"rescale slope {numbers[0]} and intercept {numbers[1]} have no meaning")
    return numbers


def _padding(dataset: Dataset) -> tuple[int, int] | None:
    if dataset.get("PixelPaddingValue") is None:
        return None
    first = _stored(dataset, int(dataset.PixelPaddingValue))
    limit = dataset.get("PixelPaddingRangeLimit")
    last = first if limit is None else _stored(dataset, int(limit))
    return min(first, last), max(first, last)


def _stored(dataset: Dataset, value: int) -> int:
    """Some scanners write a negative padding value of signed pixels as if it were unsigned: 63536 for -2000."""
    wraps = dataset.PixelRepresentation == 1 and value >= 1 << (dataset.BitsAllocated - 1)
    return value - (1 << dataset.BitsAllocated) if wraps else value
