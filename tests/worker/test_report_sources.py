"""Results on sources of all kinds: odd headers, character sets, multi-frame objects."""

from io import BytesIO

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import EnhancedCTImageStorage

from services.triage.finding import Outcome
from services.triage.result import FALLBACKS
from services.worker.report import write_report
from tests.support.ct import ct_series
from tests.support.lesion_case import a_model, finding_of, volume_of_series, with_balls
from tests.support.multi_frame import multi_frame
from tests.support.reports import NOW, read, reported, values


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
