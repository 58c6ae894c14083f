"""Values that have broken readers before: of UIDs, texts, numbers, geometry and pixels."""

import struct
from random import Random

from services.backends.elements import Encoding

LENGTHS = (
    0,
    1,
    2,
    3,
    0x7F,
    0xFF,
    0x100,
    0x7FFF,
    0x8000,
    0xFFFE,
    0xFFFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFE,
    0xFFFFFFFF,
)
VRS = (
    *b"AE AS AT CS DA DS DT FL FD IS LO LT OB OD OF OL OV OW PN SH SL SQ SS ST SV TM UC UI UL UN UR US UT UV".split(),
    b"ZZ",
    b"ox",
    b"\x00\x00",
)

CANARY = "ZQFUZZCANARY"
"""In every hostile text: it must never be found in a log."""

UIDS = (
    b"../../../../tmp/evil",
    b"..",
    b".",
    b"1.2.3/../../x",
    b"1.2.3\x00../x",
    b"/etc/passwd",
    b"1" * 64,
    b"1" * 65,
    b"1.2.%2e%2e%2f",
    b"C:\\x",
    b"1.2.3\\4.5.6",
    b"",
    b"\xff\xfe",
    b"0",
    b".....",
)
CHARACTER_SETS = (
    b"ISO_IR 192",
    b"ISO_IR 100",
    b"\\ISO 2022 IR 87\\ISO 2022 IR 159",
    b"GB18030",
    b"ISO 2022 IR 149",
    b"utf-7",
    b"rot13",
    b"zlib_codec",
    b"idna",
    b"punycode",
    b"\\" * 1000,
    b"ISO_IR 192\\" * 300,
    b"\xff\xff",
    b"undefined",
)
TEXTS = (
    b"",
    b"^^^^^=====^",
    b"=" * 200,
    b"\\" * 500,
    b"\x1b$B" * 50,
    b"\x1b$)C\x1b(B\x1b$B",
    b"\xed\xa0\x80\xed\xb0\x80",  # surrogates in UTF-8
    b"\xf4\x90\x80\x80",
    b"\x00\x00a\x00",
    b"<script>alert(1)</script>",
    b"{{7*7}}${7*7}",
    b"'; DROP TABLE study; --",
    b"\xe2\x80\xae\xe2\x80\x8b",
    b"%s%n%x",
    b"\r\nSet-Cookie: a=b",
    b"A" * 60_000,
    b"\x85\xa0\x1c\x1d\x1e\x1f",
)
NUMBERS = (
    b"",
    b"nan",
    b"inf",
    b"-inf",
    b"1e400",
    b"-0",
    b"0",
    b"-1",
    b"9" * 16,
    b"9" * 5000,
    b"2147483648",
    b"-2147483649",
    b"1_000",
    b"0x10",
    b"\xd9\xa1",
    b" ",
    b"1\\2",
    b"\\",
    b"1\\" * 2000,
    b"1e-320",
    b"1e308\\1e308\\1e308",
)
DATES = (b"", b"00000000", b"99999999", b"20260230", b"2026.01.01", b"-", b"20260101-", b"1" * 300, b"235960.999999")
_SHORTS = (0, 1, 2, 7, 8, 15, 16, 32, 64, 255, 256, 4096, 32767, 32768, 65535)

_OF_KIND = {
    "uid": (0x00080016, 0x00080018, 0x0020000D, 0x0020000E, 0x00200052),
    "character_set": (0x00080005,),
    "text": (
        0x00080050, 0x00080060, 0x00080070, 0x0008103E, 0x00081030, 0x00081090, 0x00100010, 0x00100020, 0x00100021,
        0x00100040, 0x00101010, 0x00180010, 0x00180015, 0x00181030, 0x00181210, 0x00200010, 0x00280004, 0x00401003,
        0x00080008, 0x00281056,
    ),
    "number": (
        0x00200011, 0x00200013, 0x00280008, 0x00180050, 0x00280030, 0x00200037, 0x00200032, 0x00281050, 0x00281051,
        0x00281052, 0x00281053,
    ),
    "date": (0x00080020, 0x00080030, 0x00100030),
    "short": (
        0x00280002, 0x00280006, 0x00280010, 0x00280011, 0x00280100, 0x00280101, 0x00280102, 0x00280103, 0x00281101,
    ),
}  # fmt: skip
HOSTILE = {tag: kind for kind, tags in _OF_KIND.items() for tag in tags}
_VALUES = {"uid": UIDS, "character_set": CHARACTER_SETS, "text": TEXTS, "number": NUMBERS, "date": DATES}


def hostile_value(tag: int, encoding: Encoding, dice: Random) -> bytes:
    """A value for this attribute, of an even length mostly."""
    kind = HOSTILE.get(tag) or dice.choice(("text", "number", "date", "short"))
    if kind == "short":
        order = "<" if encoding.little_endian else ">"
        return b"".join(struct.pack(order + "H", dice.choice(_SHORTS)) for _ in range(dice.choice((1, 1, 1, 0, 3))))
    value = dice.choice(_VALUES[kind])
    if kind == "text":
        value = CANARY.encode() + value
    return value if dice.random() < 0.1 else value + b" " * (len(value) % 2)
