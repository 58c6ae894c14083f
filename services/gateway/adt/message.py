"""An HL7 v2 message: its header (chapter 2, MSH), its characters and its fields."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import hl7
import hl7.containers
import hl7.util

from services.triage.errors import MessageRefused

# it quotes what it cannot decode
for each in (hl7.util.logger, hl7.containers.logger):
    each.disabled = True

REQUIRED_FIELD_MISSING, DATA_TYPE_ERROR, TABLE_VALUE_NOT_FOUND = 101, 102, 103
SEGMENT_SEQUENCE_ERROR = 100
UNSUPPORTED_MESSAGE_TYPE, UNSUPPORTED_EVENT, UNSUPPORTED_VERSION = 200, 201, 203

_DELIMITERS = re.compile(rb"MSH([!-/:-@\[-`{-~])([!-/:-@\[-`{-~]{4,5})\1")
_TIME = re.compile(r"(\d{4})(\d\d)?(\d\d)?(\d\d)?(\d\d)?(\d\d)?(?:\.\d{1,4})?([+-]\d{4})?")

# HL7 table 0211; escape sequences of ISO 2022 are those of Japan alone
_CODECS = {
    "ASCII": "ascii",
    "ISO IR6": "ascii",
    **{f"8859/{part}": f"iso8859-{part}" for part in (*range(1, 10), 15)},
    "UNICODE": "utf-8",
    "UNICODE UTF-8": "utf-8",
    "UTF-8": "utf-8",  # in no table, and often told
    "GB 18030-2000": "gb18030",
    "KS X 1001": "euc_kr",
    "BIG-5": "big5",
}
_JAPANESE = frozenset({"ISO IR13", "ISO IR14", "ISO IR87", "ISO IR159"})
CHARACTER_SETS = frozenset(_CODECS) | _JAPANESE


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """MSH as its bytes stand, each a character (ISO 8859-1): an answer gives them back unchanged."""

    separator: str = "|"
    encoding_characters: str = "^~\\&"
    fields: tuple[str, ...] = ()

    def __getitem__(self, number: int) -> str:
        """MSH-`number`, from 3 on; '' where it is absent."""
        return self.fields[number - 3] if number - 3 < len(self.fields) else ""

    def component(self, number: int, component: int) -> str:
        """A component, from 1, of a field."""
        parts = self[number].split(self.encoding_characters[0])
        return parts[component - 1] if component <= len(parts) else ""


def read_header(message: bytes) -> Header:
    """The header of a message, or of its beginning. Raises MessageRefused."""
    found = _DELIMITERS.match(message)
    if found is None or len({*found[1], *found[2]}) != 1 + len(found[2]):
        text = "the message does not begin with MSH, a field separator and four or five encoding characters"
        raise MessageRefused("not_hl7", text, condition=SEGMENT_SEQUENCE_ERROR, location="MSH^1^1")
    separator, encoding_characters = (part.decode("ascii") for part in found.groups())
    rest = re.split(rb"[\r\n]", message[found.end() :], maxsplit=1)[0].decode("latin-1")
    return Header(separator=separator, encoding_characters=encoding_characters, fields=tuple(rest.split(separator)))


def parse(message: bytes, header: Header, *, default_character_set: str) -> hl7.Message:
    """The segments of a message. Raises MessageRefused."""
    told = [one.strip().upper() for one in header[18].split(header.encoding_characters[1])]
    names = [one or default_character_set for one in told[:1]] + [one for one in told[1:] if one]
    if not CHARACTER_SETS.issuperset(names):
        text = f"MSH-18 names a character set that is none of {', '.join(sorted(CHARACTER_SETS))}"
        raise MessageRefused("character_set", text, condition=TABLE_VALUE_NOT_FOUND, location="MSH^1^18")
    codec = "iso2022_jp_ext" if _JAPANESE.intersection(names) else _CODECS[names[0]]
    try:
        text = message.decode(codec)
    except UnicodeDecodeError as error:
        way_out = "" if told[0] else ": tell the character set in MSH-18, or set VIGIE_HL7_CHARACTER_SET"
        wrong = f"byte {error.start} is no character of {codec}{way_out}"
        raise MessageRefused("characters", wrong, condition=DATA_TYPE_ERROR, location="MSH^1^18") from error
    lines = [line for line in re.split(r"[\r\n]+", text) if line.strip()]
    return hl7.parse("\r".join(lines))


def segments(message: hl7.Message, name: str) -> list[hl7.Segment]:
    """All segments of a name, in their order."""
    return [segment for segment in message if str(segment[0]) == name]


def repetitions(segment: hl7.Segment, number: int) -> list[list[list[str]]]:
    """A field as repetitions of components of subcomponents, unescaped; none where nothing is told."""
    if number >= len(segment):
        return []
    found = [
        [[_unescaped(segment, part) for part in _parts(component)] for component in _parts(repetition)]
        for repetition in _parts(segment[number])
    ]
    return [one for one in found if any(part for component in one for part in component)]


def at(repetition: Sequence[Sequence[str]], component: int, subcomponent: int = 1) -> str:
    """A value by its numbers, from 1; '' where it is absent, and where it is the null value "" (HL7 chapter 2)."""
    if component > len(repetition) or subcomponent > len(repetition[component - 1]):
        return ""
    value = repetition[component - 1][subcomponent - 1]
    return "" if value == NULL else value


NULL = '""'


def is_null(found: list[list[list[str]]]) -> bool:
    """Whether a field says that there is no value any more."""
    return found == [[[NULL]]]


def moment(text: str) -> datetime | None:
    """A point in time (TS, DTM) in UTC, its parts that are not told being the first; None where it is none.

    Without a zone it is this machine's local time; in the hour that comes twice in autumn nobody knows which it is.
    """
    found = _TIME.fullmatch(text)
    if found is None:
        return None
    *parts, zone = found.groups()
    year, month, day, hour, minute, second = (int(part) if part else None for part in parts)
    try:
        told = datetime(year or 0, month or 1, day or 1, hour or 0, minute or 0, second or 0)  # noqa: DTZ001
        if zone:
            offset = timedelta(hours=int(zone[1:3]), minutes=int(zone[3:]))
            return told.replace(tzinfo=timezone(-offset if zone[0] == "-" else offset)).astimezone(UTC)
        if told.astimezone().utcoffset() != told.replace(fold=1).astimezone().utcoffset():
            return None
        return told.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _parts(container: Any) -> list[Any]:
    """The library leaves out the levels of a value that has but one part."""
    return list(container) if isinstance(container, list) else [container]


def _unescaped(segment: hl7.Segment, text: str) -> str:
    """Without escape sequences, and without what is left of them that is no character (PS3.5 6.1.3)."""
    escape = re.escape(segment.esc)
    # formatting commands (2.7.6) are for text, not for names; the library would repeat a blank as often as it is told
    text = re.sub(f"{escape}\\.[^{escape}]*{escape}", " ", text)
    text = hl7.util.unescape(segment, text, {"H": "", "N": ""})  # highlighted, and normal again
    return "".join(" " if one.isspace() else one for one in text if one.isspace() or one.isprintable()).strip()
