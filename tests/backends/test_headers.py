"""`read_instance`: strict where a receiver promises something, tolerant about all else."""

import contextlib
import random
import zlib
from pathlib import Path

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset, Sequence
from pydicom.data import get_testdata_files
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
)

from services.backends.headers import read_instance
from services.backends.part10 import digest, wrap
from services.triage.errors import InstanceRefused
from services.triage.study import Instance, Stack
from tests.support.ct import ct_series, enhanced
from tests.support.scu import encode

UIDS = {"sop_class_uid": "1.2", "sop_instance_uid": "1.3", "source_ae_title": "TEST"}


def as_file(image: Dataset, syntax: str = ExplicitVRLittleEndian) -> bytes:
    data_set = encode(image, syntax)
    if syntax == DeflatedExplicitVRLittleEndian:
        deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        data_set = deflater.compress(data_set) + deflater.flush()
    return wrap(data_set, transfer_syntax_uid=syntax, **UIDS)


def image(**attributes: object) -> Dataset:
    return ct_series(slices=1, **attributes)[0]


def code_of(content: bytes) -> str:
    with pytest.raises(InstanceRefused) as refusal:
        read_instance(content)
    return refusal.value.reason.code


@pytest.mark.parametrize(
    "syntax",
    [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian],
)
def test_every_native_encoding_gives_the_same_header(syntax: str) -> None:
    one = image(SeriesDescription="Lunge dünn", PatientName="Müller^Jörg", NumberOfFrames=None)
    instance = read_instance(as_file(one, syntax))
    header, study = instance.header, instance.study
    assert (header.sop_instance_uid, header.series_instance_uid) == (one.SOPInstanceUID, one.SeriesInstanceUID)
    assert (header.rows, header.columns, header.number_of_frames, header.has_pixel_data) == (16, 12, 1, True)
    assert header.image_type == ("ORIGINAL", "PRIMARY", "AXIAL")
    assert header.image_orientation_patient == (1, 0, 0, 0, 1, 0)
    assert header.image_position_patient == (-100, -120, 40)
    assert header.pixel_spacing_mm == (0.8, 0.7)
    assert header.slice_thickness_mm == 2.5
    assert (header.series_description, study.patient_name) == ("Lunge dünn", "Müller^Jörg")
    assert header.transfer_syntax_uid == syntax


def test_the_digest_does_not_depend_on_group_2() -> None:
    data_set = encode(image())
    one = wrap(data_set, transfer_syntax_uid=ExplicitVRLittleEndian, **UIDS)
    other = wrap(data_set, transfer_syntax_uid=ExplicitVRLittleEndian, **UIDS | {"source_ae_title": "ANOTHER_AE"})
    assert one != other
    assert read_instance(one).digest == read_instance(other).digest == digest(one)


def test_what_is_wrapped_is_read_back_by_pydicom_with_the_same_bytes(tmp_path: Path) -> None:
    data_set = encode(image())
    path = tmp_path / "x.dcm"
    path.write_bytes(wrap(data_set, transfer_syntax_uid=ExplicitVRLittleEndian, **UIDS))
    read = pydicom.dcmread(path)
    assert read.file_meta.SourceApplicationEntityTitle == "TEST"
    assert read.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert path.read_bytes().endswith(data_set)
    assert len(path.read_bytes()) - len(data_set) == 144 + read.file_meta.FileMetaInformationGroupLength


def test_a_multi_frame_object_has_the_geometry_of_its_first_frame() -> None:
    measures, plane = Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [0.5, 0.6], 3
    plane.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
    frames = []
    for number in range(3):
        position = Dataset()
        position.ImagePositionPatient = [number, 2, 3]
        frame = Dataset()
        frame.PlanePositionSequence = Sequence([position])
        frames.append(frame)
    shared = Dataset()
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = Sequence([measures]), Sequence([plane])
    multi_frame = image(
        SOPClassUID=EnhancedCTImageStorage,
        NumberOfFrames=3,
        ImagePositionPatient=None,
        ImageOrientationPatient=None,
        PixelSpacing=None,
        SliceThickness=None,
    )
    multi_frame.SharedFunctionalGroupsSequence = Sequence([shared])
    multi_frame.PerFrameFunctionalGroupsSequence = Sequence(frames)
    for undefined in (False, True):
        multi_frame["PerFrameFunctionalGroupsSequence"].is_undefined_length = undefined
        multi_frame["SharedFunctionalGroupsSequence"].is_undefined_length = undefined
        for item in (*frames, shared):
            item.is_undefined_length_sequence_item = undefined
        header = read_instance(as_file(multi_frame)).header
        assert header.image_position_patient == (0, 2, 3)
        assert header.image_orientation_patient == (0, 1, 0, 0, 0, -1)
        assert (header.pixel_spacing_mm, header.slice_thickness_mm) == ((0.5, 0.6), 3)
        assert header.number_of_frames == 3
        assert header.frames == Stack(places=3, gap_mm=1, length_mm=3)


