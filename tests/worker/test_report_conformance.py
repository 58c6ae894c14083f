"""Every outcome, judged by validators that are not ours; and what a reader gets back is what was written."""

from pathlib import Path

import numpy as np
import pytest
from highdicom.seg import segread
from pydicom import Dataset, dcmread

from services.triage.finding import Outcome
from services.triage.result import FALLBACKS, ObjectKind
from services.triage.uncertainty import Spread
from services.triage.volume import Volume
from services.worker.load import load_volume
from services.worker.report import write_report
from tests.support.ct import ct_series, write_series
from tests.support.lesion_case import a_model, volume_of_series, with_balls
from tests.support.reports import NOW, Written, saved, written
from tests.support.validators import dcentvfy, dciodvfy, dcmpschk, dsrdump, pixelmed


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_series(ct_series(slices=14, rows=48, columns=40), tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module", params=list(Outcome))
def result(request: pytest.FixtureRequest, source: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Written:
    """One result of each outcome on one CT series."""
    outcome: Outcome = request.param
    return written(outcome, source, tmp_path_factory.mktemp("result") / outcome, segmentations=(ObjectKind.SEG, None))


@pytest.fixture(scope="module", params=[Outcome.FOUND, Outcome.NOTHING_FOUND])
def uncertain(request: pytest.FixtureRequest, source: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Written:
    """Results that tell how each score varies."""
    outcome: Outcome = request.param
    spread = Spread(runs=4, sd=0.04, lowest=0.05, highest=0.955)
    folder = tmp_path_factory.mktemp("uncertain") / outcome
    return written(outcome, source, folder, segmentations=(ObjectKind.SEG, None), spread=spread)


def test_a_report_that_tells_how_scores_vary_is_valid_and_understood(uncertain: Written, source: list[Path]):
    assert [error for path in uncertain.paths for error in dciodvfy(path)] == []
    assert dcentvfy([source[0], *uncertain.paths]) == []
    assert [error for path in uncertain.reports for error in dsrdump(path)] == []


@pytest.mark.slow
def test_a_report_that_tells_how_scores_vary_keeps_to_its_template(uncertain: Written):
    assert [error for path in uncertain.reports[:1] for error in pixelmed(path)] == []


def test_each_object_is_valid_by_its_iod(result: Written):
    assert [error for path in result.paths for error in dciodvfy(path)] == []


def test_patient_study_and_series_are_those_of_the_source(result: Written, source: list[Path]):
    assert dcentvfy([source[0], *result.paths]) == []


def test_a_second_reader_understands_the_report(result: Written):
    assert [error for path in [*result.reports, *result.of("KO")] for error in dsrdump(path)] == []


def test_a_second_reader_understands_the_presentation_state(result: Written):
    assert len(result.of("PR")) == (1 if result.finding.lesions else 0)
    assert [error for path in result.of("PR") for error in dcmpschk(path)] == []


@pytest.mark.slow
def test_the_report_keeps_to_its_template(result: Written):
    # the lines of an equivocal study are made as those of a study with findings: once is enough, it takes so long
    reports = result.reports if result.finding.outcome is Outcome.FOUND else result.reports[:1]
    assert [error for path in reports for error in pixelmed(path)] == []


def test_every_reference_leads_to_an_instance_of_the_study(result: Written, source: list[Path]):
    known = {dcmread(path).SOPInstanceUID: dcmread(path).SOPClassUID for path in [*source, *result.paths]}
    for path in result.paths:
        references = list(_references(dcmread(path)))
        assert references
        for reference in references:
            assert known[reference.ReferencedSOPInstanceUID] == reference.ReferencedSOPClassUID


def _references(data_set: Dataset):
    for element in data_set:
        if element.VR == "SQ":
            for item in element.value:
                yield from _references(item)
    if "ReferencedSOPInstanceUID" in data_set:
        yield data_set


def placed(seg_path: Path, volume: Volume) -> np.ndarray:
    """The label map of a Segmentation read back by highdicom, each frame put where its plane position says."""
    seg = segread(seg_path)
    labels = np.zeros(volume.voxels.shape, np.uint16)
    inverse = np.linalg.inv(volume.affine)
    for frame, plane in zip(seg.PerFrameFunctionalGroupsSequence, np.atleast_3d(seg.pixel_array), strict=True):
        position = [*map(float, frame.PlanePositionSequence[0].ImagePositionPatient), 1.0]
        index, row, column, _ = inverse @ position
        assert (row, column) == pytest.approx((0, 0), abs=0.01)
        assert index == pytest.approx(round(index), abs=0.15)
        segment = (
            frame if "SegmentIdentificationSequence" in frame else seg.SharedFunctionalGroupsSequence[0]
        ).SegmentIdentificationSequence[0]
        labels[round(index)][plane > 0] = segment.ReferencedSegmentNumber
    return labels


def _identified(path: Path, folder: Path) -> Path:
    """A copy with UIDs, for an anonymiser has taken those of one series; the file meta information kept some."""
    image = dcmread(path)
    image.StudyInstanceUID = image.StudyInstanceUID or "2.25.8"
    image.SeriesInstanceUID = image.SeriesInstanceUID or "2.25.9"
    image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID
    image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID
    image.save_as(folder / path.name)
    return folder / path.name


@pytest.mark.parametrize("body_part", [None, "LUNG", "BREAST", "SHOULDER"])
def test_overlays_of_any_body_part_are_valid(body_part: str | None, tmp_path: Path):
    series = ct_series(slices=9, rows=32, columns=28, BodyPartExamined=body_part)
    volume = volume_of_series(series)
    finding, labels = with_balls(volume, (0.93,))
    arguments = {"headers": series, "volume": volume, "label_map": labels, "now": NOW}

    objects = write_report(finding, model=a_model(), fallbacks=list(FALLBACKS), **arguments)

    assert [error for path in saved(objects, tmp_path / "result") for error in dciodvfy(path)] == []


@pytest.mark.data
@pytest.mark.parametrize(
    "folder", ["neg_ct_totalseg/dicom", "ibsi_sts_petctmr/STS_002/CT", "ibsi_sts_petctmr/STS_003/MR_T1"]
)
def test_real_series_come_back_voxel_for_voxel(folder: str, test_data: Path, tmp_path: Path):
    paths = [_identified(path, tmp_path) for path in (test_data / folder).rglob("*") if path.is_file()]
    volume = load_volume(paths)
    finding, labels = with_balls(volume, (0.93, 0.61), radius_mm=15)
    by_uid = {header.SOPInstanceUID: header for header in (dcmread(p, stop_before_pixels=True) for p in paths)}

    results = saved(
        write_report(
            finding,
            model=a_model(),
            headers=[by_uid[source.sop_instance_uid] for source in volume.sources],
            volume=volume,
            label_map=labels,
            now=NOW,
            fallbacks=list(FALLBACKS),
        ),
        tmp_path / "result",
    )

    faults_of_the_source = dciodvfy(paths[0])  # an identity is taken over as it is, even where it is too long
    assert len(finding.lesions) == 2
    assert [error for path in results for error in dciodvfy(path) if error not in faults_of_the_source] == []
    assert dsrdump(results[1]) == []
    np.testing.assert_array_equal(placed(results[0], volume), labels)
