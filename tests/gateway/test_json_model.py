"""The DICOM JSON Model of many data sets, one after the other: what is kept from one to the next changes nothing."""

from io import BytesIO

import pytest
from pydicom import Dataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from services.gateway.dicomweb.json_model import Seen, dicom_json, read_header
from tests.support.ct import ct_series

BOTH = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]


def read(dataset: Dataset, syntax: str = ExplicitVRLittleEndian) -> Dataset:
    file = BytesIO()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(file, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=syntax != ExplicitVRBigEndian)
    return read_header(BytesIO(file.getvalue()))


@pytest.mark.parametrize("syntax", BOTH)
def test_a_series_reads_the_same_with_and_without_what_was_seen(syntax: str) -> None:
    series = ct_series(slices=4, PatientName="Müller^Jörg")
    for number, each in enumerate(series):
        each.PatientComments = f"the {number}th"
        each.WindowCenter = [40, 400]
    seen: Seen = {}
    together = [dicom_json(read(each, syntax), bulk_root="/", seen=seen) for each in series]
    assert together == [dicom_json(read(each, syntax), bulk_root="/") for each in series]
    assert [each["00104000"]["Value"] for each in together] == [[f"the {number}th"] for number in range(4)]


@pytest.mark.parametrize("syntax", BOTH)
def test_the_same_bytes_in_another_character_set_or_of_another_creator_are_not_the_same(syntax: str) -> None:
    seen: Seen = {}
    names = []
    for character_set in ("ISO_IR 100", "ISO_IR 101"):
        (one,) = ct_series(slices=1)
        one.SpecificCharacterSet = character_set
        one.add_new(0x00100010, "PN", b"Nov\xb9k^J")  # superscript one in Latin 1, s with caron in Latin 2
        one.private_block(0x0029, f"OF {character_set}", create=True).add_new(0x01, "LO", "the same")
        told = dicom_json(read(one, syntax), bulk_root="/", seen=seen)
        assert told == dicom_json(read(one, syntax), bulk_root="/")
        names.append(told["00100010"]["Value"][0]["Alphabetic"])
    assert names == ["Nov\N{SUPERSCRIPT ONE}k^J", "Nov\N{LATIN SMALL LETTER S WITH CARON}k^J"]


def test_the_same_bytes_are_another_number_in_the_other_byte_order() -> None:
    """770 is 02 03 in little endian, as 515 is in big."""
    seen: Seen = {}
    largest = []
    for value, syntax in ((770, ExplicitVRLittleEndian), (515, ExplicitVRBigEndian)):
        (one,) = ct_series(slices=1)
        one.LargestImagePixelValue = value
        largest.append(dicom_json(read(one, syntax), bulk_root="/", seen=seen)["00280107"])
    assert largest == [{"vr": "US", "Value": [770]}, {"vr": "US", "Value": [515]}]


@pytest.mark.parametrize("syntax", BOTH)
def test_a_value_whose_kind_another_attribute_decides_is_read_anew(syntax: str) -> None:
    seen: Seen = {}
    padding = []
    for representation in (0, 1):
        (one,) = ct_series(slices=1)
        one.PixelRepresentation = representation
        one.add_new(0x00280120, "SS" if representation else "US", -1 if representation else 65535)
        told = dicom_json(read(one, syntax), bulk_root="/", seen=seen)
        padding.append(told["00280120"])
    assert padding == [{"vr": "US", "Value": [65535]}, {"vr": "SS", "Value": [-1]}]


def test_only_what_is_wanted_is_read() -> None:
    (one,) = ct_series(slices=1)
    assert list(dicom_json(read(one), wanted=lambda tag: tag in ("00080060", "00200010"))) == ["00080060", "00200010"]
