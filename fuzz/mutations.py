"""What is done to a data set: bits, bytes, lengths, value representations, values, nesting; by dice, repeatable.

Each takes the bytes and answers others; those that need to know where an element lies look for it anew, since the
mutation before may have moved it.
"""

import struct
from collections.abc import Callable
from random import Random
from typing import NamedTuple

from fuzz.values import HOSTILE, LENGTHS, VRS, hostile_value
from services.backends.elements import Element, ElementReader, Encoding
from services.triage.errors import InstanceRefused

_LONG_VRS = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
_PIXEL_DATA = 0x7FE00010

Mutation = Callable[[bytes, Encoding, Random], bytes]


class Place(NamedTuple):
    """Where an element lies: its header's first byte, its VR (None in Implicit VR), its length and its value."""

    tag: int
    head: int
    vr: int | None
    length: int
    length_bytes: int
    start: int
    end: int


def places(data: bytes, encoding: Encoding) -> list[Place]:
    """The elements at the top of a data set that can still be read; none of one that cannot."""
    try:
        found = ElementReader(data, encoding).read()
    except InstanceRefused:
        return []
    return [_place(data, tag, element, encoding) for tag, element in found.items()]


def _place(data: bytes, tag: int, element: Element, encoding: Encoding) -> Place:
    start, end = element.start, element.end
    if not encoding.explicit_vr:
        return Place(tag, start - 8, None, start - 4, 4, start, end)
    if data[start - 8 : start - 6] in _LONG_VRS:
        return Place(tag, start - 12, start - 8, start - 4, 4, start, end)
    return Place(tag, start - 8, start - 4, start - 2, 2, start, end)


def flip_bits(data: bytes, _encoding: Encoding, dice: Random) -> bytes:
    """A few bits, mostly in the header."""
    changed = bytearray(data)
    for _ in range(dice.randint(1, 12)):
        changed[_somewhere(data, dice)] ^= 1 << dice.randrange(8)
    return bytes(changed)


def set_bytes(data: bytes, _encoding: Encoding, dice: Random) -> bytes:
    """A few bytes that mean something to readers."""
    changed = bytearray(data)
    for _ in range(dice.randint(1, 6)):
        changed[_somewhere(data, dice)] = dice.choice(b"\x00\x01\x7f\x80\xff\\^=/.%\x1b\n")
    return bytes(changed)


def cut(data: bytes, _encoding: Encoding, dice: Random) -> bytes:
    """An end that comes too early."""
    return data[: dice.randrange(len(data))]


def splice(data: bytes, _encoding: Encoding, dice: Random) -> bytes:
    """A piece left out, repeated, or brought to another place."""
    here, there = sorted((_somewhere(data, dice), _somewhere(data, dice)))
    piece = data[here : min(there, here + 512)]
    way = dice.randrange(3)
    if way == 0:
        return data[:here] + data[here + len(piece) :]
    if way == 1:
        return data[:here] + piece * dice.randint(2, 20) + data[here:]
    return data[:there] + piece + data[there:]


