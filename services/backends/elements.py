"""The elements of a data set by their place in the bytes (PS3.5 section 7): every length is checked, nothing copied.

pydicom reads on past a value that is cut short, or past one it was told to leave out; a receiver must notice.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from services.triage.errors import InstanceRefused

Buffer = bytes | memoryview

PIXEL_DATA = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
# PS3.5 7.1.2: these have two reserved bytes and a length of 32 bits
_LONG_VRS = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
_MAX_DEPTH = 64
MAX_ELEMENTS = 5_000_000
"""Looked at in one data set: the frames of a whole slide image have some each."""

_MAX_OUTER = 100_000  # of one level, which are remembered


@dataclass(frozen=True, slots=True)
class Encoding:
    """How elements are written (PS3.5 A.1 to A.4)."""

    explicit_vr: bool = True
    little_endian: bool = True


class Element(NamedTuple):
    """One element's place: value bytes [start, end), without delimiters; `defined` says whether a length was given."""

    start: int
    end: int
    defined: bool


class ElementReader:
    """Walks a buffer. Raises InstanceRefused (truncated, wrong_length, nested_too_deep, too_many_elements)."""

    def __init__(self, data: Buffer, encoding: Encoding) -> None:
        self.data = data
        self.encoding = encoding
        self._size = len(data)
        self._left = [MAX_ELEMENTS]  # shared with the readers of what lies inside
        endian = "<" if encoding.little_endian else ">"
        self._tag_length = struct.Struct(endian + "HHI")
        self._tag_vr = struct.Struct(endian + "HH2sH")
        self._length = struct.Struct(endian + "I")

    def read(self, start: int = 0, end: int | None = None) -> dict[int, Element]:
        """The elements of [start, end) by tag, those inside sequences left out; all must be whole."""
        return self._walk(start, self._size if end is None else end, depth=0)[0]

    def items(self, sequence: Element) -> Iterator[tuple[int, int]]:
        """The bytes [start, end) of each of a sequence's items."""
        at = sequence.start
        while sequence.end - at >= 8:
            tag, length = self._item_header(at)
            if tag != _ITEM:
                return
            start = at + 8
            if length == UNDEFINED:
                at = self._walk(start, sequence.end, depth=1)[1]
                yield start, at - 8
            else:
                at = self._checked(start, length, sequence.end)
                yield start, at

    def _walk(self, at: int, end: int, depth: int) -> tuple[dict[int, Element], int]:
        """Step over elements up to `end`, or, inside an item of undefined length (depth > 0), past its delimiter."""
        if depth > _MAX_DEPTH:
            raise InstanceRefused("nested_too_deep", f"sequences nested deeper than {_MAX_DEPTH}")
        found: dict[int, Element] = {}
        while at < end:
            if end - at < 8:
                if depth == 0 and not any(self.data[at:end]):
                    break
                raise InstanceRefused("truncated", f"ends inside an element's header at byte {at}")
            self._count(len(found))
            tag, is_sequence, length, start = self._header(at, end)
            if tag == _ITEM_END and depth:
                return found, start
            if tag == 0 and depth == 0 and not any(self.data[at:end]):
                break
            if length == UNDEFINED:
                stop, at = self._past_undefined(start, end, depth, fragments=tag in PIXEL_DATA, unknown=not is_sequence)
            else:
                stop = at = self._checked(start, length, end)
            if not depth:
                found[tag] = Element(start, stop, length != UNDEFINED)
        if depth and at >= end:
            raise InstanceRefused("truncated", "ends inside a sequence item")
        return found, at

    def _count(self, of_this_level: int) -> None:
        self._left[0] -= 1
        if self._left[0] < 0 or of_this_level > _MAX_OUTER:
            raise InstanceRefused("too_many_elements", "more elements than any object has")

    def _header(self, at: int, end: int) -> tuple[int, bool, int, int]:
        """(tag, whether VR is SQ or not told, length, start of the value)."""
        if not self.encoding.explicit_vr:
            group, element, length = self._tag_length.unpack_from(self.data, at)
            return group << 16 | element, True, length, at + 8
        group, element, vr, length = self._tag_vr.unpack_from(self.data, at)
        tag = group << 16 | element
        if vr in _LONG_VRS:
            if end - at < 12:
                raise InstanceRefused("truncated", f"ends inside an element's header at byte {at}")
            return tag, vr == b"SQ", self._length.unpack_from(self.data, at + 8)[0], at + 12
        if group == 0xFFFE:
            return tag, True, self._length.unpack_from(self.data, at + 4)[0], at + 8
        if tag and not (vr.isalpha() and vr.isupper()):
            raise InstanceRefused(
                "wrong_length", f"no value representation at byte {at + 4}: an earlier length is wrong"
            )
        return tag, False, length, at + 8

    def _past_undefined(self, at: int, end: int, depth: int, *, fragments: bool, unknown: bool) -> tuple[int, int]:
        """(end of the items, first byte past the sequence delimiter)."""
        # PS3.5 6.2.2 note 2: a UN of undefined length is a sequence in Implicit VR Little Endian
        inner = ElementReader(self.data, Encoding(explicit_vr=False)) if unknown and not fragments else self
        inner._left = self._left
        while True:
            if end - at < 8:
                raise InstanceRefused("truncated", "ends inside a sequence of undefined length")
            tag, length = inner._item_header(at)
            if tag == _SEQUENCE_END:
                return at, at + 8
            if tag != _ITEM or (fragments and length == UNDEFINED):
                raise InstanceRefused("wrong_length", f"no item where one must begin, at byte {at}")
            at += 8
            at = inner._walk(at, end, depth + 1)[1] if length == UNDEFINED else inner._checked(at, length, end)

    def _item_header(self, at: int) -> tuple[int, int]:
        group, element, length = self._tag_length.unpack_from(self.data, at)
        return group << 16 | element, length

    def _checked(self, start: int, length: int, end: int) -> int:
        if start + length > end:
            code = "truncated" if end == self._size else "wrong_length"
            raise InstanceRefused(code, f"an element at byte {start} declares {length} bytes, {end - start} are left")
        return start + length
