"""What the sample writers write is valid DICOM, and the voxels lie where they lay."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian, JPEGLSLossless

from dicom_samples.ct_writer import CtSeries, write_ct_series
from services.worker.load import load_volume

SAMPLES = Path(__file__).resolve().parents[2] / "dicom_samples"
COMMITTED = ("phantom_positive", "phantom_negative")
AFFINE = np.array([[0, 0, 0.9, -100], [0, 0.7, 0, -120.5], [5, 0, 0, -777.5], [0, 0, 0, 1.0]])


def series(voxels: np.ndarray, affine: np.ndarray = AFFINE, **changes: str) -> CtSeries:
    words = {
        "name": "test",
        "patient_name": "Test^Case",
        "patient_id": "T1",
        "study_date": "20200101",
        "study_time": "120000",
        "source": "Test",
        "source_version": "1",
        "series_description": "Chest",
    }
    return CtSeries(voxels=voxels, affine=affine, **(words | changes))


def voxels() -> np.ndarray:
    return np.random.default_rng(7).integers(-1024, 3072, (9, 24, 20)).astype(np.int16)


def errors_of(tool: str, *paths: Path) -> list[str]:
    done = subprocess.run([tool, *map(str, paths)], capture_output=True, text=True, check=False)
    return [line for line in (done.stdout + done.stderr).splitlines() if line.startswith(("Error", "Warning"))]


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, JPEGLSLossless])
def test_a_written_series_comes_back_with_the_same_voxels_in_the_same_place(tmp_path: Path, syntax: pydicom.uid.UID):
    paths = write_ct_series(series(voxels()), tmp_path, transfer_syntax_uid=syntax)

    volume = load_volume(paths[::-1])

    np.testing.assert_array_equal(volume.voxels, voxels())
    np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-6)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, JPEGLSLossless])
def test_every_written_instance_is_valid(tmp_path: Path, syntax: pydicom.uid.UID):
    paths = write_ct_series(series(voxels()), tmp_path, transfer_syntax_uid=syntax)

    assert [errors_of("dciodvfy", path) for path in paths] == [[] for _ in paths]
    assert errors_of("dcentvfy", *paths) == []


def test_the_same_series_is_the_same_objects_wherever_it_is_written(tmp_path: Path):
    first = write_ct_series(series(voxels()), tmp_path / "first")
    second = write_ct_series(series(voxels()), tmp_path / "second")
    other = write_ct_series(series(voxels(), name="other"), tmp_path / "other")

    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    uids = {pydicom.dcmread(path).SOPInstanceUID for path in (*first, *other)}
    assert len(uids) == len(first) + len(other)


def test_instances_are_numbered_from_the_head_and_the_slices_are_not(tmp_path: Path):
    paths = write_ct_series(series(voxels()), tmp_path)

    instances = [pydicom.dcmread(path) for path in paths]
    assert [instance.InstanceNumber for instance in instances] == list(range(9, 0, -1))
    assert [instance.ImagePositionPatient[2] for instance in instances] == [-777.5 + 5 * n for n in range(9)]


def test_voxels_that_do_not_fit_are_refused_and_nothing_is_written(tmp_path: Path):
    with pytest.raises(ValueError, match="do not fit into 12 bits"):
        write_ct_series(series(np.full((3, 4, 4), 3072, np.int16)), tmp_path / "series")

    assert not (tmp_path / "series").exists()


def test_slices_that_step_against_their_normal_are_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="normal"):
        write_ct_series(series(voxels(), AFFINE * [[1], [1], [-1], [1]]), tmp_path)


@pytest.mark.parametrize("folder", COMMITTED)
def test_a_committed_phantom_is_valid_and_loads(folder: str):
    paths = sorted((SAMPLES / folder).glob("*.dcm"))

    volume = load_volume(paths)

    assert len(paths) == len(volume.sources) > 30
    assert volume.spacing_mm == pytest.approx((5.0, 2.6, 2.6))
    assert [errors_of("dciodvfy", path) for path in paths] == [[] for _ in paths]
    assert errors_of("dcentvfy", *paths) == []


def test_the_positive_phantom_has_tissue_where_its_truth_says_a_lesion_is():
    volume = load_volume(sorted((SAMPLES / "phantom_positive").glob("*.dcm")))
    truth = json.loads((SAMPLES / "phantom_positive" / "truth.json").read_text())["lesions"]

    assert truth
    for lesion in truth:
        offset = volume.to_lps_mm(np.indices(volume.voxels.shape).reshape(3, -1).T) - lesion["centre_lps_mm"]
        near = (np.linalg.norm(offset, axis=1) < lesion["diameter_mm"] / 3).reshape(volume.voxels.shape)
        assert np.median(volume.voxels[near]) > -200


def test_the_negative_phantom_has_no_lesion_in_its_truth():
    assert json.loads((SAMPLES / "phantom_negative" / "truth.json").read_text())["lesions"] == []


def test_the_committed_phantoms_stay_under_three_megabytes():
    sizes = [path.stat().st_size for folder in COMMITTED for path in (SAMPLES / folder).iterdir()]

    assert sum(sizes) < 3_000_000
