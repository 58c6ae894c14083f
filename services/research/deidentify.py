"""One data set by the Basic Application Level Confidentiality Profile and its options (PS3.15 annex E).

Stricter than the profile where that leaves what it does not name: text that the table does not know stays only where
machines write it (`table.KEPT_TEXT`) and is emptied elsewhere, AE titles and addresses too, and so is what stands for a
number, a time or an age and is none; curves, overlays and sound go. Pixels are never changed.
"""

from dataclasses import dataclass
from datetime import date

from pydicom import DataElement, Dataset
from pydicom.sequence import Sequence
from pydicom.uid import UID

from services import __version__
from services.research import private, table
from services.research.codes import REMOVED
from services.research.forms import is_well_formed, may_hold_words, values_of
from services.research.pseudonyms import Pseudonyms
from services.research.recipe import Option, Recipe
from services.research.structured import clean_item, is_code_system
from services.research.table import Action
from services.research.words import ethnic_group, known_words

_MOMENTS = frozenset({"DA", "DT", "TM"})
_DUMMIES: dict[str, str | bytes] = {
    "AS": "000Y",
    "DA": "19000101",
    "DS": "0",
    "DT": "19000101000000",
    "IS": "0",
    "OB": b"\0\0",
    "TM": "000000",
    "UN": b"\0\0",
    "UR": "https://removed.invalid",
}
_GROUPS_LEFT_OUT = frozenset({0x5000, 0x5400, 0x6000, 0xFF00})  # curves, waveforms (sound), overlays, padding
_PIXELS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
_TEXT_VALUE = 0x0040A160  # of a content item: `structured` has the say
_OLDEST_YEARS = 90
_PIXELS_STAY = "pixels unchanged"


