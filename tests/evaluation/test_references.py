"""One mask, told by SEG, RT structure set and NIfTI, is the same mask on the grid of its series."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import nibabel
import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from scipy.spatial.transform import Rotation

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


def of_another(content: bytes) -> bytes:
    """A Segmentation as if another manufacturer's software had written it."""
    told = dcmread(BytesIO(content))
    told.Manufacturer = "ACME"
    file = BytesIO()
    told.save_as(file)
    return file.getvalue()


def the_mask(folder: Path, volume, structures: str = "*") -> np.ndarray:
    (reference,), _ = found(folder)
    return read_reference(reference, volume, structures=structures)


def test_a_segmentation_is_found_by_the_series_that_it_references(case) -> None:
    folder, volume, finding, labels = case
    headers = [dcmread(path) for path in sorted((folder / "ct").iterdir())]
    headers.sort(key=lambda one: float(one.ImagePositionPatient[2]))
    seg, _ = write_report(finding, model=a_model(), headers=headers, volume=volume, label_map=labels, now=NOW)
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere" / "seg.dcm").write_bytes(of_another(seg.content))
    np.testing.assert_array_equal(the_mask(folder, volume), labels > 0)
    np.testing.assert_array_equal(the_mask(folder, volume, "Lesion 2*"), labels == 2)
    with pytest.raises(NotAnalysed, match="called 'GTV'"):
        the_mask(folder, volume, "GTV")


def test_what_vigie_found_itself_is_no_truth(case) -> None:
    folder, volume, finding, labels = case
    headers = [dcmread(path) for path in sorted((folder / "ct").iterdir())]
    headers.sort(key=lambda one: float(one.ImagePositionPatient[2]))
    seg, _ = write_report(finding, model=a_model(), headers=headers, volume=volume, label_map=labels, now=NOW)
    (folder / "ct" / "seg.dcm").write_bytes(seg.content)
    assert found(folder)[0] == []


@pytest.mark.parametrize("by", ["series UID", "name"])
def test_a_nifti_is_found_by_its_name_and_its_axes_are_turned(case, by: str) -> None:
    folder, volume, _, labels = case
    affine = np.diag([-1.0, -1, 1, 1]) @ volume.affine
    turned = nibabel.as_closest_canonical(nibabel.Nifti1Image((labels > 0).astype(np.uint8), affine))
    assert turned.shape != labels.shape
    name = "ct/reference.nii.gz" if by == "name" else f"{volume.series_instance_uid}.nii"
    nibabel.save(turned, folder / name)
    np.testing.assert_array_equal(the_mask(folder, volume), labels > 0)


SHIFTED, SHEARED, WIDER, TURNED = np.eye(4), np.eye(4), np.eye(4), np.eye(4)
SHIFTED[0, 3] = 0.3
SHEARED[0, 2] = 0.2
WIDER[0, 0] = 1.02
FINER, FLAT = np.diag([0.5, 0.5, 0.5, 1]), np.diag([1.0, 1, 0, 1])
TURNED[:3, :3] = Rotation.from_euler("z", 5, degrees=True).as_matrix()


