"""What of a study is kept, beside what the Basic Application Level Confidentiality Profile keeps (PS3.15 annex E)."""

from dataclasses import dataclass
from enum import StrEnum


class Option(StrEnum):
    """An option of the profile that may be chosen (PS3.15 E.3). Values: as they are written on the command line."""

    MODIFIED_DATES = "modified-dates"
    """Dates are moved by a number of days that is the patient's own: what lies between two of them stays (E.3.6)."""
    DEVICE_IDENTITY = "device-identity"
    """Serial numbers, station names and what devices are called stay (E.3.8)."""
    PATIENT_CHARACTERISTICS = "patient-characteristics"
    """Sex, age, size, weight, smoking and pregnancy status stay (E.3.7), and an ethnic group that `words` knows.

    An age above 89 years is told as 90.
    """
    DESCRIPTORS = "descriptors"
    """Descriptions keep the words that `words` knows (E.3.5, Clean Descriptors)."""
    SAFE_PRIVATE = "safe-private"
    """Private attributes of PS3.15 table E.3.10-1 stay."""
    UIDS = "uids"
    """UIDs stay as they are (E.3.9). Whoever has the PACS finds the patient by them."""


# PS3.16 CID 7050. Those before the options: always.
PROFILE = ("113100", "Basic Application Confidentiality Profile")
STRUCTURED_CONTENT = ("113104", "Clean Structured Content Option")
GRAPHICS = ("113103", "Clean Graphics Option")
CODES = {
    Option.DESCRIPTORS: ("113105", "Clean Descriptors Option"),
    Option.MODIFIED_DATES: ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
    Option.PATIENT_CHARACTERISTICS: ("113108", "Retain Patient Characteristics Option"),
    Option.DEVICE_IDENTITY: ("113109", "Retain Device Identity Option"),
    Option.UIDS: ("113110", "Retain UIDs Option"),
    Option.SAFE_PRIVATE: ("113111", "Retain Safe Private Option"),
}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The options of one export."""

    options: frozenset[Option] = frozenset()

    def has(self, option: Option) -> bool:
        """Whether it was chosen."""
        return option in self.options

    @property
    def codes(self) -> tuple[tuple[str, str], ...]:
        """Code value (DCM) and meaning of the profile and of each option, for (0012,0064)."""
        return (PROFILE, STRUCTURED_CONTENT, GRAPHICS, *(CODES[one] for one in Option if one in self.options))
