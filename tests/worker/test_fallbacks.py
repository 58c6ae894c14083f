"""Fallbacks: written on request, beside SEG and SR, in series of their own; and the key object selection."""

import pytest

from services import __version__
from services.triage.finding import Outcome
from services.triage.result import FALLBACKS, ObjectKind
from services.worker.report import write_report
from tests.support.ct import ct_series
from tests.support.lesion_case import a_model, finding_of, volume_of_series, with_balls
from tests.support.multi_frame import multi_frame
from tests.support.reports import NOW, read, values

GSPS, SC, KOS = "1.2.840.10008.5.1.4.1.1.11.1", "1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.88.59"


def written(outcome: Outcome, fallbacks: list[ObjectKind], **attributes: object):
    series = ct_series(slices=9, rows=32, columns=28, **attributes)
    volume = volume_of_series(series)
    finding, labels = finding_of(outcome, volume)
    arguments = {"headers": series, "volume": volume, "label_map": labels, "now": NOW}
    return [read(each) for each in write_report(finding, model=a_model(), fallbacks=fallbacks, **arguments)]


def key_objects(headers, volume, scores):
    finding, labels = with_balls(volume, scores)
    arguments = {"headers": headers, "volume": volume, "label_map": labels, "now": NOW}
    return finding, read(write_report(finding, model=a_model(), fallbacks=[ObjectKind.KOS], **arguments)[-1])


def test_nothing_is_added_that_was_not_asked_for():
    assert [each.Modality for each in written(Outcome.FOUND, [])] == ["SEG", "SR"]
    assert [each.Modality for each in written(Outcome.FOUND, [ObjectKind.KOS])] == ["SEG", "SR", "KO"]


def test_the_order_is_the_same_whatever_the_order_of_asking():
    for wanted in (list(FALLBACKS), list(reversed(FALLBACKS))):
        assert [each.Modality for each in written(Outcome.EQUIVOCAL, wanted)] == ["SEG", "SR", "PR", "OT", "KO"]


@pytest.mark.parametrize("outcome", [Outcome.NOTHING_FOUND, Outcome.FAILED, Outcome.NOT_ANALYSED])
def test_without_lesions_there_are_none(outcome):
    assert [each.Modality for each in written(outcome, list(FALLBACKS))] == ["SR"]


def test_each_kind_has_its_own_series_with_a_fixed_number_and_a_description():
    state, picture, *_, selection = written(Outcome.FOUND, list(FALLBACKS))[2:]

    told = [(each.SOPClassUID, each.SeriesNumber, each.SeriesDescription) for each in (state, picture, selection)]
    assert told == [
        (GSPS, 94000, "Vigie GSPS ct_lung_lesion 1.0.0"),
        (SC, 95000, "Vigie SC ct_lung_lesion 1.0.0"),
        (KOS, 96000, "Vigie KOS ct_lung_lesion 1.0.0"),
    ]
    assert len({each.SeriesInstanceUID for each in (state, picture, selection)}) == 3


def test_every_fallback_names_software_model_version_and_weights():
    for each in written(Outcome.FOUND, list(FALLBACKS))[2:]:
        assert (each.Manufacturer, each.ManufacturerModelName) == ("Vigie", "ct_lung_lesion")
        assert (each.SoftwareVersions, each.DeviceSerialNumber) == (__version__, "ab" * 32)
        assert "1.0.0" in each.SeriesDescription


def test_patient_and_study_are_those_of_the_source():
    name = "Odd^Name"
    study = {"StudyDescription": "Thorax", "PatientAge": "064Y", "ReferringPhysicianName": "House"}
    for each in written(Outcome.FOUND, list(FALLBACKS), PatientName=name, **study):
        assert each.PatientName == name
        assert each.SpecificCharacterSet == "ISO_IR 192"
        assert {keyword: each[keyword].value for keyword in study} == study


def test_no_name_is_ever_printed(recwarn, caplog):
    written(Outcome.FOUND, list(FALLBACKS), PatientName="ODDNAME", ReferringPhysicianName="ODDDOCTOR")

    told = caplog.text + "".join(str(warning.message) for warning in recwarn)
    assert "ODDNAME" not in told


@pytest.mark.parametrize(
    "attributes",
    [
        {"PatientID": None, "PatientName": None, "PatientBirthDate": None},
        {"FrameOfReferenceUID": None},
        {"SOPClassUID": "1.2.840.113619.4.27"},
        {"RescaleSlope": None, "RescaleIntercept": None, "RescaleType": None},
        {"SeriesNumber": None, "InstanceNumber": None},
        {"modality": "MR"},
    ],
)
def test_a_poor_header_gives_every_kind(attributes):
    assert {each.Modality for each in written(Outcome.FOUND, list(FALLBACKS), **attributes)} >= {"PR", "OT", "KO"}


def test_the_key_objects_are_the_key_slices_in_the_order_of_the_lesions():
    series = ct_series(slices=9, rows=32, columns=28)

    finding, selection = key_objects(series, volume_of_series(series), (0.61, 0.93))

    assert selection.ConceptNameCodeSequence[0].CodeValue == "113000"
    images = [item.ReferencedSOPSequence[0] for item in selection.ContentSequence if item.ValueType == "IMAGE"]
    expected = [series[lesion.key_slice].SOPInstanceUID for lesion in finding.lesions]
    assert [image.ReferencedSOPInstanceUID for image in images] == expected
    (study,) = selection.CurrentRequestedProcedureEvidenceSequence
    assert study.StudyInstanceUID == series[0].StudyInstanceUID
    evidence = study.ReferencedSeriesSequence[0]
    assert evidence.SeriesInstanceUID == series[0].SeriesInstanceUID
    assert [each.ReferencedSOPInstanceUID for each in evidence.ReferencedSOPSequence] == expected


def test_the_description_tells_lesions_scores_model_and_that_it_is_no_diagnosis():
    series = ct_series(slices=9, rows=32, columns=28)

    _, selection = key_objects(series, volume_of_series(series), (0.93,))

    (text,) = values(selection, "113012")
    assert "Lesion 1 (score 0.93) not calibrated on patients" in text
    assert "model ct_lung_lesion 1.0.0" in text
    assert "not for diagnosis" in text
    assert "Phantom" not in text


def test_key_objects_in_a_multi_frame_source_are_frames():
    enhanced, volume = multi_frame(ct_series(slices=9, rows=32, columns=28))

    finding, selection = key_objects([enhanced], volume, (0.93, 0.61))

    images = [item.ReferencedSOPSequence[0] for item in selection.ContentSequence if item.ValueType == "IMAGE"]
    assert {image.ReferencedSOPInstanceUID for image in images} == {enhanced.SOPInstanceUID}
    assert [image.ReferencedFrameNumber for image in images] == [9 - lesion.key_slice for lesion in finding.lesions]
    evidence = selection.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
    assert len(evidence.ReferencedSOPSequence) == 1
