"""Decoded frames of one file, and their values in the modality's own unit.

Values are stored x slope + intercept of each slice or frame (PS3.3 C.11.1, C.7.6.16.2.9); HU for CT. Padding
(PS3.3 C.7.5.1.1.2) becomes -1024, air, in CT, and 0 elsewhere.
"""

import struct
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom import Dataset, dcmread
from pydicom.encaps import generate_frames
from pydicom.errors import BytesLengthException
from pydicom.pixels.utils import iter_pixels
from pydicom.uid import RLELossless

from services.backends import rle  # noqa: F401 - its decoder is pydicom's from here on
from services.triage.errors import NotAnalysed
from services.worker.load.codestream import declared_shape, is_whole
from services.worker.load.planes import Plane, open_dataset

AIR_HU = -1024
INT16_MAX = np.iinfo(np.int16).max

Voxels = npt.NDArray[np.int16] | npt.NDArray[np.float32]
Stored = npt.NDArray[np.integer]

# What pydicom and its decoders raise on pixels that do not fit their header, are cut short or are corrupt.
PIXEL_ERRORS = (
    BytesLengthException,
    RuntimeError,
    ValueError,
    AttributeError,
    TypeError,
    KeyError,
    IndexError,
    EOFError,
    struct.error,
    OverflowError,
)


def decoded_frames(path: Path, count: int) -> Iterator[Stored]:
    """Decode the frames of one file, one [row, column] array of stored values each, in order.

    Raises NotAnalysed: no_pixels, undecodable_pixels (corrupt, cut short, or a syntax no decoder knows).
    """
    dataset = open_dataset(path, partial(dcmread, force=True))
    if "PixelData" not in dataset or not dataset.PixelData:
        raise NotAnalysed("no_pixels", "an image of the series has no pixel data")
    shape = (dataset.Rows, dataset.Columns)
    decoded = 0
    try:
        _refuse_lying_codestreams(dataset, count, shape)
        for frame in iter_pixels(dataset, raw=True):
            if frame.shape != shape or decoded == count:
                raise ValueError(f"frame {decoded + 1} decodes to {frame.shape}, {count} of {shape} are declared")
            yield frame
            decoded += 1
    except PIXEL_ERRORS as error:
        raise _undecodable(dataset, decoded) from error
    if decoded != count:
        raise _undecodable(dataset, decoded)


def _refuse_lying_codestreams(dataset: Dataset, count: int, shape: tuple[int, int]) -> None:
    syntax = dataset.file_meta.TransferSyntaxUID
    if not syntax.is_encapsulated or syntax == RLELossless:
        return
    for number, codestream in enumerate(generate_frames(dataset.PixelData, number_of_frames=count), 1):
        declared = declared_shape(codestream)
        if declared != shape:
            raise ValueError(f"the codestream of frame {number} declares {declared}, the header {shape}")
        if not is_whole(codestream):
            raise ValueError(f"the codestream of frame {number} is cut short")


def _undecodable(dataset: Dataset, decoded: int) -> NotAnalysed:
    syntax = dataset.file_meta.TransferSyntaxUID.name
    instance = dataset.get("InstanceNumber")
    return NotAnalysed("undecodable_pixels", f"frame {decoded + 1} of instance {instance} ({syntax}) cannot be decoded")


def rescale(stored: Stored, plane: Plane) -> npt.NDArray[np.integer] | npt.NDArray[np.float64]:
    """Turn stored values into the modality's unit: integers stay integers where slope and intercept are."""
    values: npt.NDArray[np.integer] | npt.NDArray[np.float64]
    if plane.slope.is_integer() and plane.intercept.is_integer():
        small = stored.itemsize <= 2 and max(abs(plane.slope), abs(plane.intercept)) <= INT16_MAX
        whole = stored.astype(np.int32) if small else stored.astype(np.int64)
        whole *= int(plane.slope)
        whole += int(plane.intercept)
        values = whole
    else:
        values = stored.astype(np.float64) * plane.slope + plane.intercept
    if plane.padding is not None:
        low, high = plane.padding
        values[(stored >= low) & (stored <= high)] = AIR_HU if plane.modality == "CT" else 0
    return values
