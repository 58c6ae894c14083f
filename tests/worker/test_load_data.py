"""Real series, odd ones among them, and pydicom's own files."""

import hashlib
import tarfile
from pathlib import Path

import numpy as np
import pydicom.data
import pytest
from pydicom import dcmread

from services.triage.errors import NotAnalysed
from services.worker.load import load_volume
from services.worker.load.pixels import decoded_frames
from services.worker.load.planes import read_planes

PYDICOM_FILES = [p for p in (Path(pydicom.data.__file__).parent / "test_files").rglob("*") if p.is_file()]

# Series of dicom2nifti's tests: a volume of this shape, or this code.
ODD_SERIES = {
    "failing/gantrytilting/001": "gantry_tilt",
    "failing/notavolume/001": "several_volumes",
    "failing/slicecount/001": "too_few_slices",
    "failing/sliceincrement/001": "missing_slices",
    "failing/sliceincrement/002": "missing_slices",
    "failing/sliceorientation/001": "mixed_orientations",
    "ge/anatomical/001": (4, 256, 256),
    "ge/anatomical/001_single_slice": "too_few_slices",
    "ge/dti/001": "several_volumes",
    "ge/fmri/001": "several_volumes",
    "generic/anatomical/002_non_isotropic": (4, 28, 64),
    "generic/compressed_j2k/001": (4, 256, 256),
    "generic/compressed_jpeg/001": (4, 256, 256),
    "generic/compressed_jpegls/001": (4, 256, 256),
    "generic/compressed_rle/001": (4, 256, 256),
    "generic/rgb/001": "not_grayscale",
    "hitachi/anatomical/001": (4, 64, 64),
    "hyperfine/anatomical/001": (8, 138, 112),
    "philips/anatomical/001": (4, 240, 240),
    "philips_enhanced/anatomical/001": (8, 256, 256),
    "philips_enhanced/fmri/001": "several_volumes",
    "siemens/anatomical/001_implicit": (4, 256, 256),
    "siemens/fmri_classic/001": "several_volumes",
    "siemens_multiframe/anatomical/001": (8, 256, 256),
}


def outcome_of(paths) -> tuple[int, ...] | str:
    try:
        return load_volume(paths).voxels.shape
    except NotAnalysed as refusal:
        return refusal.reason.code


@pytest.fixture(scope="module")
def odd_series(test_data, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("odd")
    with tarfile.open(test_data / "odd_dicom" / "dicom2nifti_cases.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder / "dicom2nifti_cases"


@pytest.mark.data
@pytest.mark.parametrize(("name", "outcome"), ODD_SERIES.items(), ids=ODD_SERIES)
def test_an_odd_series_gives_its_volume_or_its_code(odd_series, name, outcome):
    assert outcome_of([path for path in (odd_series / name).iterdir() if path.suffix == ".dcm"]) == outcome


@pytest.mark.data
def test_lossless_twins_of_one_series_give_one_volume(odd_series):
    digests = {
        hashlib.sha256(load_volume(sorted((odd_series / name).glob("*.dcm"))).voxels.tobytes()).hexdigest()
        for name in ("generic/compressed_j2k/001", "generic/compressed_jpegls/001", "generic/compressed_rle/001")
    }
    assert len(digests) == 1


@pytest.mark.data
@pytest.mark.parametrize(("image", "total"), [("CT2", -197733355), ("MR4", 397325908)])
def test_every_lossless_syntax_decodes_to_the_known_sum(test_data, image, total):
    folder = test_data / "odd_dicom" / "wg04_syntaxes"
    sums = {}
    for path in sorted(folder.glob(f"{image}_*")):
        syntax = dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID
        if path.stem[-4:] not in ("JLSN", "J2KI"):  # the two that may lose
            sums[syntax.name] = sum(int(frame.astype(np.int64).sum()) for frame in decoded_frames(path, 1))
    assert len(sums) >= 4
    assert set(sums.values()) == {total}


@pytest.mark.data
@pytest.mark.parametrize(
    ("folder", "shape", "spacing_mm"),
    [
        ("ibsi_sts_petctmr/STS_002/CT", (48, 143, 161), (3.27, 0.9766, 0.9766)),
        ("ibsi_sts_petctmr/STS_002/MR_T1", (35, 90, 115), (3.27, 0.9766, 0.9766)),
        ("ibsi_sts_petctmr/STS_002/PET", (48, 27, 30), (3.27, 5.4688, 5.4688)),
        ("ibsi_sts_petctmr/STS_003/CT", (51, 158, 154), (3.27, 0.9766, 0.9766)),
        ("neg_ct_totalseg/dicom", (20, 512, 512), (2.0, 0.977, 0.977)),
    ],
)
def test_a_real_series_loads_with_its_shape_and_spacing(test_data, folder, shape, spacing_mm):
    volume = load_volume(sorted((test_data / folder).iterdir()))
    assert volume.voxels.shape == shape
    assert volume.spacing_mm == pytest.approx(spacing_mm, abs=1e-3)
    if volume.modality == "CT":
        assert -1100 <= volume.voxels.min() < -900


@pytest.mark.data
def test_the_affine_agrees_with_highdicoms(test_data):
    from highdicom import VolumeGeometry, get_volume_from_series

    paths = sorted((test_data / "ibsi_sts_petctmr/STS_002/MR_T1").glob("*.dcm"))
    theirs: VolumeGeometry = get_volume_from_series([dcmread(path) for path in paths])
    ours = load_volume(paths)
    corner = ours.affine @ (3, 5, 7, 1)
    index = np.linalg.inv(theirs.affine) @ corner
    assert np.allclose(index, np.rint(index), atol=1e-3)
    nearest = tuple(np.rint(index[:3]).astype(int))
    assert ours.voxels[3, 5, 7] == pytest.approx(theirs.array[nearest])


@pytest.mark.data
def test_every_odd_file_alone_gives_a_volume_or_a_code(test_data):
    files = [path for path in (test_data / "odd_dicom").rglob("*") if path.is_file() and path.suffix != ".xz"]
    outcomes = {path.name: outcome_of([path]) for path in files}
    assert outcomes["mf.dcm"] == (3, 38, 24)
    assert len(outcomes) >= 30


def test_every_file_of_pydicom_alone_gives_a_volume_or_a_code():
    outcomes = {path.name: outcome_of([path]) for path in PYDICOM_FILES}
    assert outcomes["CT_small.dcm"] == "too_few_slices"
    assert outcomes["rtplan.dcm"] == "no_pixels"
    assert outcomes["README.txt"] == "unreadable_header"
    assert len(outcomes) >= 80


def test_the_pixels_of_every_ct_and_mr_of_pydicom_decode_or_give_a_code():
    decoded = 0
    for path in PYDICOM_FILES:
        try:
            decoded += sum(1 for _ in decoded_frames(path, len(read_planes(path))))
        except NotAnalysed:
            continue
    assert decoded >= 10
