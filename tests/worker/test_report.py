"""What a result says."""

from dataclasses import replace
from datetime import datetime, timedelta, timezone

import numpy as np
import pytest

from services import __version__
from services.triage.completeness import is_routable
from services.triage.errors import Reason
from services.triage.finding import Outcome, without_analysis
from services.triage.job import SeriesRefusal
from services.triage.result import ObjectKind
from services.triage.study import InstanceHeader
from services.triage.uncertainty import OUT_OF_MEMORY, Spread, Uncertainty
from services.worker.report import write_report
from tests.support.ct import ct_series
from tests.support.lesion_case import UNSUITABLE, a_model, finding_of, volume_of_series, with_balls
from tests.support.reports import EVERY_FORM, NOW, comment, read, reported, values

SEG, SR = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.88.34"


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


@pytest.mark.parametrize("outcome", list(Outcome))
def test_a_report_is_a_list_of_statements_and_no_flowing_text(outcome: Outcome):
    sr = reported(outcome)[-1]
    assert {element.value for element in sr.iterall() if element.keyword == "ContinuityOfContent"} == {"SEPARATE"}


def test_a_report_tells_the_least_and_the_greatest_score_of_the_runs_beside_the_score():
    series = ct_series(slices=9, rows=32, columns=28)
    volume = volume_of_series(series)
    finding, labels = with_balls(volume, (0.93,))
    spread = Spread(runs=4, sd=0.1, lowest=0.7, highest=0.95)
    uncertain = replace(
        finding,
        lesions=tuple(replace(one, spread=spread) for one in finding.lesions),
        uncertainty=Uncertainty(spread=spread),
    )
    given = {"model": a_model(), "headers": series, "volume": volume, "label_map": labels, "now": NOW}
    (plain_seg, plain), (seg, sr) = (map(read, write_report(one, **given)) for one in (finding, uncertain))

    assert values(sr, "111012") == pytest.approx([finding.lesions[0].score * 100, 70, 95], abs=0.005)
    # Derivation (121401) is of the mean attenuation, then Minimum and Maximum; Algorithm Parameters (111002) of these
    assert values(sr, "121401") == ["373098007", "255605001", "56851009"]
    assert values(sr, "111002").count("uncertainty flips, 4 runs") == 2
    assert "Study score over 4 runs, mirrored ones included: 0.70 to 0.95; no interval of confidence." in comment(sr)
    assert values(plain, "121401") == ["373098007"]
    assert seg.PixelData == plain_seg.PixelData
    assert seg.SegmentSequence[0].SegmentLabel == plain_seg.SegmentSequence[0].SegmentLabel


@pytest.mark.parametrize("outcome", [Outcome.FOUND, Outcome.NOTHING_FOUND])
def test_why_it_is_not_known_how_a_score_varies_is_told(outcome: Outcome):
    series = ct_series(slices=9, rows=32, columns=28)
    volume = volume_of_series(series)
    finding, labels = finding_of(outcome, volume)
    finding = replace(finding, uncertainty=Uncertainty(reason=OUT_OF_MEMORY))
    sr = read(write_report(finding, model=a_model(), headers=series, volume=volume, label_map=labels, now=NOW)[-1])
    assert "Uncertainty of the score not known: memory ran out in a mirrored run [out_of_memory]" in comment(sr)


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


def test_a_patients_name_is_never_printed(recwarn, caplog):
    reported(Outcome.FOUND, PatientName="ODDNAME")

    assert not any("ODDNAME" in str(warning.message) for warning in recwarn)
    assert "ODDNAME" not in caplog.text


def test_a_report_for_who_takes_no_segmentation_has_the_long_axes_as_lines_on_their_slices():
    series = ct_series(slices=9, rows=32, columns=28)
    volume = volume_of_series(series)
    finding, labels = with_balls(volume, (0.93, 0.61))
    arguments = {"model": a_model(), "headers": series, "volume": volume, "label_map": labels, "now": NOW}

    _, sr, lines = map(read, write_report(finding, **arguments, segmentations=(ObjectKind.SEG, None)))

    assert (lines.SeriesNumber, lines.SOPClassUID) == (92000, SR)
    assert comment(lines) == comment(sr)
    for concept in ("112040", "111017", "111065", "118565006", "111012"):
        assert values(lines, concept) == values(sr, concept)
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


def test_without_lesions_there_is_one_report_whatever_the_forms():
    series = ct_series(slices=9, rows=32, columns=28)
    finding, _ = finding_of(Outcome.NOTHING_FOUND, volume_of_series(series))

    objects = write_report(
        finding, model=a_model(), headers=series, volume=None, label_map=None, now=NOW, segmentations=EVERY_FORM
    )

    assert [each.sop_class_uid for each in objects] == [SR]


def test_lesions_without_their_voxels_are_no_result():
    series = ct_series(slices=9, rows=32, columns=28)
    finding, _ = finding_of(Outcome.FOUND, volume_of_series(series))

    with pytest.raises(ValueError, match="without a volume"):
        write_report(finding, model=a_model(), headers=series, volume=None, label_map=None, now=NOW)
