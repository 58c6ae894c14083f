"""Clean Structured Content: what of a content item stays (PS3.15 E.3.4; PS3.3 C.17.3)."""

from pydicom import Dataset

from services.research.codes import REMOVED, clean_code

# what HL7 has registered of code systems; its other arcs are of organisations, but NCIt's is published (PS3.16 8)
_REGISTERED = "2.16.840.1.113883.6."
_NCIT = "2.16.840.1.113883.3.26.1.1"

# Concept codes (DCM) of text that our reports write from models and findings.
_OWN_CONCEPTS = frozenset(
    {
        "111001",  # Algorithm Name
        "111002",  # Algorithm Parameters
        "111003",  # Algorithm Version
        "112039",  # Tracking Identifier
        "121013",  # Device Observer Name
        "121014",  # Device Observer Manufacturer
        "121015",  # Device Observer Model Name
        "121016",  # Device Observer Serial Number
        "122405",  # Algorithm Manufacturer
    }
)


def is_code_system(uid: str) -> bool:
    """Of a Coding Scheme UID (0008,010C) outside the Standard's root: it names a code system, and nobody's own."""
    return uid.startswith(_REGISTERED) or uid == _NCIT


def clean_item(item: Dataset, *, own: bool) -> None:
    """Change the words and codes of a content item in place; names, dates and UIDs are the walk's. own: Vigie's."""
    if "TextValue" in item and not (own and _concept(item) in _OWN_CONCEPTS):
        item.TextValue = REMOVED
    clean_code(item, own=own)


def _concept(item: Dataset) -> str:
    names = item.get("ConceptNameCodeSequence") or ()
    return next((str(name.get("CodeValue", "")) for name in names if name.get("CodingSchemeDesignator") == "DCM"), "")
