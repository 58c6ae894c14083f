"""What a result says, on sources of all kinds: odd headers, character sets, multi-frame objects."""

from datetime import UTC, datetime, timedelta, timezone
from io import BytesIO

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import EnhancedCTImageStorage

from services import __version__
from services.triage.completeness import is_routable
from services.triage.errors import Reason
from services.triage.finding import Outcome, without_analysis
from services.triage.job import SeriesRefusal
from services.triage.result import ResultObject
from services.triage.study import InstanceHeader
from services.triage.volume import SliceSource, Volume
from services.worker.report import write_report
from tests.support.ct import ct_series
from tests.support.lesion_case import UNSUITABLE, a_model, finding_of, volume_of_series, with_balls

NOW = datetime(2024, 1, 2, 12, 0, tzinfo=UTC)
SEG, SR = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.88.34"


def read(result: ResultObject) -> Dataset:
    return dcmread(BytesIO(result.content))


def reported(outcome: Outcome, *, calibrated: bool = False, now: datetime = NOW, **attributes: object) -> list[Dataset]:
    """The result of an outcome on a CT series with those attributes."""
    series = ct_series(slices=9, rows=32, columns=28, **attributes)
    volume = volume_of_series(series)
    finding, labels = finding_of(outcome, volume)
    model = a_model(calibrated=calibrated)
    return [
        read(each)
        for each in write_report(finding, model=model, headers=series, volume=volume, label_map=labels, now=now)
    ]


def values(sr: Dataset, code: str) -> list[object]:
    """What the content items with that concept name say, anywhere in the tree."""
    found = []
    for item in sr.get("ContentSequence", []):
        if "ConceptNameCodeSequence" in item and item.ConceptNameCodeSequence[0].CodeValue == code:
            found.append(_value(item))
        found.extend(values(item, code))
    return found


def _value(item: Dataset) -> object:
    match item.ValueType:
        case "CODE":
            return item.ConceptCodeSequence[0].CodeValue
        case "NUM":
            return float(item.MeasuredValueSequence[0].NumericValue)
        case "TEXT":
            return item.TextValue
        case "UIDREF":
            return item.UID
    return item


def comment(sr: Dataset) -> str:
    (text,) = values(sr, "121106")
    assert isinstance(text, str)
    return text


@pytest.mark.parametrize(
    ("outcome", "classes", "summary", "analyses", "lesion"),
    [
        (Outcome.FOUND, [SEG, SR], "111242", "111222", ["52101004"]),
        (Outcome.EQUIVOCAL, [SEG, SR], "111242", "111222", ["373068000"]),
        (Outcome.NOTHING_FOUND, [SR], "111241", "111222", ["272519000"]),
        (Outcome.FAILED, [SR], "111245", "111224", []),
        (Outcome.NOT_ANALYSED, [SR], "111245", "111225", []),
    ],
)
def test_each_outcome_has_its_objects_and_codes(outcome, classes, summary, analyses, lesion):
    objects = reported(outcome)

    sr = objects[-1]
    (evaluations,) = (i for i in sr.ContentSequence if i.get("ConceptNameCodeSequence")[0].CodeValue == "C0034375")
    assert [each.SOPClassUID for each in objects] == classes
    assert values(sr, "111017") == [summary]
    assert values(sr, "111065") == [analyses]
    assert values(evaluations, "52988006") == lesion
    assert (sr.CompletionFlag, sr.VerificationFlag, sr.PreliminaryFlag) == ("COMPLETE", "UNVERIFIED", "PRELIMINARY")


def test_the_numbers_of_the_report_are_those_of_the_lesions():
    series = ct_series(slices=9, rows=32, columns=28)
    volume = volume_of_series(series)
    finding, labels = with_balls(volume, (0.93, 0.61))

    seg, sr = map(
        read, write_report(finding, model=a_model(), headers=series, volume=volume, label_map=labels, now=NOW)
    )

    lesions = finding.lesions
    assert len(lesions) == 2
    assert values(sr, "118565006") == pytest.approx([lesion.volume_ml * 1000 for lesion in lesions], abs=0.05)
    assert values(sr, "103339001") == pytest.approx([lesion.long_axis_mm for lesion in lesions], abs=0.005)
    assert values(sr, "103340004") == pytest.approx([lesion.short_axis_mm for lesion in lesions], abs=0.005)
    assert values(sr, "112031") == pytest.approx([lesion.mean_intensity for lesion in lesions], abs=0.05)
    assert values(sr, "111012") == pytest.approx([lesion.score * 100 for lesion in lesions], abs=0.005)
    assert values(sr, "112040") == [lesion.tracking_uid for lesion in lesions]
    assert [segment.TrackingUID for segment in seg.SegmentSequence] == [lesion.tracking_uid for lesion in lesions]
    assert [segment.SegmentNumber for segment in seg.SegmentSequence] == [1, 2]
    key_images = [item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in values(sr, "121200")]
    assert key_images == [series[lesion.key_slice].SOPInstanceUID for lesion in lesions]