@pytest.mark.parametrize(
    ("moved", "shape"),
    [(SHIFTED, ()), (SHEARED, ()), (WIDER, ()), (TURNED, ()), (FINER, ()), (FLAT, ()), (np.eye(4), (2,))],
    ids=["shifted", "sheared", "wider", "turned", "finer", "flat", "several volumes"],
)
def test_a_nifti_off_the_voxels_is_refused(case, moved: np.ndarray, shape: tuple[int, ...]) -> None:
    folder, volume, _, labels = case
    mask = np.broadcast_to((labels > 0)[(..., *(None for _ in shape))], (*labels.shape, *shape)).astype(np.uint8)
    image = nibabel.Nifti1Image(mask, None)
    image.set_sform(moved @ np.diag([-1.0, -1, 1, 1]) @ volume.affine, code=1)
    nibabel.save(image, folder / "ct" / "reference.nii.gz")
    with pytest.raises(NotAnalysed) as refusal:
        the_mask(folder, volume)
    assert refusal.value.reason.code == "reference_off_grid"


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("rounded", ["both", "the mask alone"])
def test_cosines_rounded_to_three_digits_do_no_harm(tmp_path: Path, seed: int, rounded: str) -> None:
    exact = Rotation.random(random_state=seed).as_matrix()
    axes = np.round(exact, 3)
    told = exact if rounded == "the mask alone" else axes
    headers = ct_series(slices=9, rows=32, columns=28, orientation=[*told[:, 0], *told[:, 1]])
    volume = load_volume(write_series(headers, tmp_path / "ct"))
    finding, labels = with_balls(volume, (0.93, 0.61))
    affine = volume.affine.copy()
    affine[:3, :3] = np.stack([axes[:, 2], axes[:, 1], axes[:, 0]], axis=1) * volume.spacing_mm
    turned = nibabel.Nifti1Image((labels > 0).astype(np.uint8), np.diag([-1.0, -1, 1, 1]) @ affine)
    nibabel.save(nibabel.as_closest_canonical(turned), tmp_path / "ct" / "reference.nii.gz")
    np.testing.assert_array_equal(the_mask(tmp_path, volume), labels > 0)

    (tmp_path / "ct" / "reference.nii.gz").unlink()
    seg, _ = write_report(finding, model=a_model(), headers=headers, volume=volume, label_map=labels, now=NOW)
    (tmp_path / "seg.dcm").write_bytes(of_another(seg.content))
    np.testing.assert_array_equal(the_mask(tmp_path, volume), labels > 0)


def cut_short(folder: Path, volume, labels: np.ndarray) -> None:
    path = folder / "ct" / "reference.nii.gz"
    affine = np.diag([-1.0, -1, 1, 1]) @ volume.affine
    nibabel.save(nibabel.Nifti1Image(np.random.default_rng(1).random(labels.shape), affine), path)
    path.write_bytes(path.read_bytes()[:4000])


def no_nifti(folder: Path, volume, labels: np.ndarray) -> None:
    (folder / "ct" / "reference.nii").write_bytes(b"no image" * 100)


def of_no_type(folder: Path, volume, labels: np.ndarray) -> None:
    path = folder / "ct" / "reference.nii"
    nibabel.save(nibabel.Nifti1Image((labels > 0).astype(np.uint8), volume.affine), path)
    told = bytearray(path.read_bytes())
    told[70:72] = (9999).to_bytes(2, "little")
    path.write_bytes(told)


def without_contours(folder: Path, volume, labels: np.ndarray) -> None:
    image = dcmread(next((folder / "ct").iterdir()))
    told = structure_set(volume, [square(3, 4.5, 12.5)], image, series_uid=volume.series_instance_uid)
    del told.ROIContourSequence[0].ContourSequence[0].ContourData
    told.save_as(folder / "rt.dcm", enforce_file_format=True)


@pytest.mark.parametrize("broken", [cut_short, no_nifti, of_no_type, without_contours])
def test_what_cannot_be_read_is_refused(case, broken: Callable[..., None]) -> None:
    folder, volume, _, labels = case
    broken(folder, volume, labels)
    with pytest.raises(NotAnalysed) as refusal:
        the_mask(folder, volume)
    assert refusal.value.reason.code == "reference_unreadable"


def test_a_structure_set_that_names_no_series_belongs_to_the_only_one_in_its_frame_of_reference(case) -> None:
    folder, volume, _, _ = case
    image = dcmread(next((folder / "ct").iterdir()))
    told = structure_set(volume, [square(3, 4.5, 12.5)], image, series_uid=volume.series_instance_uid)
    (frame,) = told.ReferencedFrameOfReferenceSequence
    del frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence[0].SeriesInstanceUID
    told.save_as(folder / "rt.dcm", enforce_file_format=True)
    assert the_mask(folder, volume)[3].any()


def test_that_there_is_no_lesion_is_said_by_an_empty_file(case) -> None:
    folder, volume, _, _ = case
    assert found(folder)[0] == []
    (folder / "ct" / NONE).touch()
    assert not the_mask(folder, volume).any()


