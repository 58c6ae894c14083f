"""Codes: what of a code sequence's item stays (PS3.3 8.8): a public scheme's code, and words for it that are public.

Whoever fills a table of codes types its meanings, and may type its values: a name can stand in any of them.
"""

import re
from functools import cache
from typing import cast

from pydicom import Dataset
from pydicom.sr._concepts_dict import concepts
from pydicom.sr._snomed_dict import mapping

REMOVED = "REMOVED"
OWN_SCHEME = "99VIGIE"
_REMOVED_SCHEME = "99REMOVED"
"""Designators that begin with 99 are private (PS3.3 8.2)."""

_VALUES = ("CodeValue", "LongCodeValue", "URNCodeValue")
_LONGEST = 64  # characters of a Code Meaning (LO)
_UNIT = r"(?:[kcdmunpMG]?(?:m|g|s|l|L|A|V|T|W|J|Hz|Pa|Bq|Gy|Sv|eV|mol)|min|h|d|%)(?:-?\d)?"
_SNOMED_RT = r"[A-Z][0-9A-F]?-[0-9A-F]{4,5}"
# A published scheme, and what a code of it looks like that the dictionary does not know.
_FORMS = {
    "DCM": r"\d{6}",
    "SCT": r"\d{6,18}",
    "SRT": _SNOMED_RT,
    "SNM3": _SNOMED_RT,
    "99SDM": _SNOMED_RT,
    "UCUM": rf"1|(?:1/)?{_UNIT}(?:[./]{_UNIT})*",
    "LN": r"\d{1,7}-\d",
    "RADLEX": r"RID\d{1,6}",
    "FMA": r"\d{1,6}",
    "UMLS": r"C\d{7}",
    "NCIt": r"C\d{3,6}",
    "MA": r"(?:MA:)?\d{7}",
    "UBERON": r"(?:UBERON:)?\d{7}",
    "ISO639_1": r"[a-z]{2}",
    "ISO639_2": r"[a-z]{3}",
    "ISO3166_1": r"[A-Z]{2,3}|\d{3}",
    "RFC5646": r"[a-z]{2,3}(?:-[A-Z]{2})?",
    "ACR": r"\d{1,4}(?:\.\d{1,4})?",
    "BARI": r"\d{1,2}[A-Z]?",
    "MDC": r"\d{1,2}:\d{1,6}",
    "I10": r"[A-Z]\d[\dA-Z](?:\.[\dA-Z]{1,4})?",
    "I9": r"[EV]?\d{2,3}(?:\.\d{1,2})?",
}


def clean_code(item: Dataset, *, own: bool) -> None:
    """Change what an item says of a code in place; what was there stays there, for it may be of Type 1.

    own: Vigie wrote it. Of others a published code stays, with a meaning of the Standard's dictionaries (PS3.16); any
    other code, one without a scheme among them, becomes a private one that says nothing.
    """
    if not any(keyword in item for keyword in (*_VALUES, "CodingSchemeDesignator", "CodeMeaning")):
        return
    if "CodingSchemeVersion" in item:  # typed too, and those that are published do without
        del item.CodingSchemeVersion
    scheme = str(item.get("CodingSchemeDesignator", ""))
    values = [str(item[keyword].value) for keyword in _VALUES if keyword in item]
    if own and (scheme == OWN_SCHEME or scheme in _FORMS):
        return
    if scheme not in _FORMS or not all(_is_published(scheme, value) for value in values):
        _remove(item)
    elif "CodeMeaning" in item:
        item.CodeMeaning = _meaning(scheme, values, str(item.CodeMeaning))


def _is_published(scheme: str, value: str) -> bool:
    return bool(_known(scheme, value)) or re.fullmatch(_FORMS[scheme], value, re.ASCII) is not None


def _remove(item: Dataset) -> None:
    item.CodingSchemeDesignator = _REMOVED_SCHEME
    for keyword in (*_VALUES, "CodeMeaning"):
        if keyword in item:
            setattr(item, keyword, REMOVED)


def _meaning(scheme: str, values: list[str], told: str) -> str:
    """As told where that is public; else one that is, if there is any."""
    public = [meaning for value in values for meaning in _known(scheme, value)]
    return told if told in public else next(iter(public), REMOVED)


def _known(scheme: str, value: str) -> tuple[str, ...]:
    """What the Standard's context groups call a code, which may be several things."""
    if _FORMS[scheme] == _SNOMED_RT:
        scheme, value = "SCT", mapping["SRT"].get(value, "")
    return _meanings().get((scheme, value), ())


@cache
def _meanings() -> dict[tuple[str, str], tuple[str, ...]]:
    """By scheme and value; those that fit into the attribute, in whatever character set the object has."""
    found: dict[tuple[str, str], tuple[str, ...]] = {}
    by_word = cast("dict[str, dict[str, dict[str, tuple[str, list[int]]]]]", concepts)
    for scheme, words in by_word.items():
        for codes in words.values():
            for value, (meaning, _) in codes.items():
                fits = (meaning,) if meaning.isascii() and len(meaning) <= _LONGEST else ()
                found[scheme, value] = (*found.get((scheme, value), ()), *fits)
    return found
