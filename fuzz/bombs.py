"""Small inputs that cost much, and inputs made to leave their place: each a data set, and the syntax it is sent in."""

import struct
import zlib
from collections.abc import Callable
from random import Random

from pydicom.uid import CTImageStorage, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, JPEG2000Lossless

from fuzz.mutations import element, nested
from fuzz.values import UIDS
from services.backends.elements import Encoding

EXPLICIT = Encoding()
Bomb = Callable[[Random], tuple[bytes, str]]

_RLE, _JPEG_BASELINE = "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.50"
_JPEG_HEAD = bytes.fromhex("ffd8ffc0001108ffffffff03012200021101031101ffda000c03010002110311003f00")


def header(uid: str, *, study: bytes = b"", pixels: dict[int, int] | None = None) -> bytes:
    """The elements of an image up to its pixels, in a study of its own; `pixels`: values of US attributes."""
    values = {0x00280002: 1, 0x00280010: 8, 0x00280011: 8, 0x00280100: 8, 0x00280101: 8, 0x00280102: 7, 0x00280103: 0}
    elements = {
        0x00080016: (b"UI", CTImageStorage.encode()),
        0x00080018: (b"UI", uid.encode()),
        0x0020000D: (b"UI", study or f"{uid}.1".encode()),
        0x0020000E: (b"UI", f"{uid}.2".encode()),
        0x00280004: (b"CS", b"MONOCHROME2 "),
    }
    elements |= {tag: (b"US", struct.pack("<H", each)) for tag, each in (values | (pixels or {})).items()}
    return b"".join(
        element(tag, vr, value + b"\x00" * (len(value) % 2), EXPLICIT) for tag, (vr, value) in sorted(elements.items())
    )


def deep(dice: Random) -> tuple[bytes, str]:
    """Sequences in sequences, far deeper than anybody's stack."""
    value = nested(dice.choice((60, 200, 900, 3000)), EXPLICIT, dice)
    return header(new_uid(dice)) + element(0x00400275, b"SQ", value, EXPLICIT), ExplicitVRLittleEndian


def deflated(dice: Random) -> tuple[bytes, str]:
    """A thousand times larger when it is inflated."""
    size = dice.choice((1 << 20, 1 << 24, 1 << 26))
    data = header(new_uid(dice)) + element(0x7FE00010, b"OW", bytes(size), EXPLICIT)
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush(), DeflatedExplicitVRLittleEndian


def many(dice: Random) -> tuple[bytes, str]:
    """Very many elements, or items, with nothing in them."""
    count = dice.choice((2000, 20_000))
    if dice.random() < 0.5:
        private = b"".join(element(0x00110000 + number % 0xFFFF, b"LO", b"", EXPLICIT) for number in range(count))
        return header(new_uid(dice)) + private, ExplicitVRLittleEndian
    items = struct.pack("<HHI", 0xFFFE, 0xE000, 0) * count
    return header(new_uid(dice)) + element(0x00400275, b"SQ", items, EXPLICIT), ExplicitVRLittleEndian


def elsewhere(dice: Random) -> tuple[bytes, str]:
    """A study whose UID is a way out of the folder."""
    return header(new_uid(dice), study=dice.choice(UIDS) or b" "), ExplicitVRLittleEndian


def huge_frame(dice: Random) -> tuple[bytes, str]:
    """A few bytes that say to be a frame of gigabytes."""
    told = {
        0x00280010: dice.choice((65535, 8192)),
        0x00280011: dice.choice((65535, 8192)),
        0x00280002: dice.choice((1, 3, 65535)),
        0x00280100: dice.choice((1, 8, 16, 32, 64)),
    }
    content, syntax = dice.choice(
        (
            (_JPEG_HEAD + bytes(64), _JPEG_BASELINE),
            (struct.pack("<16I", 1, 64, *[0] * 14) + b"\x81\x00" * 40, _RLE),
            (b"\xff\x4f\xff\x51" + bytes(80), JPEG2000Lossless),
            (bytes(64), ExplicitVRLittleEndian),
        )
    )
    if syntax == ExplicitVRLittleEndian:
        return header(new_uid(dice), pixels=told) + element(0x7FE00010, b"OW", content, EXPLICIT), syntax
    items = struct.pack("<HHI", 0xFFFE, 0xE000, 0) + struct.pack("<HHI", 0xFFFE, 0xE000, len(content)) + content
    head = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF)
    return header(new_uid(dice), pixels=told) + head + items + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0), syntax


def large(dice: Random) -> tuple[bytes, str]:
    """Larger than the settings allow."""
    return header(new_uid(dice)) + element(0x7FE00010, b"OW", bytes(5_000_000), EXPLICIT), ExplicitVRLittleEndian


BOMBS: tuple[Bomb, ...] = (deep, deflated, many, elsewhere, huge_frame, huge_frame, large)


def new_uid(dice: Random) -> str:
    """Of one length, so that it can be found again in the bytes."""
    return f"1.2.9.{dice.randrange(10**20, 10**21)}"
