"""Free text that stays: every attribute of the dictionary is tried, and each that does is on a list with its reason."""

from io import BytesIO

import pytest
from pydicom import DataElement, Dataset, dcmread, dcmwrite
from pydicom.datadict import DicomDictionary, dictionary_VR, keyword_for_tag
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from services.research import table
from services.research.deidentify import Deidentifier
from services.research.pseudonyms import Pseudonyms
from services.research.recipe import Option, Recipe
from tests.support.ct import ct_series

FREE_TEXT = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT", "AE", "OB", "UN"})
WORD = "ZQXZQX"
EVERY = frozenset(Option) - {Option.UIDS}
CLEANED = "`codes` has the say"  # a name in a code is none of a published scheme's: `test_codes`
KEPT = {tag for tag, reason in table.KEPT_TEXT.items() if reason != CLEANED}
WORDS = table.DEVICE_IDENTITY & {tag for tag, entry in DicomDictionary.items() if entry[0] in FREE_TEXT}


def text_attributes() -> list[int]:
    """Groups 0 and 2 are of messages and of File Meta Information."""
    return [
        tag for tag, (vr, *_) in DicomDictionary.items() if not FREE_TEXT.isdisjoint(vr.split(" or ")) and tag >> 16 > 2
    ]


def told_everywhere() -> Dataset:
    """A CT image with a name in every attribute of text, at the top and in an item."""
    image, inner = ct_series(slices=3)[0], Dataset()
    for tag in text_attributes():
        vr = DicomDictionary[tag][0].split(" or ")[0]
        if tag != Tag("PixelData"):
            for place in (image, inner):
                place.add_new(tag, vr, WORD.encode() if vr in ("OB", "UN") else WORD)
    image.DerivationImageSequence = [inner]
    return image


def read_again(image: Dataset, *, implicit_vr: bool) -> Dataset:
    image.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit_vr else ExplicitVRLittleEndian
    dcmwrite(buffer := BytesIO(), image)
    buffer.seek(0)
    return dcmread(buffer, force=True)


def told_in(dataset: Dataset) -> set[int]:
    return {
        int(element.tag)
        for place in (dataset, *dataset.get("DerivationImageSequence", ()))
        for element in place
        if element.VR != "SQ" and (WORD in str(element.value) or element.value == WORD.encode())
    }


@pytest.mark.parametrize("implicit_vr", [False, True])
@pytest.mark.parametrize(
    ("options", "own", "stays"),
    [
        (frozenset(), False, KEPT),
        (EVERY, False, KEPT | WORDS),
        (frozenset(), True, KEPT | (table.OWN_TEXT - {Tag("ContentLabel")})),
    ],
)
def test_each_free_text_that_stays_is_on_a_list_with_its_reason(
    implicit_vr: bool, options: frozenset[Option], own: bool, stays: set[int]
) -> None:
    shown = applied(read_again(told_everywhere(), implicit_vr=implicit_vr), options=options, own=own)
    assert {keyword_for_tag(tag) for tag in told_in(shown)} == {keyword_for_tag(tag) for tag in stays}
    assert all(reason for reason in table.KEPT_TEXT.values())


def test_the_words_of_vigies_own_objects_stay_only_where_it_writes_them() -> None:
    shown = applied(told_everywhere(), own=True)
    assert told_in(shown.DerivationImageSequence[0]) == KEPT


@pytest.mark.parametrize("vr", ["CS", "AS", "DA", "DS", "DT", "IS", "TM"])
@pytest.mark.parametrize("tag", [Tag("FilterType"), Tag(0x0018, 0x9FFE)])
@pytest.mark.filterwarnings("ignore:.*:UserWarning:pydicom")
def test_text_is_text_whatever_a_file_calls_it_and_whether_or_not_the_dictionary_knows_it(vr: str, tag: int) -> None:
    assert not told_in(applied(with_text(tag, vr), options=EVERY))


