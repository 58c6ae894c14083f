"""Drafts what a bundle's classes mean to Vigie (configs/triage.json) from MONAI's metadata; null is for a person.

Codes are found by the class's words in pydicom's dictionary of the Standard's context groups (PS3.16).
"""

import re
from pathlib import Path
from typing import Any

from pydicom.sr._concepts_dict import concepts

from services.backends.inference.bundle_files import metadata_of, triage_of
from services.backends.inference.triage_metadata import undecided
from services.triage import concepts as ours

HINTS = {
    "modality": "Modality of the series it reads, such as CT or MR",
    "anatomic_region": "coded: value, scheme (SCT), meaning (PS3.16 CID 4031)",
    "classes": "label value of the bundle's result -> name and kind (tumour, organ, other)",
    "kind": "tumour, organ or other: only tumour classes make lesions",
    "min_volume_ml": "smaller components are dropped: below the smallest lesion that it was shown to find",
    "min_slices": "a shorter series is not_analysed",
    "thresholds": "0 <= equivocal_low <= detect <= elevated <= urgent <= 1: measure them (docs/models.md)",
    "scope_statement": "what it looks for and what not, in one or two sentences: stands in every report",
    "sensitivity_statement": "what it finds of what size, measured on whom: stands in every report",
}

_MODALITIES = {"CT": "CT", "MR": "MR", "MRI": "MR", "PT": "PT", "PET": "PT"}
_TUMOURS = re.compile(r"tumou?r|lesion|cancer|nodule|mass\b|metasta|neoplas|carcinoma|\bgtv\b", re.IGNORECASE)
_SIDES = {"left", "right", "l", "r"}
_SPELLED = {"kideny": "kidney", "ivc": "inferior vena cava", "bowel": "intestine", "vertebrae": "vertebra"}
_ORGANS = 7151
_REGIONS = 4031
_LESIONS = ("Nodule", "Mass", "Cyst")
_STRUCTURE = {"value": "91723000", "scheme": "SCT", "meaning": "Anatomical Structure"}
_ABNORMAL = {"value": "49755003", "scheme": "SCT", "meaning": "Morphologically Abnormal Structure"}
_KEYWORDS = {keyword.lower(): keyword for keyword in concepts["SCT"]}
Draft = dict[str, Any]


def draft(bundle: Path) -> Draft:
    """What is said already, and around it what the metadata tells; null where neither does. Raises ModelRefused."""
    metadata, said = metadata_of(bundle), triage_of(bundle)
    classes = _classes(metadata)
    kinds = {told["kind"] for told in (classes or {}).values()}
    measured = None if not kinds or kinds & {"tumour", None} else 1.0
    drafted = {
        "modality": _modality(metadata),
        "anatomic_region": _region(metadata, classes),
        "classes": classes,
        "probability_threshold": 0.5,
        "min_volume_ml": None if measured is None else 0.0,
        "min_slices": None,
        "thresholds": dict.fromkeys(("equivocal_low", "detect", "elevated", "urgent"), measured),
        "calibrated": False,
        "scope_statement": None,
        "sensitivity_statement": None,
    }
    return {**drafted, **{key: value for key, value in said.items() if value is not None}}


def missing(told: Draft) -> dict[str, str]:
    """The keys that a person must decide, each with what it means."""
    keys = undecided(told)
    return {key: HINTS.get(key.rpartition(".")[2], HINTS.get(key.partition(".")[0], "")) for key in keys}


def _modality(metadata: Draft) -> str | None:
    told = {str(each.get("modality", "")).upper() for each in _formats(metadata, "inputs")}
    return _MODALITIES.get(told.pop()) if len(told) == 1 else None


def _classes(metadata: Draft) -> Draft | None:
    """By label value. Channels that overlap (none of them is background) do not tell which values the result has."""
    told = next(iter(_formats(metadata, "outputs")), {})
    channels = {str(key): str(name) for key, name in _mapping(told.get("channel_def")).items()}
    if len(channels) == 1:
        return {"1": _class(next(iter(channels.values())))}
    if "background" not in channels.get("0", "").lower():
        return None
    return {key: _class(name) for key, name in channels.items() if key != "0"} or None


def _formats(metadata: Draft, side: str) -> list[Draft]:
    """What is told of the network's inputs or outputs."""
    told = _mapping(_mapping(metadata.get("network_data_format")).get(side))
    return [each for each in told.values() if isinstance(each, dict)]


def _mapping(told: Any) -> Draft:
    """A value of another kind tells nothing."""
    return told if isinstance(told, dict) else {}


def _class(name: str) -> Draft:
    if _TUMOURS.search(name):
        kind = next((code for word in _LESIONS if word.lower() in name.lower() and (code := _code(word))), None)
        lesion = {"value": ours.LESION.value, "scheme": ours.LESION.scheme, "meaning": ours.LESION.meaning}
        return {"name": name, "kind": "tumour", "category": _ABNORMAL, "type": kind or lesion}
    organ = organ_code(name)
    if organ is None:
        return {"name": name, "kind": None}
    return {"name": name, "kind": "organ", "category": _STRUCTURE, "type": organ}


def organ_code(name: str, group: int = _ORGANS) -> Draft | None:
    """The SNOMED CT code of an organ of that context group by its name; a side is left out of it."""
    words = [_SPELLED.get(word, word) for word in re.findall(r"[a-z]+", name.lower())]
    words = [word for word in " ".join(words).split() if word not in _SIDES]
    for told in (words, [*words[1:], "of", *words[:1]]):
        keyword = _KEYWORDS.get("".join(told))
        if keyword is not None and (code := _code(keyword, group)):
            return code
    return None


def _code(keyword: str, group: int | None = None) -> Draft | None:
    told: dict[str, tuple[str, list[int]]] = concepts["SCT"][keyword]  # type: ignore[assignment]
    for value, (meaning, groups) in told.items():
        if group is None or group in groups:
            return {"value": value, "scheme": "SCT", "meaning": meaning}
    return None


def _region(metadata: Draft, classes: Draft | None) -> Draft | None:
    """The one organ that its classes or its own words name."""
    organs = [told["type"] for told in (classes or {}).values() if told["kind"] == "organ"]
    if not organs:
        words = re.findall(r"[A-Za-z]+", f"{metadata.get('name', '')} {metadata.get('task', '')}")
        organs = [code for word in words if (code := organ_code(word, _REGIONS))]
    distinct = {code["value"]: code for code in organs}
    return next(iter(distinct.values())) if len(distinct) == 1 else None