def elsewhere(folder: Path, volume, labels: np.ndarray) -> None:
    affine = np.diag([-1.0, -1, 1, 1]) @ volume.affine
    affine[:3, 3] += affine[:3, 0] * 100
    nibabel.save(nibabel.Nifti1Image((labels > 0).astype(np.uint8), affine), folder / "ct" / "reference.nii")


def no_numbers(folder: Path, volume, labels: np.ndarray) -> None:
    affine = np.diag([-1.0, -1, 1, 1]) @ volume.affine
    told = nibabel.Nifti1Image(np.full(labels.shape, np.nan, dtype=np.float32), affine)
    nibabel.save(told, folder / "ct" / "reference.nii")


def not_drawn(folder: Path, volume, labels: np.ndarray) -> None:
    contoured(folder, volume, [])


def around_no_centre(folder: Path, volume, labels: np.ndarray) -> None:
    contoured(folder, volume, [square(3, 4.2, 4.8)])


def contoured(folder: Path, volume, contours: list[np.ndarray], kind: str = "CLOSED_PLANAR") -> None:
    image = dcmread(next((folder / "ct").iterdir()))
    told = structure_set(volume, contours, image, series_uid=volume.series_instance_uid)
    for one in told.ROIContourSequence[0].ContourSequence:
        one.ContourGeometricType = kind
    told.save_as(folder / "rt.dcm", enforce_file_format=True)


@pytest.mark.parametrize("empty", [no_numbers, not_drawn, around_no_centre])
def test_a_reference_that_marks_nothing_does_not_say_that_there_is_no_lesion(case, empty: Callable[..., None]) -> None:
    folder, volume, _, labels = case
    empty(folder, volume, labels)
    with pytest.raises(NotAnalysed, match="marks no voxel of the series") as refusal:
        the_mask(folder, volume)
    assert refusal.value.reason.code == "reference_empty"


def test_what_a_mask_marks_elsewhere_is_refused(case) -> None:
    folder, volume, _, labels = case
    elsewhere(folder, volume, labels)
    with pytest.raises(NotAnalysed, match="marks something outside of its series") as refusal:
        the_mask(folder, volume)
    assert refusal.value.reason.code == "reference_outside"


@pytest.mark.parametrize("kind", ["POINT", "OPEN_PLANAR", "OPEN_NONPLANAR"])
def test_a_contour_that_encloses_nothing_is_refused(case, kind: str) -> None:
    folder, volume, _, _ = case
    contoured(folder, volume, [square(3, 4.5, 12.5)], kind)
    with pytest.raises(NotAnalysed, match=f"is {kind}, not CLOSED_PLANAR") as refusal:
        the_mask(folder, volume)
    assert refusal.value.reason.code == "reference_contour"


@pytest.mark.parametrize("where", [(-1, 4, 9), (9, 4, 9), (3, 40, 50), (3, -9, -2)])
def test_a_contour_outside_of_the_series_is_refused(case, where: tuple[float, float, float]) -> None:
    folder, volume, _, _ = case
    contoured(folder, volume, [square(3, 4.5, 12.5), square(*where)])
    with pytest.raises(NotAnalysed, match="marks something outside of its series") as refusal:
        the_mask(folder, volume)
    assert refusal.value.reason.code == "reference_outside"


def test_a_region_that_is_declared_and_not_drawn_marks_nothing_beside_one_that_is(case) -> None:
    folder, volume, _, _ = case
    image = dcmread(next((folder / "ct").iterdir()))
    told = structure_set(volume, [square(3, 4.5, 12.5)], image, series_uid=volume.series_instance_uid)
    for with_contours in (False, True):
        region, outline = Dataset(), Dataset()
        region.ROINumber = outline.ReferencedROINumber = 8 + with_contours
        region.ROIName = "GTV 2"
        if with_contours:
            outline.ContourSequence = []
            told.ROIContourSequence.append(outline)
        told.StructureSetROISequence.append(region)
    told.save_as(folder / "rt.dcm", enforce_file_format=True)
    assert the_mask(folder, volume).sum() == 64


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
