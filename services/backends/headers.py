"""From the bytes of a DICOM file to an `Instance`: headers only, pixels are neither read nor decoded.

Strict about what a receiver promises (whole, readable UIDs, the transfer syntax it says), tolerant about all the rest:
a value that cannot be understood is an absent value.
"""

import hashlib
import math
import re
import zlib
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Literal

from pydicom.charset import convert_encodings, decode_bytes, default_encoding, python_encoding
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from pydicom.valuerep import PN_DELIMS, TEXT_VR_DELIMS

from services.backends.elements import PIXEL_DATA, Buffer, Element, ElementReader, Encoding
from services.backends.part10 import open_part10
from services.triage.completeness import ROUTABLE_MODALITIES
from services.triage.errors import InstanceRefused, NotAnalysed
from services.triage.geometry import stack_of
from services.triage.study import Instance, InstanceHeader, Stack, StudyAttributes

MAX_INFLATED_BYTES = 1 << 29
"""A deflated data set may become so large; above `_ALWAYS_BYTES` not more than `_MOST_TIMES` larger than it came."""

_ALWAYS_BYTES = 1 << 27  # a segmentation of some hundred empty slices: a thousand times smaller when it is deflated
_MOST_TIMES = 100  # images shrink to a half or a third
_UID = re.compile(r"(?=\.*[0-9])[0-9.]{1,64}")  # dots alone are a way to another folder or address
_DELIMITERS = PN_DELIMS | TEXT_VR_DELIMS | {0x3D}
_CODECS = frozenset(python_encoding.values())
_ENCODINGS = {
    ImplicitVRLittleEndian: Encoding(explicit_vr=False),
    "1.2.840.10008.1.20": Encoding(explicit_vr=False),
    ExplicitVRBigEndian: Encoding(little_endian=False),
}
_NATIVE = frozenset(
    {ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian}
)
_DEFLATED = frozenset(
    {DeflatedExplicitVRLittleEndian, "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"}  # JPIP ... Deflate
)

_CHARACTER_SET, _SOP_CLASS, _SOP_INSTANCE = 0x00080005, 0x00080016, 0x00080018
_STUDY, _SERIES, _FRAME_OF_REFERENCE = 0x0020000D, 0x0020000E, 0x00200052
_THICKNESS, _SPACING, _ORIENTATION, _POSITION = 0x00180050, 0x00280030, 0x00200037, 0x00200032
_SHARED_GROUPS, _PER_FRAME_GROUPS = 0x52009229, 0x52009230
_PIXEL_MEASURES, _PLANE_ORIENTATION, _PLANE_POSITION = 0x00289110, 0x00209116, 0x00209113
_GEOMETRY_MACROS = (_PIXEL_MEASURES, _PLANE_ORIENTATION, _PLANE_POSITION)
_GEOMETRY = (_THICKNESS, _SPACING, _ORIENTATION, _POSITION)
_AGENT, _AGENT_SEQUENCE, _USAGE, _ADMINISTERED = 0x00180010, 0x00180012, 0x00189341, 0x00189342
_CODE_MEANING, _CODE_VALUE = 0x00080104, 0x00080100
_IMAGE_TYPE, _FRAMES = 0x00080008, 0x00280008


def read_instance(source: bytes | Path) -> Instance:
    """Read one Part 10 file (or its bytes), with or without preamble; `digest` is of the data set after group 2.

    Raises InstanceRefused: empty, not_dicom, truncated, wrong_length, nested_too_deep, missing_uid, invalid_uid,
    lying_transfer_syntax, too_large (inflated), too_many_elements. OSError when a path cannot be read.
    """
    if isinstance(source, bytes):
        return _read(memoryview(source))
    with source.open("rb") as file:
        if not source.stat().st_size:
            raise InstanceRefused("empty", "no bytes at all")
        with mmap(file.fileno(), 0, access=ACCESS_READ) as content, memoryview(content) as view:
            return _read(view)


def is_uid(text: str) -> bool:
    """Whether it has the form of a UID, leniently: some that are in use break PS3.5 9.1 otherwise."""
    return _UID.fullmatch(text) is not None


def _read(content: memoryview) -> Instance:
    part10 = open_part10(content)
    with content[part10.data_set_offset :] as stored:
        syntax = part10.transfer_syntax_uid
        data = _inflated(stored) if syntax in _DEFLATED else stored
        syntax, encoding = _checked_encoding(data, syntax)
        values = _Values(ElementReader(data, encoding), syntax)
        return Instance(
            header=values.header(),
            study=values.study(),
            digest=hashlib.sha256(stored).hexdigest(),
            size_bytes=len(content),
        )


