import pytest
from pydicom import dcmread

from services.backends.senders import FolderSender
from services.triage.errors import DestinationRefused, DestinationUnavailable
from tests.support.ct import ct_series, write_series


@pytest.fixture
def files(tmp_path):
    series = ct_series(slices=2)
    paths = write_series(series, tmp_path / "kept")
    return [(ds.SOPClassUID, ds.SOPInstanceUID, path) for ds, path in zip(series, paths, strict=True)]


def test_the_frozen_bytes_lie_in_a_folder_per_study(files, tmp_path):
    FolderSender(tmp_path / "out").send(files)
    study = dcmread(files[0][2]).StudyInstanceUID
    for _, uid, path in files:
        assert (tmp_path / "out" / study / f"{uid}.dcm").read_bytes() == path.read_bytes()
    assert len([found for found in (tmp_path / "out").rglob("*") if found.is_file()]) == len(files)


def test_sending_again_changes_nothing(files, tmp_path):
    FolderSender(tmp_path / "out").send(files)
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.dcm")}
    FolderSender(tmp_path / "out").send(files)
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.dcm")} == before


def test_a_folder_that_cannot_be_written_is_tried_again_later(files, tmp_path):
    (tmp_path / "out").write_text("a file where the folder should be")
    with pytest.raises(DestinationUnavailable):
        FolderSender(tmp_path / "out").send(files)


def test_a_study_uid_never_leads_out_of_the_folder(tmp_path):
    series = ct_series(slices=1)
    paths = write_series(series, tmp_path / "kept")
    dataset = dcmread(paths[0])
    dataset["StudyInstanceUID"]._value = ".."
    dataset.save_as(paths[0])
    with pytest.raises(DestinationRefused):
        FolderSender(tmp_path / "out" / "deep").send([(dataset.SOPClassUID, dataset.SOPInstanceUID, paths[0])])
    assert not (tmp_path / "out").exists()