@pytest.mark.parametrize("phases", [1, 5])
def test_a_multi_frame_object_tells_how_its_frames_lie_however_often(phases: int) -> None:
    frames = enhanced(ct_series(slices=4, spacing_mm=(2.5, 0.8, 0.7)) * phases)
    assert read_instance(as_file(frames)).header.frames == Stack(places=4, gap_mm=2.5, length_mm=10)


def test_of_frames_that_do_not_all_tell_where_they_lie_or_are_no_image_nothing_is_told() -> None:
    untold, askew, segmentation = (enhanced(ct_series(slices=4)) for _ in range(3))
    del untold.PerFrameFunctionalGroupsSequence[2].PlanePositionSequence
    askew.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient = [1, 0, 0, 1, 0, 0]
    segmentation.Modality = "SEG"
    for one in (untold, askew, segmentation, image()):
        assert read_instance(as_file(one)).header.frames is None


@pytest.mark.parametrize(
    ("agent", "meaning", "administered", "told"),
    [
        (None, "Gadobutrol", None, "Gadobutrol"),
        ("", "Gadobutrol", "YES", "Gadobutrol"),
        ("Gadovist", "Gadobutrol", None, "Gadovist"),
        (None, "Gadobutrol", "NO", "NO"),
        (None, "", None, "372706007"),
    ],
)
def test_a_contrast_agent_told_by_code_is_read(
    agent: str | None, meaning: str, administered: str | None, told: str
) -> None:
    one, code = image(ContrastBolusAgent=agent), Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "372706007", "SCT", meaning
    one.ContrastBolusAgentSequence = Sequence([code])
    if administered:
        usage, groups = Dataset(), Dataset()
        usage.ContrastBolusAgentAdministered = administered
        groups.ContrastBolusUsageSequence = Sequence([usage])
        one.SharedFunctionalGroupsSequence = Sequence([groups])
    assert read_instance(as_file(one)).header.contrast_bolus_agent == told


def test_a_file_cut_at_any_byte_is_refused_unless_whole_elements_are_left() -> None:
    one = image(rows=4, columns=4)
    content = as_file(one)
    elements = list(one)
    ends = {len(as_file(Dataset({element.tag: element for element in elements[:n]}))) for n in range(len(elements))}
    for cut in range(len(content)):
        try:
            instance = read_instance(content[:cut])
        except InstanceRefused:
            continue
        assert cut in ends, f"cut at byte {cut} of {len(content)}"
        assert not instance.header.has_pixel_data


@pytest.mark.parametrize("syntax", [DeflatedExplicitVRLittleEndian, JPEG2000Lossless])
def test_a_compressed_file_cut_at_any_byte_is_refused_unless_whole_elements_are_left(syntax: str) -> None:
    one = image()
    if syntax == JPEG2000Lossless:
        one.PixelData = encapsulate([b"\x01" * 200, b"\x02" * 100])
        one["PixelData"].VR, one["PixelData"].is_undefined_length = "OB", True
    content = as_file(one, syntax)
    assert read_instance(content).header.has_pixel_data
    for cut in range(len(content) - 300 if syntax == JPEG2000Lossless else 300, len(content)):
        assert code_of(content[:cut]) == "truncated"


def test_a_file_without_a_preamble_or_group_2_is_taken() -> None:
    for syntax in (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian):
        assert read_instance(encode(image(), syntax)).header.transfer_syntax_uid == syntax
    assert read_instance(as_file(image())[132:]).header.has_pixel_data


