"""One mask, told by SEG, RT structure set and NIfTI, is the same mask on the grid of its series."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from services.evaluation.references import NONE, Reference, read_reference, references
from services.triage.errors import NotAnalysed
from services.triage.study import by_series
from services.worker.load import load_volume
from services.worker.offline import Scan, scan
from services.worker.report import write_report
from tests.support.ct import ct_series, write_series
from tests.support.lesion_case import a_model, with_balls
from tests.support.reports import NOW

RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"


@pytest.fixture
def case(tmp_path: Path):
    """A series in its folder, its volume, and the truth: two balls."""
    paths = write_series(ct_series(slices=9, rows=32, columns=28), tmp_path / "ct")
    volume = load_volume(paths)
    finding, labels = with_balls(volume, (0.93, 0.61))
    return tmp_path, volume, finding, labels


def found(folder: Path) -> tuple[list[Reference], Scan]:
    told = scan([folder], lambda count: None)
    (instances,) = told.studies.values()
    niftis = [path for path, _ in told.rejected]
    return list(references(by_series(tuple(instances.values())), told.path_of, niftis, modality="CT")), told


def the_mask(folder: Path, volume, structures: str = "*") -> np.ndarray:
    (reference,), _ = found(folder)
    return read_reference(reference, volume, structures=structures)


def test_a_segmentation_is_found_by_the_series_that_it_references(case) -> None:
    folder, volume, finding, labels = case
    headers = [dcmread(path) for path in sorted((folder / "ct").iterdir())]
    headers.sort(key=lambda one: float(one.ImagePositionPatient[2]))
    seg, _ = write_report(finding, model=a_model(), headers=headers, volume=volume, label_map=labels, now=NOW)
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere" / "seg.dcm").write_bytes(seg.content)
    np.testing.assert_array_equal(the_mask(folder, volume), labels > 0)
    np.testing.assert_array_equal(the_mask(folder, volume, "Lesion 2*"), labels == 2)
    with pytest.raises(NotAnalysed, match="called 'GTV'"):
        the_mask(folder, volume, "GTV")


@pytest.mark.parametrize("by", ["series UID", "name"])
def test_a_nifti_is_found_by_its_name_and_its_axes_are_turned(case, by: str) -> None:
    folder, volume, _, labels = case
    affine = np.diag([-1.0, -1, 1, 1]) @ volume.affine
    turned = nibabel.as_closest_canonical(nibabel.Nifti1Image((labels > 0).astype(np.uint8), affine))
    assert turned.shape != labels.shape
    name = "ct/reference.nii.gz" if by == "name" else f"{volume.series_instance_uid}.nii"
    nibabel.save(turned, folder / name)
    np.testing.assert_array_equal(the_mask(folder, volume), labels > 0)


def test_a_nifti_off_the_voxels_is_refused(case) -> None:
    folder, volume, _, labels = case
    affine = np.diag([-1.0, -1, 1, 1]) @ volume.affine
    affine[0, 3] += 0.3
    nibabel.save(nibabel.Nifti1Image((labels > 0).astype(np.uint8), affine), folder / "ct" / "reference.nii.gz")
    with pytest.raises(NotAnalysed) as refusal:
        the_mask(folder, volume)
    assert refusal.value.reason.code == "reference_off_grid"


def test_that_there_is_no_lesion_is_said_by_an_empty_file(case) -> None:
    folder, volume, _, _ = case
    assert found(folder)[0] == []
    (folder / "ct" / NONE).touch()
    assert not the_mask(folder, volume).any()


def structure_set(volume, contours: list[np.ndarray], image: Dataset, *, series_uid: str) -> Dataset:
    """contours: [n, 3] as (slice, row, column)."""
    told = Dataset()
    told.SOPClassUID, told.SOPInstanceUID, told.Modality = RTSTRUCT, generate_uid(), "RTSTRUCT"
    told.StudyInstanceUID, told.SeriesInstanceUID = image.StudyInstanceUID, generate_uid()
    frame, study, series = Dataset(), Dataset(), Dataset()
    series.SeriesInstanceUID = series_uid
    study.RTReferencedSeriesSequence = [series]
    frame.FrameOfReferenceUID = image.FrameOfReferenceUID
    frame.RTReferencedStudySequence = [study]
    told.ReferencedFrameOfReferenceSequence = [frame]
    region, outline = Dataset(), Dataset()
    region.ROINumber, region.ROIName = 7, "GTV"
    outline.ReferencedROINumber = 7
    outline.ContourSequence = []
    for points in contours:
        one = Dataset()
        one.ContourGeometricType = "CLOSED_PLANAR"
        one.ContourData = [f"{value:.4f}" for value in volume.to_lps_mm(points).ravel()]
        one.NumberOfContourPoints = len(points)
        outline.ContourSequence.append(one)
    told.StructureSetROISequence, told.ROIContourSequence = [region], [outline]
    told.ensure_file_meta()
    told.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    told.file_meta.MediaStorageSOPClassUID = RTSTRUCT
    told.file_meta.MediaStorageSOPInstanceUID = told.SOPInstanceUID
    return told


def square(at: float, low: float, high: float) -> np.ndarray:
    return np.array([[at, low, low], [at, low, high], [at, high, high], [at, high, low]])


@pytest.mark.parametrize("named", [True, False])
def test_contours_hold_the_voxels_whose_centres_they_enclose_but_for_holes(case, named: bool) -> None:
    """Unnamed: its series is not here, and the only one in the same frame of reference is meant."""
    folder, volume, _, _ = case
    image = dcmread(next((folder / "ct").iterdir()))
    uid = volume.series_instance_uid if named else generate_uid()
    contours = [square(3, 4.5, 12.5), square(3, 6.5, 8.5), square(5, -3.0, 2.4)]
    structure_set(volume, contours, image, series_uid=uid).save_as(folder / "rt.dcm", enforce_file_format=True)
    expected = np.zeros(volume.voxels.shape, dtype=bool)
    expected[3, 5:13, 5:13] = True
    expected[3, 7:9, 7:9] = False
    expected[5, 0:3, 0:3] = True
    np.testing.assert_array_equal(the_mask(folder, volume, "GTV*"), expected)


def test_a_contour_between_two_slices_is_refused(case) -> None:
    folder, volume, _, _ = case
    image = dcmread(next((folder / "ct").iterdir()))
    told = structure_set(volume, [square(3.4, 4, 9)], image, series_uid=volume.series_instance_uid)
    told.save_as(folder / "rt.dcm", enforce_file_format=True)
    with pytest.raises(NotAnalysed, match="does not lie in a slice"):
        the_mask(folder, volume)


@pytest.mark.data
@pytest.mark.parametrize(("patient", "volume_ml"), [("STS_002", 53.3), ("STS_003", 80.1)])
def test_real_structure_sets_give_the_published_volumes(test_data: Path, patient: str, volume_ml: float) -> None:
    folder = test_data / "ibsi_sts_petctmr" / patient
    (reference,), told = found(folder)
    volume = load_volume([told.path_of[one.digest] for one in reference.series.instances])
    mask = read_reference(reference, volume, structures="GTV_Mass_CT")
    assert mask.sum() * volume.voxel_volume_mm3 / 1000 == pytest.approx(volume_ml, abs=0.05)