def lie_about_length(data: bytes, encoding: Encoding, dice: Random) -> bytes:
    """One or two elements say to be of another length."""
    changed = bytearray(data)
    for place in _some(places(data, encoding), dice):
        size = "I" if place.length_bytes == 4 else "H"
        real = place.end - place.start
        told = dice.choice((*LENGTHS, real + 1, real - 1, real + 2, real // 2))
        order = "<" if encoding.little_endian else ">"
        struct.pack_into(order + size, changed, place.length, told % (1 << 8 * place.length_bytes))
    return bytes(changed)


def lie_about_vr(data: bytes, encoding: Encoding, dice: Random) -> bytes:
    """Elements say to be of another value representation, of a short length mostly."""
    changed = bytearray(data)
    for place in _some(places(data, encoding), dice, most=5):
        if place.vr is not None:
            changed[place.vr : place.vr + 2] = dice.choice(VRS)
    return bytes(changed)


def replace_values(data: bytes, encoding: Encoding, dice: Random) -> bytes:
    """Values that nobody expects, whole and of the right length: these get past the door."""
    for _ in range(dice.randint(1, 4)):
        found = places(data, encoding)
        if not found:
            break
        wanted = [place for place in found if place.tag in HOSTILE] if dice.random() < 0.8 else found
        place = dice.choice(wanted or found)
        data = _with_value(data, place, hostile_value(place.tag, encoding, dice), encoding)
    return data


def drop_elements(data: bytes, encoding: Encoding, dice: Random) -> bytes:
    """Some elements are not there."""
    for place in sorted(_some(places(data, encoding), dice, most=6), key=lambda one: -one.head):
        data = data[: place.head] + data[place.end :]
    return data


def swap_elements(data: bytes, encoding: Encoding, dice: Random) -> bytes:
    """Two elements out of their order, or one twice."""
    found = places(data, encoding)
    if len(found) < 2:
        return data
    first, second = sorted(dice.sample(found, 2))
    moved = data[second.head : second.end]
    rest = data[second.end :] if dice.random() < 0.5 else data[second.head :]
    return data[: first.head] + moved + data[first.head : second.head] + rest


def insert_element(data: bytes, encoding: Encoding, dice: Random) -> bytes:
    """An element of any group, private ones and sequences among them, between two others."""
    found = places(data, encoding)
    if not found:
        return data
    at = dice.choice(found).head
    tag = dice.choice((dice.randrange(0x00080000, 0x7FE00000), 0x00090010, 0x00091001, 0x52009229, 0x00081140))
    vr = dice.choice((b"SQ", b"UN", b"LO", b"OB", b"UT", b"IS", b"DS", b"FD", b"AT"))
    value = nested(dice.choice((1, 3, 63, 70, 300)), encoding, dice) if vr in (b"SQ", b"UN") else _noise(dice, vr)
    return data[:at] + element(tag, vr, value, encoding) + data[at:]


def spoil_fragments(data: bytes, encoding: Encoding, dice: Random) -> bytes:
    """Encapsulated frames (PS3.5 A.4): offsets, lengths and ends that do not fit."""
    place = next((one for one in places(data, encoding) if one.tag == _PIXEL_DATA), None)
    if place is None:
        return data
    table = b"".join(struct.pack("<I", dice.choice(LENGTHS) & 0xFFFFFFFF) for _ in range(dice.randrange(5)))
    pieces = [data[place.start : place.end][: dice.choice((0, 1, 100, 4000))] for _ in range(dice.randrange(4))]
    items = b"".join(struct.pack("<HHI", 0xFFFE, 0xE000, len(each)) + each for each in (table, *pieces))
    end = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    head = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF)
    return data[: place.head] + head + items + end


MUTATIONS: tuple[tuple[Mutation, int], ...] = (
    (replace_values, 8),
    (insert_element, 3),
    (flip_bits, 2),
    (set_bytes, 2),
    (lie_about_length, 3),
    (lie_about_vr, 3),
    (drop_elements, 2),
    (swap_elements, 1),
    (splice, 1),
    (spoil_fragments, 2),
    (cut, 1),
)


def mutate(data: bytes, encoding: Encoding, dice: Random) -> tuple[bytes, str]:
    """One to three mutations; answers also their names."""
    ways, weights = zip(*MUTATIONS, strict=True)
    chosen = dice.choices(ways, weights, k=dice.choice((1, 1, 2, 3)))
    for way in chosen:
        if data:
            data = way(data, encoding, dice)
    return data, "+".join(way.__name__ for way in chosen)


def element(tag: int, vr: bytes, value: bytes, encoding: Encoding) -> bytes:
    """One element, with the length that it has."""
    order = "<" if encoding.little_endian else ">"
    group, number = tag >> 16, tag & 0xFFFF
    if not encoding.explicit_vr:
        return struct.pack(order + "HHI", group, number, len(value)) + value
    if vr in _LONG_VRS:
        return struct.pack(order + "HH2sHI", group, number, vr, 0, len(value)) + value
    value = value[:0xFFFE]
    return struct.pack(order + "HH2sH", group, number, vr, len(value)) + value


def nested(depth: int, encoding: Encoding, dice: Random) -> bytes:
    """The value of a sequence in a sequence in a sequence..., with lengths told, or not, or either."""
    order = "<" if encoding.little_endian else ">"
    defined = dice.choice((True, False, None))
    value = b""
    for _ in range(depth):
        told = defined if defined is not None else dice.random() < 0.5
        inner = element(0x00081140, b"SQ", value, encoding) if value else b""
        if told:
            value = struct.pack(order + "HHI", 0xFFFE, 0xE000, len(inner)) + inner
        else:
            end = struct.pack(order + "HHI", 0xFFFE, 0xE00D, 0)
            value = struct.pack(order + "HHI", 0xFFFE, 0xE000, 0xFFFFFFFF) + inner + end
    return value


def _with_value(data: bytes, place: Place, value: bytes, encoding: Encoding) -> bytes:
    vr = data[place.vr : place.vr + 2] if place.vr is not None else b"UN"
    return data[: place.head] + element(place.tag, vr, value, encoding) + data[place.end :]


def _noise(dice: Random, vr: bytes) -> bytes:
    if vr in (b"LO", b"UT", b"IS", b"DS"):
        return dice.choice((b"", b"\\" * 300, b"9" * 5000, b"nan", b"-", b"1e400\\inf", b"\xff\xfe" * 20))
    return dice.randbytes(dice.choice((0, 1, 7, 8, 2000)))


def _some(found: list[Place], dice: Random, most: int = 2) -> list[Place]:
    return dice.sample(found, min(len(found), dice.randint(1, most))) if found else []


def _somewhere(data: bytes, dice: Random) -> int:
    """Mostly near the beginning, where the header is."""
    return dice.randrange(min(len(data), dice.choice((200, 2000, len(data)))))