@pytest.mark.parametrize(
    ("keyword", "text"),
    [
        ("SliceThickness", WORD),
        ("PatientWeight", WORD),
        ("SeriesNumber", WORD),
        ("PatientAge", WORD[:4]),
        ("AcquisitionTime", WORD),
        ("AcquisitionDate", f"20240102{WORD}"),
        ("AcquisitionDateTime", f"20240102{WORD}"),
        ("ImagePositionPatient", f"0\\0\\{WORD}"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*:UserWarning:pydicom")
def test_a_number_a_time_and_an_age_that_are_none_do_not_stay(keyword: str, text: str) -> None:
    image = with_text(Tag(keyword), dictionary_VR(keyword), text=text)
    assert text[-4:] in str(image.get(keyword))
    shown = applied(image, options=EVERY)
    assert text[-4:] not in str(shown)
    assert not shown.get(keyword) or keyword.startswith("AcquisitionDate")


@pytest.mark.filterwarnings("ignore:.*:UserWarning:pydicom")
def test_a_private_number_that_is_none_does_not_stay() -> None:
    image = with_text(Tag(0x0019, 0x100C), "IS")
    image.add_new(0x00190010, "LO", "SIEMENS MR HEADER")
    assert Tag(0x0019, 0x100C) not in applied(image, options=EVERY)


def with_text(tag: int, vr: str, *, text: str = WORD) -> Dataset:
    """A CT image, read from a file that has that text under that VR."""
    image = ct_series(slices=3)[0]
    image[tag] = DataElement(tag, "LO", "?" * len(text))  # a header of the same length
    dcmwrite(buffer := BytesIO(), image, implicit_vr=False, little_endian=True)
    mark = tag.to_bytes(4)[1::-1] + tag.to_bytes(4)[:1:-1]
    content = buffer.getvalue().replace(mark + b"LO", mark + vr.encode()).replace(b"?" * len(text), text.encode())
    return dcmread(BytesIO(content), force=True)


@pytest.mark.parametrize(
    ("told", "kept"),
    [
        ("Not Hispanic", "Not Hispanic"),
        ("White/Caucasian", "White/Caucasian"),
        ("kaukasisch", "kaukasisch"),
        ("Zubrowka", None),
        ("not a Zubrowka", None),
        ("Asian 4711", None),
        ("", None),
    ],
)
def test_an_ethnic_group_stays_as_told_where_each_of_its_words_is_known_and_else_not_at_all(
    told: str, kept: str | None
) -> None:
    """Table E.1-1 has K for it, and it is free text."""
    image = ct_series(slices=3, EthnicGroup=told)[0]
    assert applied(image, options=frozenset({Option.PATIENT_CHARACTERISTICS})).get("EthnicGroup") == kept
    assert "EthnicGroup" not in applied(image)


def test_names_of_sequences_and_explanations_are_cleaned_like_the_protocols() -> None:
    """Users type them (PS3.3 C.8.3.1, C.11.1.1.1, C.11.2.1.2)."""
    image = ct_series(
        slices=3,
        ProtocolName="Zubrowka TSE",
        SequenceName="Zubrowka tse",
        PulseSequenceName="Zubrowka T1 TSE",
        LUTExplanation="Zubrowka bone",
        WindowCenterWidthExplanation=["LUNG Zubrowka", "Soft Tissue"],
    )[0]
    shown = applied(image, options=frozenset({Option.DESCRIPTORS}))
    assert (shown.ProtocolName, shown.SequenceName, shown.PulseSequenceName) == ("tse", "tse", "t1 tse")
    assert (shown.LUTExplanation, shown.WindowCenterWidthExplanation) == ("bone", ["lung", "soft tissue"])
    shown = applied(image)
    assert (shown.ProtocolName, shown.SequenceName, shown.PulseSequenceName) == ("REMOVED", None, "REMOVED")
    assert not shown.LUTExplanation
    assert not shown.WindowCenterWidthExplanation


def test_a_description_of_which_no_word_is_known_is_what_it_is_without_the_option() -> None:
    """In an enhanced object the protocol's name must not be empty (Type 1C)."""
    image = ct_series(slices=3, ProtocolName="Zubrowka", PulseSequenceName="Zubrowka", SeriesDescription="Zubrowka")[0]
    shown = applied(image, options=frozenset({Option.DESCRIPTORS}))
    assert (shown.ProtocolName, shown.PulseSequenceName) == ("REMOVED", "REMOVED")
    assert "SeriesDescription" not in shown


def applied(image: Dataset, *, options: frozenset[Option] = frozenset(), own: bool = False) -> Dataset:
    pseudonyms = Pseudonyms(key=bytes(32), patient=("patient", "", "", "1"))
    return Deidentifier(pseudonyms=pseudonyms, recipe=Recipe(options=options)).apply(image, own=own)
