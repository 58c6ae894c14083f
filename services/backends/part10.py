"""The DICOM file format (PS3.10 section 7): the File Meta Information around a data set, which is never re-encoded."""

import hashlib
import struct
from dataclasses import dataclass

from pydicom.uid import PYDICOM_IMPLEMENTATION_UID

from services.backends.elements import Buffer, ElementReader, Encoding
from services.triage.errors import InstanceRefused

_PREAMBLE = b"\x00" * 128 + b"DICM"
PREAMBLE_BYTES = 128
# II or MM, then 42 or (BigTIFF) 43, in their byte order
_TIFF = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
_LOOKED_FOR_ANYWHERE = (b"%PDF-", b"PK\x03\x04")  # by programs that do not ask for them at the beginning
_FILE_META_VERSION = b"\x00\x01"
IMPLEMENTATION_VERSION_NAME = "VIGIE"
# without a preamble: group 2, or group 8 in either byte order
_FIRST_GROUPS = frozenset({b"\x02\x00", b"\x08\x00", b"\x00\x08"})
_TRANSFER_SYNTAX = 0x00020010


@dataclass(frozen=True, kw_only=True, slots=True)
class Part10:
    """Where the data set begins, and what File Meta Information says of it ('' where it is missing)."""

    data_set_offset: int
    transfer_syntax_uid: str


def wrap(
    data_set: bytes, *, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str, source_ae_title: str
) -> bytes:
    """A Part 10 file around the bytes of a data set as they came over the wire."""
    # written by hand: pydicom takes as long for these eight elements as a slice takes to be received
    meta = b"".join(
        (
            struct.pack("<HH2sHI", 2, 1, b"OB", 0, len(_FILE_META_VERSION)) + _FILE_META_VERSION,
            _text_element(0x0002, b"UI", sop_class_uid),
            _text_element(0x0003, b"UI", sop_instance_uid),
            _text_element(0x0010, b"UI", transfer_syntax_uid),
            _text_element(0x0012, b"UI", PYDICOM_IMPLEMENTATION_UID),
            _text_element(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME),
            _text_element(0x0016, b"AE", source_ae_title),
        )
    )
    return b"".join((_PREAMBLE, struct.pack("<HH2sHI", 2, 0, b"UL", 4, len(meta)), meta, data_set))


def open_part10(content: Buffer) -> Part10:
    """Find the data set of a file, with or without a preamble, with or without group 2.

    Raises InstanceRefused (empty, not_dicom, truncated, wrong_length).
    """
    if not len(content):
        raise InstanceRefused("empty", "no bytes at all")
    start = 132 if bytes(content[128:132]) == b"DICM" else 0
    if not start and bytes(content[:2]) not in _FIRST_GROUPS:
        raise InstanceRefused("not_dicom", "neither a DICOM preamble nor a data set that begins with group 8")
    end = _end_of_group_2(content, start)
    # tolerant: the group length is often wrong, so the elements themselves say where group 2 ends
    elements = ElementReader(content, Encoding()).read(start, end)
    syntax = elements.get(_TRANSFER_SYNTAX)
    uid = (
        "" if syntax is None else bytes(content[syntax.start : syntax.end]).rstrip(b"\x00 ").decode("ascii", "replace")
    )
    return Part10(data_set_offset=end, transfer_syntax_uid=uid)


def harmless(preamble: bytes) -> bytes:
    """The preamble (PS3.10 7.1) as it may be given to others: zeros, but for a TIFF's, by which a slide is both.

    A preamble may hold the beginning of a program, of a PDF or of an archive, and a file is then two things at once
    (CVE-2019-11687). What begins as TIFF is neither a program nor a script.
    """
    is_tiff = preamble.startswith(_TIFF) and not any(other in preamble for other in _LOOKED_FOR_ANYWHERE)
    return preamble if is_tiff else bytes(len(preamble))


def digest(content_part10: Buffer) -> str:
    """SHA-256 (hex) of the data set after group 2: the same instance has it whoever wrote the file around it."""
    offset = open_part10(content_part10).data_set_offset
    return hashlib.sha256(memoryview(content_part10)[offset:]).hexdigest()


def _text_element(element: int, vr: bytes, text: str) -> bytes:
    value = text.encode("ascii", "replace")
    if len(value) % 2:
        value += b"\x00" if vr == b"UI" else b" "
    return struct.pack("<HH2sH", 2, element, vr, len(value)) + value


def _end_of_group_2(content: Buffer, at: int) -> int:
    """The first byte that is no element of group 2 (always Explicit VR Little Endian, PS3.10 7.1)."""
    while bytes(content[at : at + 2]) == b"\x02\x00":
        if len(content) - at < 12:
            raise InstanceRefused("truncated", "ends inside the file meta information")
        long = bytes(content[at + 4 : at + 6]) in (b"OB", b"UN", b"OW", b"SQ", b"UT")
        length = struct.unpack_from("<I", content, at + 8)[0] if long else struct.unpack_from("<H", content, at + 6)[0]
        at += (12 if long else 8) + length
        if at > len(content):
            raise InstanceRefused("truncated", "ends inside the file meta information")
    return at
