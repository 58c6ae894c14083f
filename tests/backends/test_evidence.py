"""What viewers save, read as evidence: an SR as OHIF 3.13 writes it, and Segmentations of both forms."""

from pathlib import Path

import pytest
from pydicom import Dataset, dcmread

from services.backends.evidence import read_evidence
from services.triage.errors import VerdictRefused
from services.triage.finding import Outcome
from services.triage.result import ObjectKind
from tests.support.ct import ct_series, write_series
from tests.support.reports import Written, written

OHIF_LENGTH = Path(__file__).parents[1] / "support" / "ohif_length.dcm"


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Written:
    folder = tmp_path_factory.mktemp("evidence")
    sources = write_series(ct_series(slices=14, rows=48, columns=40), folder / "source")
    return written(Outcome.FOUND, sources, folder / "result", segmentations=(ObjectKind.SEG, ObjectKind.LABELMAP))


def changed(path: Path, to: Path, **values: object) -> Path:
    data_set: Dataset = dcmread(path)
    for keyword, value in values.items():
        setattr(data_set, keyword, value)
    data_set.save_as(to)
    return to


def test_the_length_in_a_report_of_ohif_is_read_with_its_slice() -> None:
    (mark,) = read_evidence(OHIF_LENGTH)
    assert (mark.number, mark.label, mark.long_axis_mm, mark.volume_ml) == (1, "Length", 26.9, None)
    assert mark.image_sop_instance_uid is not None
    assert mark.image_sop_instance_uid in OHIF_LENGTH.read_bytes().decode("latin-1")


@pytest.mark.parametrize("which", [0, 1], ids=["binary", "label map"])
def test_the_volume_of_each_segment_is_that_of_its_voxels(result: Written, tmp_path: Path, which: int) -> None:
    saved = changed(result.of("SEG")[which], tmp_path / "saved.dcm", Manufacturer="ACME")
    marks = read_evidence(saved)
    assert [one.volume_ml for one in marks] == pytest.approx(
        [one.volume_ml for one in result.finding.lesions], rel=1e-3
    )
    assert [one.number for one in marks] == [one.number for one in result.finding.lesions]
    assert all(one.long_axis_mm is None and one.image_sop_instance_uid for one in marks)


def test_what_is_no_evidence_is_refused_by_its_code(result: Written, tmp_path: Path) -> None:
    nothing = tmp_path / "nothing.dcm"
    nothing.write_bytes(b"no DICOM")
    refused = {
        nothing: "unreadable_object",
        result.of("SEG")[0]: "own_object",
        changed(OHIF_LENGTH, tmp_path / "empty.dcm", ContentSequence=[]): "empty_object",
        changed(OHIF_LENGTH, tmp_path / "odd.dcm", SOPClassUID="1.2.840.10008.5.1.4.1.1.2"): "unsupported_object",
        changed(
            result.of("SEG")[0], tmp_path / "short.dcm", Manufacturer="ACME", PixelData=b"\0\0"
        ): "unreadable_object",
        changed(
            result.of("SEG")[0], tmp_path / "fractional.dcm", Manufacturer="ACME", SegmentationType="FRACTIONAL"
        ): "unsupported_object",
    }
    for path, code in refused.items():
        with pytest.raises(VerdictRefused) as error:
            read_evidence(path)
        assert error.value.reason.code == code, path
