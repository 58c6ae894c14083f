"""HL7 v2 on paper: segments, and the values of their fields with the delimiters escaped."""

from collections.abc import Mapping
from datetime import UTC, datetime

from services.backends.receivers.source import date_of
from services.triage.model import Code

_ESCAPES = str.maketrans(
    {
        "\\": "\\E\\",
        "|": "\\F\\",
        "^": "\\S\\",
        "&": "\\T\\",
        "~": "\\R\\",
        "\r": " ",
        "\n": " ",
        "\x0b": "",
        "\x1c": "",
    }
)


def escaped(text: str) -> str:
    """Text with the delimiters escaped (HL7 2.7.1)."""
    return text.translate(_ESCAPES)


def coded(code: Code, local: Code | None = None) -> str:
    """CE, with a local code as the alternate one."""
    codes = [code] if local is None else [code, local]
    return "^".join(escaped(part) for each in codes for part in (each.value, each.meaning, each.scheme))


def day(text: str) -> str:
    """A DICOM date as DT, empty for what is none."""
    date = date_of(text)
    return f"{date:%Y%m%d}" if date else ""


def timestamp(moment: datetime) -> str:
    """TS, in UTC."""
    return f"{moment.astimezone(UTC):%Y%m%d%H%M%S}+0000"


def segment(name: str, fields: Mapping[int, str]) -> str:
    """A segment from its fields by their numbers, up to the last that has a value."""
    last = max(fields)
    return "|".join([name, *(fields.get(number, "") for number in range(1, last + 1))]).rstrip("|")