def test_a_segmentation_holds_only_slices_with_content():
    series = ct_series(slices=12, rows=16, columns=16)
    volume = volume_of_series(series)
    finding, labels = with_balls(volume, (0.9,), radius_mm=4)

    seg = read(write_report(finding, model=a_model(), headers=series, volume=volume, label_map=labels, now=NOW)[0])

    filled = np.flatnonzero(labels.any(axis=(1, 2)))
    assert seg.NumberOfFrames == len(filled) < 12
    referenced = {each.ReferencedSOPInstanceUID for each in seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence}
    assert referenced == {series[index].SOPInstanceUID for index in filled}
    assert seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SpacingBetweenSlices == 2.5


def test_a_score_that_is_not_calibrated_says_so_wherever_it_is_shown():
    seg, sr = reported(Outcome.FOUND)

    assert seg.SegmentSequence[0].SegmentLabel == "Lesion 1 (score 0.93) not calibrated on patients"
    assert "score 0.93 (not calibrated on patients)" in comment(sr)


def test_a_calibrated_score_stands_alone():
    series = ct_series(slices=9, rows=32, columns=28)
    volume = volume_of_series(series)
    model = a_model(calibrated=True)
    finding, labels = with_balls(volume, (0.93,), model=model)

    seg, sr = map(read, write_report(finding, model=model, headers=series, volume=volume, label_map=labels, now=NOW))

    assert seg.SegmentSequence[0].SegmentLabel == "Lesion 1 (score 0.93)"
    assert "calibrated" not in comment(sr)


@pytest.mark.parametrize("outcome", list(Outcome))
def test_every_object_names_model_version_weights_and_software(outcome):
    for each in reported(outcome):
        text = str(each)
        assert all(word in text for word in ("ct_lung_lesion", "1.0.0", "ab" * 32, __version__))
        assert each.Manufacturer == "Vigie"


@pytest.mark.parametrize("outcome", list(Outcome))
def test_every_report_says_that_it_is_no_diagnosis(outcome):
    assert "not a medical device, not for diagnosis" in comment(reported(outcome)[-1])


@pytest.mark.parametrize("outcome", list(Outcome))
def test_probability_of_cancer_is_never_reported(outcome):
    assert values(reported(outcome)[-1], "111047") == []


def test_only_an_urgent_flag_gives_a_priority():
    assert values(reported(Outcome.FOUND)[-1], "260870009") == ["103391001"]
    assert values(reported(Outcome.EQUIVOCAL)[-1], "260870009") == []


def test_a_study_that_was_not_analysed_tells_why_for_each_series():
    series = ct_series()
    refused = SeriesRefusal(series_instance_uid="1.2.3", reason=Reason(code="too_few_slices", text="3 slices"))

    (result,) = write_report(
        without_analysis(Outcome.NOT_ANALYSED, UNSUITABLE),
        model=a_model(),
        headers=series,
        volume=None,
        label_map=None,
        refused_series=[refused],
        now=NOW,
    )

    text = comment(read(result))
    assert text.startswith("NOT ANALYSED")
    assert f"{UNSUITABLE.text} [{UNSUITABLE.code}]" in text
    assert "Series 1.2.3: 3 slices [too_few_slices]" in text
    assert values(read(result), "111012") == []


def test_our_own_objects_open_no_version_when_they_come_back():
    for each in reported(Outcome.FOUND):
        header = InstanceHeader(
            sop_class_uid=each.SOPClassUID,
            sop_instance_uid=each.SOPInstanceUID,
            series_instance_uid=each.SeriesInstanceUID,
            study_instance_uid=each.StudyInstanceUID,
            transfer_syntax_uid=each.file_meta.TransferSyntaxUID,
            modality=each.Modality,
            manufacturer=each.Manufacturer,
            has_pixel_data="PixelData" in each,
        )
        assert not is_routable(header)


def test_a_new_computation_has_new_uids_and_names_its_predecessor():
    series = ct_series()
    finding = without_analysis(Outcome.FAILED, UNSUITABLE)
    arguments = {"model": a_model(), "headers": series, "volume": None, "label_map": None, "now": NOW}
    first = read(write_report(finding, **arguments)[0])

    second = read(write_report(finding, **arguments, predecessors=[first])[0])

    assert second.SOPInstanceUID != first.SOPInstanceUID
    assert second.SeriesInstanceUID != first.SeriesInstanceUID
    (study,) = second.PredecessorDocumentsSequence
    assert study.ReferencedSeriesSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID == first.SOPInstanceUID
    assert "PredecessorDocumentsSequence" not in first


def test_each_kind_of_object_has_its_own_series_with_a_fixed_number_and_a_description():
    seg, sr = reported(Outcome.FOUND)

    assert (seg.SeriesNumber, sr.SeriesNumber) == (91000, 92000)
    assert seg.SeriesDescription == "Vigie SEG ct_lung_lesion 1.0.0"
    assert sr.SeriesDescription == "Vigie SR ct_lung_lesion 1.0.0"
    assert seg.SOPInstanceUID.startswith("2.25.")
    assert seg.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"