def _inflated(stored: Buffer) -> bytes:
    most = min(MAX_INFLATED_BYTES, max(_ALWAYS_BYTES, _MOST_TIMES * len(stored)))
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        data = inflater.decompress(stored, most)
    except zlib.error as error:
        raise InstanceRefused("lying_transfer_syntax", "said to be deflated, but cannot be inflated") from error
    if inflater.unconsumed_tail:
        raise InstanceRefused("too_large", f"{len(stored)} bytes inflate to more than {most}")
    if not inflater.eof:
        raise InstanceRefused("truncated", "the deflated data set ends early")
    return data


def _checked_encoding(data: Buffer, syntax: str) -> tuple[str, Encoding]:
    """The transfer syntax, guessed from the first element where none is told, and how its elements are written."""
    if len(data) < 8:
        raise InstanceRefused("truncated", "no data set after the file meta information")
    explicit = bytes(data[4:6]).isalpha() and bytes(data[4:6]).isupper()
    # the first group of any data set is far below 0x0100: its high byte tells the byte order
    seen = Encoding(explicit_vr=explicit, little_endian=data[0] != 0 or data[1] == 0)
    if not syntax:
        big = not seen.little_endian
        syntax = ExplicitVRBigEndian if big else ExplicitVRLittleEndian if explicit else ImplicitVRLittleEndian
    # every transfer syntax but two, private ones included, is Explicit VR Little Endian (PS3.5 A.4)
    encoding = _ENCODINGS.get(syntax, Encoding())
    if seen != encoding:
        raise InstanceRefused("lying_transfer_syntax", f"the data set is not written in {syntax[:64]}")
    return str(syntax), encoding


