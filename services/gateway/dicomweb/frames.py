"""The frames of an instance (PS3.18 10.4.1.1): as they are stored, or decoded; one in memory at a time."""

from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, cast

import numpy.typing as npt
from pydicom.dataelem import RawDataElement
from pydicom.encaps import get_frame
from pydicom.pixels.utils import get_expected_length, iter_pixels, pack_bits
from pydicom.uid import ExplicitVRLittleEndian

from services.backends.elements import PIXEL_DATA
from services.backends.files.pixels import UNREADABLE
from services.gateway.dicomweb.json_model import read_header
from services.gateway.dicomweb.negotiate import OCTET_STREAM, Offer
from services.gateway.dicomweb.stored import StoredFile, undecodable
from services.gateway.problems import ProblemError

# PS3.18 8.7.3: by the last parts of the transfer syntax, below 1.2.840.10008.1.2
_MEDIA_TYPES = {
    "image/jpeg": ("4.50", "4.51", "4.57", "4.70"),
    "image/jls": ("4.80", "4.81"),
    "image/jp2": ("4.90", "4.91"),
    "image/jpx": ("4.92", "4.93"),
    "image/jphc": ("4.201", "4.202", "4.203"),
    "image/jxl": ("4.110", "4.111", "4.112"),
    "image/dicom-rle": ("5",),
    "video/mpeg2": ("4.100", "4.101"),
    "video/mp4": ("4.102", "4.103", "4.104", "4.105", "4.106"),
}
_MEDIA_TYPE = {f"1.2.840.10008.1.2.{end}": name for name, ends in _MEDIA_TYPES.items() for end in ends}
_MAX_FRAME_PIXELS = 1 << 26  # far beyond any real frame


def frame_offers(stored: StoredFile, *, bare: bool) -> list[Offer]:
    """In which media types and transfer syntaxes its frames can be given, as stored first; in parts, or also bare."""
    syntaxes: list[tuple[str, str]] = []
    if stored.is_encapsulated:
        syntax = str(stored.transfer_syntax)
        syntaxes = [(_MEDIA_TYPE.get(syntax, OCTET_STREAM), syntax), (OCTET_STREAM, syntax)]
    if stored.is_convertible:
        syntaxes.append((OCTET_STREAM, ExplicitVRLittleEndian))
    return [
        Offer(media_type=media_type, transfer_syntax=syntax, multipart=in_parts)
        for in_parts in ((True, False) if bare else (True,))
        for media_type, syntax in syntaxes
    ]


def read_frames(stored: StoredFile, numbers: Sequence[int] | None, transfer_syntax: str) -> Iterator[bytes]:
    """The bytes of these frames, numbered from 1, in their order; None: of all.

    Raises ProblemError: 404 before the first where there is no such frame, 406 where one cannot be decoded.
    """
    with stored.open() as file:
        pixels = PixelData(stored, file)
        pixels.require(numbers or ())
        read = pixels.decoded if transfer_syntax == ExplicitVRLittleEndian else pixels.encoded
        try:
            for number in numbers or range(1, pixels.count + 1):
                yield read(number)
        except (*UNREADABLE, OSError) as error:
            raise undecodable() from error


class PixelData:
    """The pixel data of an open file, frame by frame; frames are numbered from 1, `count` is the last.

    Reading one raises whatever of UNREADABLE the decoders raise.
    """

    def __init__(self, stored: StoredFile, file: BinaryIO) -> None:
        """Raises ProblemError: 404 where there are none, 406 where the header cannot be understood."""
        self._is_encapsulated = stored.is_encapsulated
        self._file = file
        self.header = header = read_header(file)
        tag = next((tag for tag in PIXEL_DATA if tag in header), None)
        if tag is None:
            raise _no_pixel_data()
        element = cast(RawDataElement, header.get_item(tag, keep_deferred=True))
        self._start, self._length = element.value_tell, element.length
        try:
            self.count = max(1, int(header.get("NumberOfFrames") or 1))
        except UNREADABLE as error:
            raise undecodable() from error

    def require(self, numbers: Sequence[int]) -> None:
        """Raises ProblemError (404) where one of these frames is not there."""
        if any(number > self.count for number in numbers):
            raise _unknown_frame(self.count)

    def encoded(self, number: int) -> bytes:
        """As it is stored, its fragments joined (PS3.5 A.4)."""
        tables = ("ExtendedOffsetTable", "ExtendedOffsetTableLengths")
        offsets = tuple(self.header[name].value for name in tables) if tables[0] in self.header else None
        self._file.seek(self._start)
        return get_frame(self._file, number - 1, number_of_frames=self.count, extended_offsets=offsets)

    def decoded(self, number: int) -> bytes:
        """In Explicit VR Little Endian; what was compressed colour is RGB."""
        header = self.header
        if self._is_encapsulated:
            values = self.array(number)
            if values.ndim == 3 and header.get("PlanarConfiguration") == 1:  # as the metadata say
                values = values.transpose(2, 0, 1)
            return values.tobytes()
        if header.BitsAllocated == 1 and header.Rows * header.Columns % 8:
            return bytes(pack_bits(self.array(number), pad=False))  # it begins inside a byte (PS3.5 8.1.1)
        length = get_expected_length(header) // self.count
        if number * length > self._length:
            raise ValueError("the pixel data end before this frame does")
        self._file.seek(self._start + (number - 1) * length)
        return self._file.read(length)

    def array(self, number: int) -> npt.NDArray[Any]:
        """[row, column] or [row, column, sample]; YCbCr as RGB, else the values as they are stored."""
        if self.header.Rows * self.header.Columns > _MAX_FRAME_PIXELS:
            raise ValueError("a header that says this of its frames is not believed")
        return next(iter_pixels(self._file, indices=[number - 1]))


def _no_pixel_data() -> ProblemError:
    return ProblemError(
        404,
        "no_pixel_data",
        "No pixel data",
        detail="The instance has no pixel data: no frames, and nothing to be seen.",
        way_out="Retrieve the instance itself, or its /metadata.",
    )


def _unknown_frame(count: int) -> ProblemError:
    return ProblemError(
        404,
        "unknown_frame",
        "Unknown frame",
        detail=f"The instance has {count} frame(s), numbered from 1.",
        way_out="Ask for these only.",
    )