def test_times_are_told_in_the_time_zone_of_the_source():
    (sr,) = reported(Outcome.FAILED, TimezoneOffsetFromUTC="-0330")

    assert (sr.ContentDate, sr.ContentTime) == ("20240102", "083000")


def test_times_are_told_in_local_time_where_the_source_names_no_zone():
    now = datetime(2024, 1, 2, 12, tzinfo=timezone(timedelta(hours=5)))

    (sr,) = reported(Outcome.FAILED, now=now)

    assert sr.ContentTime == now.astimezone().strftime("%H%M%S")


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

    for result in write_report(finding, model=a_model(), headers=headers, volume=volume, label_map=labels, now=NOW):
        assert read(result).PatientName == name
        assert read(result).SpecificCharacterSet == "ISO_IR 192"
        assert name.encode() in result.content
    assert headers[0].PatientName == name
    assert headers[0].SpecificCharacterSet == character_set


def test_a_patients_name_is_never_printed(recwarn, caplog):
    reported(Outcome.FOUND, PatientName="ODDNAME")

    assert not any("ODDNAME" in str(warning.message) for warning in recwarn)
    assert "ODDNAME" not in caplog.text


def multi_frame(series: list[Dataset]) -> tuple[Dataset, Volume]:
    """An enhanced CT object of those images, its frames in reverse order, and its volume in slice order."""
    enhanced = Dataset()
    enhanced.update({e.tag: e for e in series[0] if e.keyword not in ("PixelData", "PixelSpacing", "SliceThickness")})
    del enhanced.ImagePositionPatient, enhanced.ImageOrientationPatient
    enhanced.SOPClassUID = EnhancedCTImageStorage
    enhanced.NumberOfFrames = len(series)
    enhanced.PerFrameFunctionalGroupsSequence = [_frame_groups(image) for image in reversed(series)]
    enhanced.SharedFunctionalGroupsSequence = [Dataset()]
    volume = volume_of_series(series)
    sources = tuple(
        SliceSource(
            sop_class_uid=EnhancedCTImageStorage,
            sop_instance_uid=enhanced.SOPInstanceUID,
            frame_number=len(series) - index,
        )
        for index in range(len(series))
    )
    fields = ("voxels", "affine", "modality", "study_instance_uid", "series_instance_uid", "frame_of_reference_uid")
    return enhanced, Volume(sources=sources, **{field: getattr(volume, field) for field in fields})


def _frame_groups(image: Dataset) -> Dataset:
    """Geometry per frame, orientation too: not every maker shares it."""
    position, orientation, measures, groups = Dataset(), Dataset(), Dataset(), Dataset()
    position.ImagePositionPatient = image.ImagePositionPatient
    orientation.ImageOrientationPatient = image.ImageOrientationPatient
    measures.PixelSpacing, measures.SliceThickness = image.PixelSpacing, image.SliceThickness
    groups.PlanePositionSequence, groups.PlaneOrientationSequence = [position], [orientation]
    groups.PixelMeasuresSequence = [measures]
    return groups


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


def test_on_request_the_long_axes_come_as_lines_on_their_slices():
    series = ct_series(slices=9, rows=32, columns=28)
    volume = volume_of_series(series)
    finding, labels = with_balls(volume, (0.93, 0.61))
    arguments = {"model": a_model(), "headers": series, "volume": volume, "label_map": labels, "now": NOW}

    _, sr, lines = map(read, write_report(finding, **arguments, coordinates=True))

    assert (lines.SeriesNumber, lines.SOPClassUID) == (93000, SR)
    assert values(lines, "112040") == values(sr, "112040")
    axes = [item for item in values(lines, "260753009") if item.ValueType == "SCOORD"]
    for lesion, line in zip(finding.lesions, axes, strict=True):
        column, row, last_column, last_row = line.GraphicData
        _, row_mm, column_mm = volume.spacing_mm
        assert np.hypot((last_column - column) * column_mm, (last_row - row) * row_mm) == pytest.approx(
            lesion.long_axis_mm, abs=1e-4
        )
        middle = labels[lesion.key_slice][int((row + last_row) / 2), int((column + last_column) / 2)]
        assert middle == lesion.number
        (image,) = line.ContentSequence
        assert image.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == series[lesion.key_slice].SOPInstanceUID


def test_without_lesions_there_are_no_lines():
    series = ct_series(slices=9, rows=32, columns=28)
    finding, _ = finding_of(Outcome.NOTHING_FOUND, volume_of_series(series))

    objects = write_report(
        finding, model=a_model(), headers=series, volume=None, label_map=None, now=NOW, coordinates=True
    )

    assert [each.sop_class_uid for each in objects] == [SR]


def test_lesions_without_their_voxels_are_no_result():
    series = ct_series(slices=9, rows=32, columns=28)
    finding, _ = finding_of(Outcome.FOUND, volume_of_series(series))

    with pytest.raises(ValueError, match="without a volume"):
        write_report(finding, model=a_model(), headers=series, volume=None, label_map=None, now=NOW)
