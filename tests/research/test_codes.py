"""Codes of an export: what a scheme has published stays, and words that somebody typed beside it do not."""

from io import BytesIO

import pytest
from pydicom import Dataset, dcmread

from services.research.codes import clean_code
from services.research.deidentify import Deidentifier
from services.research.pseudonyms import Pseudonyms
from services.research.recipe import Recipe
from services.triage.finding import Outcome
from tests.research.test_profile import part10
from tests.support.ct import ct_series
from tests.support.reports import reported

NAME = "Lunge von Frau Zubrowka"
SAYS_NOTHING = {"CodeValue": "REMOVED", "CodingSchemeDesignator": "99REMOVED", "CodeMeaning": "REMOVED"}


def coded(*, value: str = "39607008", scheme: str | None = "SCT", meaning: str = NAME, **more: object) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodeMeaning = value, meaning
    if scheme is not None:
        code.CodingSchemeDesignator = scheme
    for keyword, said in more.items():
        setattr(code, keyword, said)
    return code


def told(item: Dataset) -> dict[str, str]:
    return {element.keyword: str(element.value) for element in item}


def exported(dataset: Dataset, *, own: bool = False) -> Dataset:
    """The data set after a way over a file."""
    pseudonyms = Pseudonyms(key=bytes(32), patient=("patient", "", "", "1"))
    return Deidentifier(pseudonyms=pseudonyms, recipe=Recipe()).apply(dcmread(BytesIO(part10(dataset))), own=own)


@pytest.mark.parametrize(
    ("scheme", "value"),
    [
        (None, "ZUBROWKA"),
        (None, "39607008"),
        ("", "ZUBROWKA"),
        ("L", "ZUBROWKA"),
        ("99ZUBROWKA", "39607008"),
        ("99VIGIE", "accept"),
        ("HOSPITAL", "ZUBROWKA"),
        ("SCT", "ZUBROWKA"),
        ("UCUM", "Zubrowka"),
        ("99SDM", "Zubrowka"),
        ("I10", "Zubrowka"),
    ],
)
def test_a_code_of_no_published_scheme_says_nothing_and_is_still_a_code(scheme: str | None, value: str) -> None:
    image = ct_series(slices=3)[0]
    image.ProcedureCodeSequence = [coded(value=value, scheme=scheme)]
    image.ProcedureCodeSequence[0].EquivalentCodeSequence = [coded(value=value, scheme=scheme)]
    (code,) = exported(image).ProcedureCodeSequence
    (equivalent,) = code.EquivalentCodeSequence
    del code.EquivalentCodeSequence
    assert told(code) == told(equivalent) == SAYS_NOTHING


def test_a_name_in_any_value_of_a_code_is_removed() -> None:
    image = ct_series(slices=3)[0]
    image.AnatomicRegionSequence, image.ViewCodeSequence, stray = [Dataset()], [coded(scheme=None)], Dataset()
    (long,) = image.AnatomicRegionSequence
    long.LongCodeValue, long.CodingSchemeDesignator, long.CodeMeaning = "Zubrowka " * 3, "SCT", NAME
    image.ViewCodeSequence[0].URNCodeValue = "urn:zubrowka"
    stray.CodeMeaning = NAME
    image.PatientOrientationCodeSequence = [stray]
    image.CodingSchemeIdentificationSequence = [Dataset()]
    image.CodingSchemeIdentificationSequence[0].CodingSchemeDesignator = "99ZUBROWKA"
    shown = exported(image)
    assert "zubrowka" not in str(shown).lower()
    assert shown.AnatomicRegionSequence[0].LongCodeValue == "REMOVED"
    assert shown.PatientOrientationCodeSequence[0].CodeMeaning == "REMOVED"


@pytest.mark.parametrize(
    ("scheme", "value", "meaning", "kept"),
    [
        ("SCT", "39607008", NAME, "Lung"),
        ("SRT", "T-28000", NAME, "Lung"),
        ("DCM", "CT", NAME, "Computed Tomography"),
        ("UCUM", "mm2/s", NAME, "mm2/s"),
        ("SCT", "39607008", "Lung structure", "Lung"),
        ("DCM", "AU", "Audio", "Audio"),
        ("DCM", "AU", "Basic Voice Audio", "Basic Voice Audio"),
        ("SCT", "999999999", NAME, "REMOVED"),
        ("LN", "99999-9", NAME, "REMOVED"),
        ("UCUM", "mL/min", NAME, "REMOVED"),
    ],
)
def test_a_published_code_stays_with_words_that_are_published_too(
    scheme: str, value: str, meaning: str, kept: str
) -> None:
    image = ct_series(slices=3)[0]
    image.ProcedureCodeSequence = [coded(value=value, scheme=scheme, meaning=meaning, CodingSchemeVersion="Zubrowka")]
    (code,) = exported(image).ProcedureCodeSequence
    assert told(code) == {"CodeValue": value, "CodingSchemeDesignator": scheme, "CodeMeaning": kept}


def test_what_vigie_wrote_stays_as_it_wrote_it_and_what_it_copied_from_the_images_does_not() -> None:
    """Its objects take the codes of the procedure and of the patient over from the images."""
    before = reported(
        Outcome.FOUND,
        ProcedureCodeSequence=[coded(value="ZUBROWKA", scheme="99HOSPITAL")],
        PatientSpeciesCodeSequence=[coded()],
    )
    assert all(NAME in str(one) for one in before)
    for one in before:
        shown = exported(one, own=True)
        assert "zubrowka" not in str(shown).lower()
        assert own_codes(shown) == own_codes(one) != []


def own_codes(dataset: Dataset) -> list[dict[str, str]]:
    places = (dataset.get("ContentSequence") or dataset.SegmentSequence).__iter__()
    return [told(item) for place in places for item in code_items(place)]


def code_items(dataset: Dataset) -> list[Dataset]:
    found = [dataset] if "CodeMeaning" in dataset else []
    for element in dataset:
        if element.VR == "SQ":
            found += [code for item in element.value for code in code_items(item)]
    return found


def test_a_code_of_vigies_own_scheme_stays_in_what_vigie_wrote() -> None:
    answer, hospitals = coded(value="accept", scheme="99VIGIE", meaning="Accepted"), coded(scheme="99HOSPITAL")
    clean_code(answer, own=True)
    clean_code(hospitals, own=True)
    assert told(answer) == {"CodeValue": "accept", "CodingSchemeDesignator": "99VIGIE", "CodeMeaning": "Accepted"}
    assert told(hospitals) == SAYS_NOTHING
