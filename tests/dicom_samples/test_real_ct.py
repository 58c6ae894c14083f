"""The real CTs: what is fetched is what we know, and what is written is what was fetched."""

import tarfile
from pathlib import Path

import nrrd
import numpy as np
import pytest
from rich.console import Console

from dicom_samples import real_ct
from services.worker.load import load_volume

QUIET = Console(quiet=True)
HEADER = {"space": "left-posterior-superior", "space directions": np.diag([0.57, 0.6, 5.0]), "space origin": [-1, 2, 3]}


def package(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with a small package of the same layout, known by its SHA-256."""
    rng = np.random.default_rng(3)
    folder.mkdir()
    archive = folder / "pyradiomics-3.0.1.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for stem in ("lung1", "lung2"):
            for kind, low, high in (("image", -1024, 3072), ("label", 0, 2)):
                path = folder / f"{stem}_{kind}.nrrd"
                nrrd.write(str(path), rng.integers(low, high, (8, 10, 6)).astype(np.int16), HEADER)
                tar.add(path, f"pyradiomics-3.0.1/data/{path.name}")
    monkeypatch.setattr(real_ct, "ARCHIVE_SHA256", real_ct._sha256(archive))
    return folder


def test_voxels_mask_and_place_are_those_of_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    cache = package(tmp_path / "cache", monkeypatch)

    folders = real_ct.write_real_studies(tmp_path / "out", cache=cache, console=QUIET)

    for folder, stem in zip(folders, ("lung1", "lung2"), strict=True):
        volume = load_volume(list(folder.glob("*.dcm")))
        reference = real_ct.load_reference(folder / "reference.npz")
        image, _ = nrrd.read(str(cache / f"{stem}_image.nrrd"))
        label, _ = nrrd.read(str(cache / f"{stem}_label.nrrd"))
        np.testing.assert_array_equal(volume.voxels, image.T)
        np.testing.assert_array_equal(reference.mask, label.T > 0)
        np.testing.assert_allclose(volume.affine, reference.affine)
        # NRRD counts column, row, slice
        np.testing.assert_allclose(volume.to_lps_mm([3, 2, 1]), np.diag([0.57, 0.6, 5.0]) @ [1, 2, 3] + [-1, 2, 3])


def test_a_package_with_other_content_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def another(folder: Path) -> Path:
        path = folder / "pyradiomics-3.0.1.tar.gz"
        path.write_bytes(b"something else")
        return path

    monkeypatch.setattr(real_ct, "_download", another)

    with pytest.raises(real_ct.SampleUnavailable, match="SHA-256"):
        real_ct.fetch_archive(tmp_path)

    assert list(tmp_path.iterdir()) == []


def test_without_a_network_the_error_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.setattr(real_ct, "INDEX", "https://127.0.0.1:9/simple")

    assert real_ct.main(["--output", str(tmp_path / "out"), "--cache", str(tmp_path / "cache")]) == 1

    assert "offline" in capsys.readouterr().err


def test_a_mask_on_another_grid_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    cache = package(tmp_path / "cache", monkeypatch)
    read = real_ct.read_nrrd

    def shifted(archive: Path, member: str):
        voxels, affine = read(archive, member)
        return voxels, affine + (member.endswith("label") * np.eye(4))

    monkeypatch.setattr(real_ct, "read_nrrd", shifted)

    with pytest.raises(ValueError, match="different grids"):
        real_ct.write_real_studies(tmp_path / "out", cache=cache, console=QUIET)
