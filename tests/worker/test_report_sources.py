"""Results on sources of all kinds: odd headers, character sets, multi-frame objects."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from pydicom import DataElement, Dataset, dcmread
from pydicom.datadict import tag_for_keyword
from pydicom.uid import EnhancedCTImageStorage, ImplicitVRLittleEndian

from services.backends.rejection_note import write_rejection_note
from services.backends.verdict_report import Subject, write_verdicts
from services.triage.finding import Outcome
from services.triage.result import FALLBACKS
from services.worker.report import write_report
from tests.support.ct import ct_series
from tests.support.house import House, chest_with_ball
from tests.support.lesion_case import a_model, finding_of, volume_of_series, with_balls
from tests.support.multi_frame import multi_frame
from tests.support.reports import EVERY_FORM, NOW, read, reported, values


@pytest.mark.parametrize(
    "attributes",
    [
        {"SliceThickness": None},
        {"SliceThickness": ""},
        {"AccessionNumber": None, "StudyID": None},
        {"PatientID": None, "PatientName": None},
        {"PatientBirthDate": None, "PatientSex": None},
        {"PatientBirthDate": "1960", "PatientSex": "UNKNOWN", "StudyDate": "2024-01-02"},
        {"StudyDate": None, "StudyTime": None, "ReferringPhysicianName": None},
        {"FrameOfReferenceUID": None},
        {"SOPClassUID": "1.2.840.113619.4.27"},
        {"SpecificCharacterSet": None},
    ],
)
@pytest.mark.filterwarnings("ignore:.*:UserWarning:pydicom")
def test_a_poor_header_gives_a_result_with_every_type_2_attribute(attributes):
    for each in reported(Outcome.FOUND, **attributes):
        for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyID"):
            assert keyword in each
    assert each.StudyInstanceUID


NO_DATES = ("19500000", "00000000", "20240230", "2024")
NO_TIMES = ("256199", "240000", "126100", "12:30:00")
ODD_BYTES = {
    "PatientBirthDate": b"\xff\xfe19",
    "PatientSex": b"\xff ",
    "PatientSize": b"1,80",
    "PatientAge": b"9\xff9Z",
    "LongitudinalTemporalOffsetFromEvent": b"abcd",
    "LossyImageCompressionRatio": b"1,5 ",
    "BodyPartExamined": b"\xff ",
    "Laterality": b"\xff ",
    "PatientName": b"a=b=c=d ",
    "ReferringPhysicianName": b"a^b^c^d^e^f^",
    "StudyID": b"longer than sixteen ",
}


def every_object(keyword: str, value: bytes) -> list[Dataset]:
    """Of a result with every form and overlay, and of one that failed, on images with those bytes as a value."""
    series = ct_series(slices=9, rows=32, columns=28, LossyImageCompression="01")
    volume = volume_of_series(series)
    headers = []
    for each in series:
        each.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian  # where a reader knows the VR, and this is not it
        each[keyword] = DataElement(tag_for_keyword(keyword), "OB", value)
        each.save_as(encoded := BytesIO())
        encoded.seek(0)
        headers.append(dcmread(encoded, stop_before_pixels=True, force=True))
    found, labels = finding_of(Outcome.FOUND, volume)
    failed, _ = finding_of(Outcome.FAILED, volume)
    told = {"model": a_model(), "headers": headers, "now": NOW}
    return [
        read(each)
        for each in (
            *write_report(
                found, volume=volume, label_map=labels, segmentations=EVERY_FORM, fallbacks=list(FALLBACKS), **told
            ),
            *write_report(failed, volume=None, label_map=None, **told),
        )
    ]


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        *(("PatientBirthDate", value) for value in NO_DATES),
        *(("StudyDate", value) for value in NO_DATES),
        *(("StudyTime", value) for value in NO_TIMES),
    ],
)
@pytest.mark.filterwarnings("ignore:.*:UserWarning:pydicom")
def test_what_is_no_date_or_time_is_empty_in_every_object(keyword: str, value: str) -> None:
    objects = every_object(keyword, value.encode())
    note = write_rejection_note(objects[:-1], model=a_model().identity, reason="a test", now=NOW)
    header = ct_series(slices=1)[0]
    header[keyword] = DataElement(tag_for_keyword(keyword), "LO", value)
    verdicts = Subject(header=header, reader="Dr Ada", verdicts=(), assessed={}, stored={}, now=NOW)
    written = [*objects, read(note), read(write_verdicts(verdicts))]
    assert {each.Modality for each in written} == {"SEG", "SR", "PR", "OT", "KO"}
    assert [each[keyword].value for each in written] == [""] * len(written)


@pytest.mark.parametrize("offset", ["+2500", "-9959", "+0175", "+1500"])
def test_a_time_zone_that_there_is_not_is_that_of_this_machine(offset: str) -> None:
    for each in reported(Outcome.FOUND, TimezoneOffsetFromUTC=offset):
        assert each.ContentTime == NOW.astimezone().strftime("%H%M%S")


@pytest.mark.parametrize("keyword", ODD_BYTES)
@pytest.mark.filterwarnings("ignore:.*:UserWarning:pydicom")
def test_bytes_that_are_no_value_of_their_kind_cost_no_object(keyword: str) -> None:
    assert every_object(keyword, ODD_BYTES[keyword])


def test_a_finished_analysis_survives_a_birth_date_without_a_day(tmp_path: Path) -> None:
    house = House(data=tmp_path / "data", send_to=(str(tmp_path / "out"),))
    result = house.result(house.freeze(chest_with_ball(PatientBirthDate="19500000")))
    assert (result.outcome, len(result.objects), len(result.deliveries)) == (Outcome.FOUND, 2, 1)


@pytest.mark.parametrize(
    ("character_set", "name"),
    [
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎"),
        ("ISO_IR 100", "Müller^Zoë"),
        ("GB18030", "Wang^XiaoDong=王^小东"),
    ],
)
def test_a_name_in_any_character_set_comes_back_in_utf_8(character_set, name):
    series = ct_series(slices=9, rows=32, columns=28, SpecificCharacterSet=character_set, PatientName=name)
    headers = []
    for each in series:
        each.save_as(encoded := BytesIO(), enforce_file_format=True)
        encoded.seek(0)
        headers.append(dcmread(encoded, stop_before_pixels=True))
    volume = volume_of_series(series)
    finding, labels = finding_of(Outcome.FOUND, volume)

    arguments = {"headers": headers, "volume": volume, "label_map": labels, "now": NOW}
    for result in write_report(finding, model=a_model(), fallbacks=list(FALLBACKS), **arguments):
        assert read(result).PatientName == name
        assert read(result).SpecificCharacterSet == "ISO_IR 192"
        assert name.encode() in result.content
    assert headers[0].PatientName == name
    assert headers[0].SpecificCharacterSet == character_set


def test_a_multi_frame_source_is_referred_to_by_frame():
    enhanced, volume = multi_frame(ct_series(slices=9, rows=32, columns=28))
    finding, labels = with_balls(volume, (0.9,))

    seg, sr = map(
        read, write_report(finding, model=a_model(), headers=[enhanced], volume=volume, label_map=labels, now=NOW)
    )

    for frame, plane in zip(seg.PerFrameFunctionalGroupsSequence, seg.pixel_array, strict=True):
        source = frame.DerivationImageSequence[0].SourceImageSequence[0]
        index = 9 - source.ReferencedFrameNumber
        assert source.ReferencedSOPInstanceUID == enhanced.SOPInstanceUID
        assert source.ReferencedSOPClassUID == EnhancedCTImageStorage
        position = frame.PlanePositionSequence[0].ImagePositionPatient
        assert [float(x) for x in position] == pytest.approx(volume.to_lps_mm([index, 0, 0]))
        np.testing.assert_array_equal(plane, labels[index])
    (instance,) = seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    assert instance.ReferencedSOPInstanceUID == enhanced.SOPInstanceUID
    (key_image,) = values(sr, "121200")
    assert key_image.ReferencedSOPSequence[0].ReferencedFrameNumber == 9 - finding.lesions[0].key_slice