@pytest.mark.parametrize("keyword", ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"])
def test_a_missing_or_impossible_uid_is_refused(keyword: str) -> None:
    assert code_of(as_file(image(**{keyword: None}))) == "missing_uid"
    for uid in ("../../etc/passwd", "1.2.3;rm", "1." + "2" * 63, "1.2 3"):
        one = image()
        with pydicom.config.disable_value_validation():
            setattr(one, keyword, uid)
        assert code_of(as_file(one)) == "invalid_uid"


def test_what_is_not_dicom_is_refused_by_name() -> None:
    assert code_of(b"") == "empty"
    assert code_of(b"%PDF-1.7" + bytes(2000)) == "not_dicom"
    assert code_of(bytes(5000)) == "not_dicom"
    assert code_of(bytes(128) + b"DICM") == "truncated"


def test_a_lying_transfer_syntax_is_refused() -> None:
    one = image()
    for told, written in (
        (ExplicitVRLittleEndian, ImplicitVRLittleEndian),
        (ImplicitVRLittleEndian, ExplicitVRLittleEndian),
        (ExplicitVRLittleEndian, ExplicitVRBigEndian),
        (ExplicitVRBigEndian, ExplicitVRLittleEndian),
        (DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian),
        (JPEG2000Lossless, ExplicitVRLittleEndian),
    ):
        content = wrap(encode(one, written), transfer_syntax_uid=told, **UIDS)
        assert code_of(content) == "lying_transfer_syntax", (told, written)


def test_a_wrong_length_is_refused_and_a_gigantic_one_takes_no_memory() -> None:
    content = as_file(image())
    at = content.index(b"\x10\x00\x10\x00PN") + 6
    assert code_of(content[:at] + b"\x03\x00" + content[at + 2 :]) == "wrong_length"
    at = content.index(b"\xe0\x7f\x10\x00OW\x00\x00") + 8
    assert code_of(content[:at] + b"\xfe\xff\xff\xff" + content[at + 4 :]) == "truncated"


def test_a_deflate_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.backends.headers.MAX_INFLATED_BYTES", 10_000)
    assert code_of(as_file(image(rows=200, columns=200), DeflatedExplicitVRLittleEndian)) == "too_large"


def test_beyond_a_size_that_is_always_allowed_the_ratio_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    flat, noisy = image(rows=200, columns=200), image(rows=200, columns=200)
    flat.PixelData, noisy.PixelData = bytes(80_000), random.Random(1).randbytes(80_000)
    monkeypatch.setattr("services.backends.headers._ALWAYS_BYTES", 50_000)
    assert code_of(as_file(flat, DeflatedExplicitVRLittleEndian)) == "too_large"
    assert read_instance(as_file(noisy, DeflatedExplicitVRLittleEndian)).header.rows == 200
    monkeypatch.setattr("services.backends.headers._ALWAYS_BYTES", 100_000)
    assert read_instance(as_file(flat, DeflatedExplicitVRLittleEndian)).header.rows == 200


def test_more_elements_than_any_object_has_are_refused_wherever_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    nested = image()
    nested.ReferencedImageSequence = Sequence([Dataset() for _ in range(3)])
    for item in nested.ReferencedImageSequence:
        item.is_undefined_length_sequence_item = True
        for number in range(200):
            item.add_new(0x00111001 + number, "LO", "")
    nested["ReferencedImageSequence"].is_undefined_length = True
    content = as_file(nested)
    assert read_instance(content)
    monkeypatch.setattr("services.backends.elements.MAX_ELEMENTS", 500)
    assert code_of(content) == "too_many_elements"
    assert read_instance(as_file(image()))


def test_a_value_that_cannot_be_understood_is_an_absent_value() -> None:
    one = image()
    with pydicom.config.disable_value_validation():
        one.add_new("SeriesNumber", "LO", "three")
        one.add_new("SliceThickness", "LO", "nan")
        one.add_new("PixelSpacing", "LO", "wide\\narrow")
        one.add_new("InstanceNumber", "LO", str(10**30))
    header = read_instance(as_file(one)).header
    assert (header.series_number, header.instance_number) == (None, None)
    assert (header.slice_thickness_mm, header.pixel_spacing_mm) == (None, None)


@pytest.mark.parametrize("path", [Path(name) for name in get_testdata_files("*")], ids=lambda path: path.name)
def test_every_file_of_pydicom_is_an_instance_or_refused(path: Path) -> None:
    if path.is_file():
        with contextlib.suppress(InstanceRefused):
            assert isinstance(read_instance(path), Instance)


SOUND = as_file(image(rows=2, columns=2))


@given(st.data())
def test_no_damage_makes_anything_but_a_refusal(data: st.DataObject) -> None:
    content = bytearray(SOUND)
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(128, len(content) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(InstanceRefused):
        assert isinstance(read_instance(bytes(content)), Instance)
