"""What the VR of an attribute says of its value (PS3.5 6.2): pydicom leaves text where no text should be."""

import re

from pydicom import DataElement
from pydicom.datadict import dictionary_has_tag, dictionary_VR

NUMBERS = frozenset({"DS", "FD", "FL", "IS", "SL", "SS", "SV", "UL", "US", "UV"})
_TEXT = frozenset({"AE", "LO", "LT", "OB", "PN", "SH", "ST", "UC", "UN", "UR", "UT"})
_UNKNOWN = "UN"
_FORMS = {
    "AS": r"\d{3}[DWMY]",
    "DA": r"\d{8}",
    "DS": r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?",
    "DT": r"\d{4,14}(?:\.\d{1,6})?(?:[+-]\d{4})?",
    "IS": r"[+-]?\d+(?:\.0*)?",
    "TM": r"\d{2}(?::?\d{2}(?::?\d{2}(?:\.\d{1,6})?)?)?",
}


def values_of(element: DataElement) -> list[object]:
    """One of an attribute that has one, an empty one of an attribute that has none."""
    return list(element.value) if element.VM > 1 else [element.value or ""]


def is_well_formed(element: DataElement) -> bool:
    """Of a number, a date, a time and an age: that it is one, or empty. Of any other: that there is no such form."""
    form = _FORMS.get(str(element.VR))
    if form is None:
        return True
    return all(re.fullmatch(rf"(?:{form})?", str(value).strip(" \0"), re.ASCII) for value in values_of(element))


def may_hold_words(element: DataElement) -> bool:
    """By its own VR or by the dictionary's, which a file may contradict; what the dictionary does not know may, too."""
    known = dictionary_VR(element.tag) if dictionary_has_tag(element.tag) else _UNKNOWN
    return element.VR in _TEXT or (element.VR not in NUMBERS and not _TEXT.isdisjoint(known.split(" or ")))
