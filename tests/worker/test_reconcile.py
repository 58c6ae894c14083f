"""A study comes again under corrected patient data: its result is written again, and no model looks."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread

from services.triage.finding import Outcome
from services.triage.inference import REFERENCE
from services.triage.job import JobKind
from services.triage.result import FALLBACKS, ObjectKind
from services.worker.report import reidentify, write_report
from services.worker.report.text import REISSUED, REPLACES
from tests.support.ct import ct_series
from tests.support.house import House, chest_with_ball
from tests.support.lesion_case import a_model, volume_of_series, with_balls
from tests.support.records import adt
from tests.support.reports import NOW
from tests.support.segmenter import BrightSegmenter
from tests.support.validators import dcentvfy, dciodvfy, dcmpschk, dsrdump

WRONG = {
    "PatientID": "WRONG-1",
    "PatientName": "Wrong^Person",
    "PatientBirthDate": "19500101",
    "PatientSex": "M",
    "AccessionNumber": "A-WRONG",
    "PatientComments": "of the wrong person",
}
RIGHT = {
    "PatientID": "4711",
    "IssuerOfPatientID": "NORTH",
    "PatientName": "Müller^Änne",
    "PatientBirthDate": "19610203",
    "PatientSex": "F",
    "AccessionNumber": "A-RIGHT",
    "SpecificCharacterSet": "ISO_IR 100",
}
PATIENT_LEVEL = ("PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber")


def corrected(series: list[Dataset], **attributes: str) -> list[Dataset]:
    for image in series:
        for keyword in WRONG.keys() - RIGHT.keys():
            image.pop(keyword, None)
        for keyword, value in (RIGHT | attributes).items():
            setattr(image, keyword, value)
    return series


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(data=tmp_path / "data", send_to=(str(tmp_path / "out"),))


def paths(house: House, uid: str) -> list[Path]:
    return [house.files.result_path(each.sha256) for each in house.result(uid).objects]


def strings(path: Path) -> str:
    return path.read_bytes().decode("utf-8", "ignore")


def references(data_set: Dataset) -> set[str]:
    found = set()
    data_set.walk(lambda _, element: found.add(element.value) if element.VR == "UI" else None)
    return found


def test_a_corrected_study_gets_its_result_again_under_the_right_patient(house: House):
    series = chest_with_ball(**WRONG)
    uid = house.take_in(series)
    house.work()
    before, old_paths = house.result(uid), paths(house, uid)
    segmenter = BrightSegmenter()

    assert house.take_in(corrected(series)) == uid
    house.work(segmenter)

    after, new_paths = house.result(uid), paths(house, uid)
    assert segmenter.calls == 0
    assert house.jobs(uid)[0].kind is JobKind.RECONCILE
    assert (after.outcome, after.flag, after.score, after.lesions) == (
        before.outcome,
        before.flag,
        before.score,
        before.lesions,
    )
    assert after.inference == before.inference == REFERENCE
    assert [one.destination for one in after.deliveries] == list(house.settings.send_to)
    old_seg, old_sr = map(dcmread, old_paths)
    seg, sr = map(dcmread, new_paths)
    assert not [path for path in new_paths if "rong" in strings(path)]
    for each in (seg, sr):
        assert {keyword: str(each.get(keyword)) for keyword in PATIENT_LEVEL} == {
            keyword: RIGHT[keyword] for keyword in PATIENT_LEVEL
        }
        assert not {old_seg.SOPInstanceUID, old_seg.SeriesInstanceUID, old_sr.SeriesInstanceUID} & (
            references(each) - references(sr.PredecessorDocumentsSequence[0])
        )
    assert seg.SOPInstanceUID in references(sr)
    named = sr.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert named.ReferencedSOPInstanceUID == old_sr.SOPInstanceUID
    assert [one.TrackingUID for one in seg.SegmentSequence] == [one.TrackingUID for one in old_seg.SegmentSequence]
    np.testing.assert_array_equal(seg.pixel_array, old_seg.pixel_array)
    assert strings(new_paths[1]).count(REISSUED[:40]) == 1
    assert [error for path in new_paths for error in dciodvfy(path)] == []
    assert dsrdump(new_paths[1]) == []


def test_a_third_identity_names_the_second_and_says_once_that_it_was_written_again(house: House):
    series = chest_with_ball(**WRONG)
    uid = house.take_in(series)
    house.work()
    house.take_in(corrected(series))
    house.work()
    second = dcmread(paths(house, uid)[1])
    house.take_in(corrected(series, AccessionNumber="A-3"))
    house.work()
    third = dcmread(paths(house, uid)[1])
    named = third.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert named.ReferencedSOPInstanceUID == second.SOPInstanceUID
    assert strings(paths(house, uid)[1]).count(REISSUED[:40]) == 1


def test_a_study_of_two_patients_is_analysed_once_its_sender_has_corrected_it(house: House):
    series = chest_with_ball(**WRONG)
    corrected(series[15:])
    uid = house.take_in(series)
    house.work()
    assert house.result(uid).outcome is Outcome.NOT_ANALYSED
    house.take_in(corrected(series))
    house.work()
    assert (house.result(uid).outcome, len(house.result(uid).objects)) == (Outcome.FOUND, 2)
    assert [one.patient_id for one in house.store.board.study(uid).patients] == ["4711"]


def test_an_image_corrected_in_the_middle_of_a_transfer_costs_nothing_but_time(house: House):
    series = chest_with_ball(**WRONG)
    uid = house.take_in(series)
    house.work()
    corrected(series[:10], PatientID="WRONG-1", IssuerOfPatientID="")
    house.take_in(series)
    assert house.work() is None
    corrected(series, PatientID="WRONG-1", IssuerOfPatientID="")
    house.take_in(series)
    segmenter = BrightSegmenter()
    house.work(segmenter)
    assert segmenter.calls == 0
    assert dcmread(paths(house, uid)[0]).PatientName == "Müller^Änne"


def test_a_result_that_said_nothing_found_is_written_again_too(house: House):
    series = ct_series(np.full((20, 24, 24), -1000), BodyPartExamined="CHEST", **WRONG)
    uid = house.take_in(series)
    house.work()
    assert house.result(uid).outcome is Outcome.NOTHING_FOUND
    house.take_in(corrected(series))
    house.work()
    (report,) = paths(house, uid)
    assert dcmread(report).PatientID == "4711"
    assert dciodvfy(report) == []


def test_a_new_analysis_says_what_it_replaces_and_its_report_is_valid(house: House):
    uid = house.take_in(chest_with_ball(**RIGHT))
    house.work()
    before, old_report = house.result(uid), dcmread(paths(house, uid)[1])
    assert house.store.ask_analysis(uid, actor="a person", now=datetime.now(UTC))
    house.dispatch()
    segmenter = BrightSegmenter()
    house.work(segmenter)
    seg, report = paths(house, uid)
    assert segmenter.calls == 1
    assert [one.tracking_uid for one in house.result(uid).lesions] == [one.tracking_uid for one in before.lesions]
    assert old_report.SOPInstanceUID in references(dcmread(report).PredecessorDocumentsSequence[0])
    assert REPLACES in strings(report)
    assert [error for path in (seg, report) for error in dciodvfy(path)] == []
    assert dcmread(seg).IssuerOfPatientID == dcmread(report).IssuerOfPatientID == "NORTH"


def test_every_kind_of_object_is_valid_and_points_to_its_new_kin(tmp_path: Path):
    series = ct_series(slices=14, rows=48, columns=40, **WRONG)
    volume = volume_of_series(series)
    finding, labels = with_balls(volume, (0.93, 0.61))
    frozen = write_report(
        finding,
        model=a_model(),
        headers=series,
        volume=volume,
        label_map=labels,
        now=NOW,
        segmentations=(ObjectKind.SEG, None),
        fallbacks=list(FALLBACKS),
    )
    old = [dcmread(path) for path in _written(frozen, tmp_path / "old")]
    old_uids = {uid for each in old for uid in (each.SOPInstanceUID, each.SeriesInstanceUID)}
    predecessors = [each.copy() for each in old if each.Modality == "SR"]
    corrected(series, PatientName="Roe^Jane")  # dcentvfy compares bytes, and ours are in UTF-8

    again = _written(reidentify(old, header=series[0], predecessors=predecessors, now=NOW), tmp_path / "new")

    source = tmp_path / "source.dcm"
    series[0].save_as(source, enforce_file_format=True)
    assert [error for path in again for error in dciodvfy(path)] == []
    assert dcentvfy([source, *again]) == []
    assert [error for path in again if "SR" in path.name or "KO" in path.name for error in dsrdump(path)] == []
    assert [error for path in again if "PR" in path.name for error in dcmpschk(path)] == []
    for path in again:
        each = dcmread(path)
        each.pop("PredecessorDocumentsSequence", None)
        assert not references(each) & old_uids
        assert each.PatientID == "4711"
        assert "PatientComments" not in each


def _written(objects, folder: Path) -> list[Path]:
    folder.mkdir()
    found = []
    for index, each in enumerate(objects):
        found.append(folder / f"{index}_{each.modality}.dcm")
        found[-1].write_bytes(each.content)
    return found


def test_what_a_patient_registry_says_is_written_whatever_the_files_say(house: House):
    series = chest_with_ball(**WRONG, SpecificCharacterSet="ISO_IR 100", ReferringPhysicianName="Größe^Jörg")
    uid = house.take_in(series)
    house.work()
    house.store.reconcile_patients(
        adt(
            merges=[("WRONG-1", "4711@NORTH")],
            patient_name="Yamada^Tarou=山田^太郎=やまだ^たろう",
            patient_birth_date="19610203",
            patient_sex="F",
        ),
        now=datetime.now(UTC),
    )
    house.dispatch()
    segmenter = BrightSegmenter()
    house.work(segmenter)
    assert segmenter.calls == 0
    assert house.jobs(uid)[0].kind is JobKind.RECONCILE
    for path in paths(house, uid):
        written = dcmread(path)
        assert (written.PatientID, written.IssuerOfPatientID) == ("4711", "NORTH")
        assert (written.PatientName, written.PatientBirthDate, written.PatientSex) == (
            "Yamada^Tarou=山田^太郎=やまだ^たろう",
            "19610203",
            "F",
        )
        assert (written.AccessionNumber, written.ReferringPhysicianName) == ("A-WRONG", "Größe^Jörg")
        assert dciodvfy(path) == []


def test_a_study_that_is_analysed_after_the_registry_spoke_is_written_under_its_data(house: House):
    house.store.reconcile_patients(adt("WRONG-1", patient_name="Müller^Änne"), now=datetime.now(UTC))
    uid = house.take_in(chest_with_ball(**WRONG))
    house.work()
    for path in paths(house, uid):
        written = dcmread(path)
        assert (written.PatientName, written.PatientID, written.PatientSex) == ("Müller^Änne", "WRONG-1", "M")
