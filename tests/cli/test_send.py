"""`vigie send` against a real storescp."""

import shutil

import pytest
import typer
from pydicom.data import get_testdata_files
from typer.testing import CliRunner

from services.backends.part10 import digest
from services.cli.send import send
from tests.support.ct import ct_series, write_series
from tests.support.peers import free_port, received, storescp

app = typer.Typer()
app.command()(send)


@pytest.fixture
def study(tmp_path):
    write_series(ct_series(slices=4), tmp_path / "study" / "series1")
    write_series(ct_series(slices=2, modality="MR"), tmp_path / "study" / "series2")
    return tmp_path / "study"


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_folders_are_sent_with_all_that_is_in_them(study, tmp_path):
    with storescp(tmp_path / "pacs", free_port()) as address:
        outcome = run(study, address)
    assert outcome.exit_code == 0, outcome.output
    assert "6 of 6 files sent" in outcome.output
    assert {digest(path.read_bytes()) for path in received(tmp_path / "pacs")} == {
        digest(path.read_bytes()) for path in study.rglob("*.dcm")
    }


def pydicom_file(name):
    (path,) = [path for path in get_testdata_files(f"*{name}") if path.endswith(f"/{name}")]
    return path


def test_compressed_files_are_sent_as_they_are(tmp_path):
    names = ("JPEG2000.dcm", "MR_small_RLE.dcm", "JPEG-lossy.dcm", "ExplVR_BigEnd.dcm")
    paths = [pydicom_file(name) for name in names]
    with storescp(tmp_path / "pacs", free_port(), "+xa") as address:
        outcome = run(*paths, address)
    assert outcome.exit_code == 0, outcome.output
    assert len(received(tmp_path / "pacs")) == len(names)


def not_instances(folder):
    """What lies beside the images on a CD: a text, a thumbnail and a DICOMDIR."""
    (folder / "notes.txt").write_text("not an image")
    (folder / "thumbs.db").write_bytes(b"\x00" * 200)
    shutil.copy(pydicom_file("dicomdirtests/DICOMDIR"), folder / "DICOMDIR")
    return [folder / name for name in ("notes.txt", "thumbs.db", "DICOMDIR")]


def test_what_is_no_instance_in_a_folder_is_skipped_and_named(study, tmp_path):
    others = not_instances(study)
    with storescp(tmp_path / "pacs", free_port()) as address:
        outcome = run(study, address)
    assert outcome.exit_code == 0, outcome.output
    assert [f"skipped {path}" in outcome.output for path in others] == [True] * 3
    assert "6 of 6 files sent" in outcome.output
    assert len(received(tmp_path / "pacs")) == 6


def test_what_is_no_instance_is_a_failure_when_it_is_named_itself(study, tmp_path):
    for number, other in enumerate(not_instances(tmp_path)):
        with storescp(tmp_path / f"pacs{number}", free_port()) as address:
            outcome = run(study, other, address)
        assert outcome.exit_code == 1
        assert f"failed {other}" in outcome.output
        assert "6 of 7 files sent" in outcome.output


def test_a_dicom_file_with_broken_meta_information_is_a_failure_even_in_a_folder(study, tmp_path):
    whole = (study / "series1" / "0000.dcm").read_bytes()
    (study / "cut.dcm").write_bytes(whole[:141])
    with storescp(tmp_path / "pacs", free_port()) as address:
        outcome = run(study, address)
    assert outcome.exit_code == 1
    assert f"failed {study / 'cut.dcm'}: cannot be read: its file meta information is broken" in outcome.output
    assert "6 of 7 files sent" in outcome.output


def test_a_folder_without_any_instance_is_a_failure(tmp_path):
    not_instances(tmp_path)
    outcome = run(tmp_path, "PACS@127.0.0.1:104")
    assert outcome.exit_code == 1
    assert "0 of 0 files sent" in outcome.output


def test_a_file_that_makes_the_peer_abort_does_not_keep_the_rest_from_being_sent(study, tmp_path):
    """Its deflated data set has an odd length, which storescp does not forgive."""
    with storescp(tmp_path / "pacs", free_port(), "+xa") as address:
        outcome = run(pydicom_file("image_dfl.dcm"), study, address)
    assert outcome.exit_code == 1
    assert "6 of 7 files sent" in outcome.output
    assert "image_dfl.dcm" in outcome.output


def test_a_peer_that_is_down_fails_every_file_with_exit_code_1(study):
    outcome = run(study, f"PACS@127.0.0.1:{free_port()}")
    assert outcome.exit_code == 1
    assert "0 of 6 files sent" in outcome.output


@pytest.mark.parametrize(
    "arguments", [("PACS@127.0.0.1:104",), ("/no/such/folder", "PACS@127.0.0.1:104"), ("/tmp", "PACS")]
)
def test_wrong_usage_is_exit_code_2(arguments):
    assert run(*arguments).exit_code == 2