class _Values:
    """The values of one data set, each '' or None where it is absent or cannot be understood."""

    def __init__(self, reader: ElementReader, syntax: str) -> None:
        self._reader = reader
        self._syntax = syntax
        self._elements = reader.read()
        character_sets = self._ascii(self._elements.get(_CHARACTER_SET)).split("\\")
        self._encodings = _encodings([name.strip() for name in character_sets])
        self._byte_order: Literal["little", "big"] = "little" if reader.encoding.little_endian else "big"

    def header(self) -> InstanceHeader:
        pixels = next((self._elements[tag] for tag in PIXEL_DATA if tag in self._elements), None)
        if pixels and pixels.defined != (self._syntax in _NATIVE) and _is_known_image_syntax(self._syntax):
            raise InstanceRefused("lying_transfer_syntax", f"the pixel data are not written in {self._syntax}")
        thickness, spacing, orientation, position = self._geometry()
        modality, frames = self._text(0x00080060), self._integer(_FRAMES) or 1
        return InstanceHeader(
            sop_class_uid=self._uid(_SOP_CLASS, "SOP Class UID"),
            sop_instance_uid=self._uid(_SOP_INSTANCE, "SOP Instance UID"),
            series_instance_uid=self._uid(_SERIES, "Series Instance UID"),
            study_instance_uid=self._uid(_STUDY, "Study Instance UID"),
            transfer_syntax_uid=self._syntax,
            frame_of_reference_uid=self._ascii(self._elements.get(_FRAME_OF_REFERENCE)),
            image_type=tuple(part.strip() for part in self._text(_IMAGE_TYPE).split("\\") if part.strip()),
            number_of_frames=frames,
            has_pixel_data=pixels is not None and pixels.end > pixels.start,
            slice_thickness_mm=thickness[0] if thickness else None,
            pixel_spacing_mm=(spacing[0], spacing[1]) if spacing and len(spacing) == 2 else None,
            image_orientation_patient=orientation if orientation and len(orientation) == 6 else None,
            image_position_patient=position if position and len(position) == 3 else None,
            frames=self._frames(orientation) if frames > 1 and modality in ROUTABLE_MODALITIES else None,
            modality=modality,
            series_number=self._integer(0x00200011),
            instance_number=self._integer(0x00200013),
            series_description=self._text(0x0008103E),
            protocol_name=self._text(0x00181030),
            body_part_examined=self._text(0x00180015),
            contrast_bolus_agent=self._contrast_agent(),
            manufacturer=self._text(0x00080070),
            manufacturer_model_name=self._text(0x00081090),
            convolution_kernel=self._text(0x00181210),
            photometric_interpretation=self._text(0x00280004),
            rows=self._unsigned(0x00280010),
            columns=self._unsigned(0x00280011),
            samples_per_pixel=self._unsigned(0x00280002),
            requested_procedure_priority=self._text(0x00401003),
        )

    def study(self) -> StudyAttributes:
        return StudyAttributes(
            study_instance_uid=self._uid(_STUDY, "Study Instance UID"),
            patient_id=self._text(0x00100020),
            issuer_of_patient_id=self._text(0x00100021),
            patient_name=self._text(0x00100010),
            patient_birth_date=self._text(0x00100030),
            patient_sex=self._text(0x00100040),
            patient_age=self._text(0x00101010),
            study_date=self._text(0x00080020),
            study_time=self._text(0x00080030),
            study_description=self._text(0x00081030),
            study_id=self._text(0x00200010),
            accession_number=self._text(0x00080050),
        )

    def _geometry(self) -> tuple[tuple[float, ...] | None, ...]:
        """Thickness, spacing, orientation, position; of the first frame in a multi-frame object (PS3.3 C.7.6.16)."""
        places = self._of_first_frame(*_GEOMETRY_MACROS) | self._elements
        return tuple(self._decimals(places.get(tag)) for tag in _GEOMETRY)

    def _frames(self, orientation: tuple[float, ...] | None) -> Stack | None:
        """How the frames lie, where each tells its position (PS3.3 C.7.6.16.2.3)."""
        per_frame = self._elements.get(_PER_FRAME_GROUPS)
        positions = []
        for item in self._reader.items(per_frame) if per_frame else ():
            plane = self._of_first_item(self._reader.read(*item).get(_PLANE_POSITION))
            position = self._decimals(plane.get(_POSITION))
            if position is None or len(position) != 3:
                return None
            positions.append(position)
        try:
            return stack_of(positions, orientation or ()) if positions else None
        except NotAnalysed:
            return None

    def _contrast_agent(self) -> str:
        """Contrast/Bolus Agent; where it is told by code, as in enhanced objects (PS3.3 C.7.6.4b), what that means."""
        if self._ascii(self._of_first_frame(_USAGE).get(_ADMINISTERED)) == "NO":
            return "NO"
        code = self._of_first_item(self._elements.get(_AGENT_SEQUENCE))
        told = (self._text(_AGENT), self._text(_CODE_MEANING, code), self._text(_CODE_VALUE, code))
        return next((text for text in told if text), "")

    def _of_first_frame(self, *macros: int) -> dict[int, Element]:
        """The elements of these functional groups, shared ones and those of the first frame."""
        places: dict[int, Element] = {}
        for groups in (_SHARED_GROUPS, _PER_FRAME_GROUPS):
            frame = self._of_first_item(self._elements.get(groups))
            for macro in macros:
                places |= self._of_first_item(frame.get(macro))
        return places

    def _of_first_item(self, sequence: Element | None) -> dict[int, Element]:
        item = next(self._reader.items(sequence), None) if sequence else None
        return self._reader.read(*item) if item else {}

    def _uid(self, tag: int, name: str) -> str:
        uid = self._ascii(self._elements.get(tag))
        if not uid:
            raise InstanceRefused("missing_uid", f"no {name}")
        if not is_uid(uid):
            raise InstanceRefused("invalid_uid", f"{name} is not a UID of digits and dots, at most 64 long")
        return uid

    def _bytes(self, place: Element | None) -> bytes:
        return b"" if place is None else bytes(self._reader.data[place.start : place.end]).strip(b"\x00 ")

    def _ascii(self, place: Element | None) -> str:
        return self._bytes(place).decode("ascii", "replace")

    def _text(self, tag: int, elements: dict[int, Element] | None = None) -> str:
        """elements: those that hold the tag, by default the data set's own."""
        value = self._bytes((self._elements if elements is None else elements).get(tag))
        value = value.replace(b"\x00", b"")  # no database takes NUL in a text
        return value.decode("ascii") if value.isascii() and b"\x1b" not in value else self._decoded(value)

    def _decoded(self, value: bytes) -> str:
        return decode_bytes(value, self._encodings, _DELIMITERS).strip()

    def _integer(self, tag: int) -> int | None:
        try:
            number = int(self._ascii(self._elements.get(tag)))
        except ValueError:
            return None
        return number if abs(number) < 1 << 31 else None  # PS3.5 table 6.2-1, IS

    def _unsigned(self, tag: int) -> int | None:
        place = self._elements.get(tag)
        if place is None or place.end - place.start < 2:
            return None
        return int.from_bytes(self._reader.data[place.start : place.start + 2], self._byte_order)

    def _decimals(self, place: Element | None) -> tuple[float, ...] | None:
        try:
            numbers = tuple(float(part) for part in self._ascii(place).split("\\"))
        except ValueError:
            return None
        return numbers if all(map(math.isfinite, numbers)) else None


def _encodings(character_sets: list[str]) -> list[str]:
    """Python's names of character sets; pydicom takes any codec of Python's for one, such as zlib_codec and idna."""
    try:
        found = convert_encodings(character_sets)
    except (LookupError, ValueError):
        return [default_encoding]
    return [name if name in _CODECS else default_encoding for name in found]


def _is_known_image_syntax(syntax: str) -> bool:
    return syntax in _NATIVE or syntax.startswith(("1.2.840.10008.1.2.4.", "1.2.840.10008.1.2.5"))
