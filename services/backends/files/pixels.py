"""Whether two files of one instance show the same: a resend in another compression needs no new analysis."""

import struct
import zlib
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom import Dataset, dcmread
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.pixels.utils import iter_pixels

from services.backends import rle  # noqa: F401 - its decoder is pydicom's from here on

# Acquisition, relationship, image pixel and functional groups: what turns stored values into a volume in the patient.
_GEOMETRY_AND_SCALE = (0x0018, 0x0020, 0x0028, 0x5200)
_MAX_FRAME_PIXELS = 1 << 26  # a header may lie about its size: 64 million pixels is beyond any real frame

# What pydicom and its decoders raise for broken or unknown data sets.
UNREADABLE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    BytesLengthException,
    EOFError,
    InvalidDicomError,
    LookupError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)


def same_pixels(kept: Path, arrived: Path) -> bool:
    """Whether decoded pixels, geometry and scaling are equal, frame by frame. False too for what cannot be decoded."""
    try:
        old, new = (dcmread(path, stop_before_pixels=True, force=True) for path in (kept, arrived))
        if _relevant(old) != _relevant(new) or max(_frame_pixels(old), _frame_pixels(new)) > _MAX_FRAME_PIXELS:
            return False
        return all(
            one is not None and other is not None and np.array_equal(one, other)
            for one, other in zip_longest(_frames(kept), _frames(arrived))
        )
    except FileNotFoundError:
        raise
    except (*UNREADABLE, OSError):  # pydicom raises OSError where a sequence ends too early
        return False


def _relevant(header: Dataset) -> list[Dataset]:
    groups = [header.group_dataset(group) for group in _GEOMETRY_AND_SCALE]
    for group in groups:
        group.pop("StudyID", None)  # of the order, though it stands among the positions
    return groups


def _frame_pixels(header: Dataset) -> int:
    return int(header.Rows) * int(header.Columns) * int(header.SamplesPerPixel)


def _frames(path: Path) -> Iterator[npt.NDArray[np.generic]]:
    return iter_pixels(path, raw=True)