@dataclass(frozen=True, kw_only=True)
class Deidentifier:
    """Of the objects of one patient."""

    pseudonyms: Pseudonyms
    recipe: Recipe

    def apply(self, dataset: Dataset, *, own: bool = False) -> Dataset:
        """A new data set; of the File Meta Information nothing is taken over. own: Vigie wrote it, some text stays."""
        kept = self._walk(dataset, own=own)
        kept.PatientName = kept.PatientID = self.pseudonyms.subject
        kept.PatientIdentityRemoved = "YES"
        kept.DeidentificationMethod = [f"Vigie {__version__}", f"PS3.15 E.1-1 {table.EDITION}", _PIXELS_STAY]
        kept.DeidentificationMethodCodeSequence = [_code(*code) for code in self.recipe.codes]
        moved = self.recipe.has(Option.MODIFIED_DATES)
        kept.LongitudinalTemporalInformationModified = "MODIFIED" if moved else "REMOVED"
        return kept

    def _walk(self, dataset: Dataset, *, own: bool) -> Dataset:
        kept = Dataset()
        creators = private.safe_creators(dataset) if self.recipe.has(Option.SAFE_PRIVATE) else {}
        for tag in sorted(dataset.keys()):
            group = tag.group
            if tag.element == 0 or group <= 2 or group & 0xFF00 in _GROUPS_LEFT_OUT:
                continue
            if tag.is_private:
                if not tag.is_private_creator and private.is_safe(dataset[tag], creators):
                    kept[tag] = dataset[tag]
                continue
            element = self._element(dataset[tag], own=own)
            if element is not None:
                kept[tag] = element
        for (group, block), creator in private.creators_needed(kept, creators).items():
            kept.add_new((group << 16) | block, "LO", creator)
        clean_item(kept, own=own)
        return kept

    def _element(self, element: DataElement, *, own: bool) -> DataElement | None:
        tag, vr = int(element.tag), str(element.VR)
        if tag in _PIXELS or tag == _TEXT_VALUE:
            return element
        action = table.actions().get(tag)
        if not is_well_formed(element):
            return self._replaced(element, action or Action.EMPTY)
        if self._is_retained(tag, action) or (own and tag in table.OWN_TEXT):
            return self._retained(element)
        if vr == "SQ":
            return self._sequence(element, action, own=own)
        if vr == "UI":
            return self._uids(element, action)
        if vr in _MOMENTS:
            return self._moment(element, action)
        return self._told(element, action)

    def _told(self, element: DataElement, action: Action | None) -> DataElement | None:
        """Of text and numbers."""
        tag = int(element.tag)
        if self.recipe.has(Option.DESCRIPTORS) and tag in table.DESCRIPTORS:
            words = [known_words(str(value)) for value in values_of(element)]
            if any(words):
                return _of(element, words)
        if action is None:
            if tag in table.KEPT_TEXT or not may_hold_words(element):
                return element
            action = Action.EMPTY  # it may have to be there
        return self._replaced(element, action)

    def _is_retained(self, tag: int, action: Action | None) -> bool:
        return action is not None and (
            (self.recipe.has(Option.PATIENT_CHARACTERISTICS) and tag in table.PATIENT_CHARACTERISTICS)
            or (self.recipe.has(Option.DEVICE_IDENTITY) and tag in table.DEVICE_IDENTITY)
        )

    @staticmethod
    def _retained(element: DataElement) -> DataElement | None:
        """As it is; but an age that few reach is told as 90 years (45 CFR 164.514(b)(2)(i)(C)).

        An ethnic group stays where it is known to be one: it is free text, which the option's column (K) would leave.
        """
        told = str(element.value)
        if element.keyword == "EthnicGroup":
            return _of(element, group) if (group := ethnic_group(told)) else None
        if element.keyword == "PatientAge" and told[-1:] == "Y" and int(told[:-1]) >= _OLDEST_YEARS:
            return _of(element, f"{_OLDEST_YEARS:03d}Y")
        return element

    def _sequence(self, element: DataElement, action: Action | None, *, own: bool) -> DataElement | None:
        if element.tag not in table.CLEANED:
            if action is Action.REMOVE:
                return None
            if action is Action.EMPTY:
                return _of(element, Sequence())
        own = own and element.tag in table.OWN_SEQUENCES
        return _of(element, Sequence([self._walk(item, own=own) for item in element.value]))

    def _uids(self, element: DataElement, action: Action | None) -> DataElement | None:
        if action is Action.REMOVE and not self.pseudonyms.keep_uids:
            return None
        if not element.value:
            return element
        uids = [element.value] if isinstance(element.value, str) else element.value
        return _of(element, [UID(self._uid(str(uid), element.keyword)) for uid in uids])

    def _uid(self, uid: str, keyword: str) -> str:
        return uid if keyword == "CodingSchemeUID" and is_code_system(uid) else self.pseudonyms.uid(uid)

    def _moment(self, element: DataElement, action: Action | None) -> DataElement | None:
        """A date or time, moved; without the option as the table says, and where it does not name it a dummy."""
        if not self.recipe.has(Option.MODIFIED_DATES) or int(element.tag) in table.NEVER_MOVED:
            return self._replaced(element, action or Action.DUMMY)
        if element.VR == "TM":
            return element
        moved = [self._moved(str(value)) for value in values_of(element)]
        return self._replaced(element, Action.EMPTY) if None in moved else _of(element, moved)

    def _moved(self, text: str) -> str | None:
        """YYYYMMDD and whatever follows it; None of what is no date."""
        try:
            day = date.fromisoformat(f"{text[:4]}-{text[4:6]}-{text[6:8]}")
        except ValueError:
            return None
        return self.pseudonyms.moved(day).strftime("%Y%m%d").rjust(8, "0") + text[8:]

    def _replaced(self, element: DataElement, action: Action) -> DataElement | None:
        vr = str(element.VR)
        if action is Action.REMOVE:
            return None
        if action is Action.EMPTY:
            return DataElement(element.tag, vr, None)
        if vr == "PN":
            return _of(element, self.pseudonyms.reader(str(element.value)) if element.value else "")
        if vr in ("FD", "FL", "SL", "SS", "UL", "US"):
            return _of(element, 0)
        return _of(element, _DUMMIES.get(vr, REMOVED))


def _of(element: DataElement, value: object) -> DataElement:
    return DataElement(element.tag, element.VR, value)


def _code(value: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, "DCM", meaning
    return code
