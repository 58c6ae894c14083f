"""What a compressed frame tells before it is decoded: the size it declares, and whether it is whole.

A decoder believes that size, and allocates, before anyone can compare; and some decode a frame that was cut short
without a word.
"""

from collections.abc import Iterator

J2K_START = b"\xff\x4f\xff\x51"  # SOC, SIZ (ISO/IEC 15444-1 A.4.1, A.5.1)
JP2_HEADER_LIMIT = 4096
# SOF0 to SOF15 without DHT, JPG, DAC (ISO/IEC 10918-1 B.1.1.3), and SOF55 of JPEG-LS (ISO/IEC 14495-1 C.1.1)
FRAME_MARKERS = frozenset({*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC})

END = b"\xff\xd9"  # EOI, EOC: no entropy-coded data can hold it
PADDING_LIMIT = 64


def is_whole(codestream: bytes) -> bool:
    """Whether the codestream comes to its end marker, padding aside."""
    return END in codestream[-PADDING_LIMIT:]


def declared_shape(codestream: bytes) -> tuple[int, int] | None:
    """(rows, columns) that a JPEG, JPEG-LS, JPEG 2000 or HTJ2K codestream declares; None when it cannot be told."""
    start = codestream.find(J2K_START, 0, JP2_HEADER_LIMIT)
    if start >= 0:
        columns, rows, left, top = (_number(codestream, start + at, 4) for at in (8, 12, 16, 20))
        return rows - top, columns - left
    for marker, at in _segments(codestream):
        if marker in FRAME_MARKERS:
            return _number(codestream, at + 5, 2), _number(codestream, at + 7, 2)
    return None


def _segments(codestream: bytes) -> Iterator[tuple[int, int]]:
    """Marker and offset of the JPEG segments before the first scan."""
    at = 2
    while codestream[at : at + 1] == b"\xff" and at + 4 <= len(codestream):
        marker = codestream[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        yield marker, at
        at += 2 + _number(codestream, at + 2, 2)


def _number(codestream: bytes, at: int, length: int) -> int:
    return int.from_bytes(codestream[at : at + length], "big")
