"""STOW-RS over a real HTTP server (PS3.18 section 10.5): what is kept, and what the answer says of the rest."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from dicomweb_client import DICOMwebClient
from fastapi import FastAPI
from pydicom import Dataset

from services.backends.audit_spool import AuditSpool
from services.backends.files import FolderStudyFiles
from services.backends.headers import read_instance
from services.gateway.problems import install_problem_handlers
from services.gateway.stow import stow_router
from services.triage.errors import OutOfResources
from services.triage.ports import KeptFile
from tests.support.ct import ct_series, write_series
from tests.support.peers import free_port, listens, wait_until

HEADERS = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=abc'}
REFERENCED, FAILED, OTHER_FAILURES, REASON = "00081199", "00081198", "0008119A", "00081197"


class Files(FolderStudyFiles):
    """Real files on a disk that can be told to be full."""

    full = False

    def keep(self, content: bytes, **told: Any) -> KeptFile:
        if self.full:
            raise OutOfResources("no space left")
        return super().keep(content, **told)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path / "data")


@pytest.fixture
def url(files: Files, tmp_path: Path) -> Iterator[str]:
    app, port = FastAPI(), free_port()
    install_problem_handlers(app, lambda _method, _path, _status: None)
    app.include_router(
        stow_router(files, max_instance_bytes=100_000, max_parts=20, audit=AuditSpool(tmp_path), ae_title="VIGIE"),
        prefix="/dicomweb",
    )
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    wait_until(lambda: listens(port), what="the server listening")
    yield f"http://127.0.0.1:{port}/dicomweb"
    server.should_exit = True
    thread.join(10)


@pytest.fixture
def contents(tmp_path: Path) -> list[bytes]:
    return [path.read_bytes() for path in write_series(ct_series(slices=3), tmp_path / "ct")]


def body(*contents: bytes) -> bytes:
    parts = [b"--abc\r\nContent-Type: application/dicom\r\n\r\n" + content + b"\r\n" for content in contents]
    return b"".join(parts) + b"--abc--\r\n"


def post(url: str, content: bytes | Iterator[bytes], path: str = "/studies") -> httpx.Response:
    return httpx.post(url + path, content=content, headers=HEADERS, timeout=30)


def pending(files: Files) -> set[str]:
    return {file.digest for file in files.pending()}


def test_a_dicomweb_client_stores_a_study(url: str, files: Files) -> None:
    series: list[Dataset] = ct_series(slices=4)
    answer = DICOMwebClient(url).store_instances(series)
    assert [item.ReferencedSOPInstanceUID for item in answer.ReferencedSOPSequence] == [
        one.SOPInstanceUID for one in series
    ]
    assert "FailedSOPSequence" not in answer
    assert len(pending(files)) == 4


def test_the_bytes_kept_are_the_bytes_sent_whatever_the_chunks(url: str, files: Files, contents: list[bytes]) -> None:
    whole = body(*contents)
    answer = post(url, (whole[at : at + 777] for at in range(0, len(whole), 777)))
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/dicom+json")
    assert {files.path(digest).read_bytes() for digest in pending(files)} == set(contents)


def test_a_part_that_is_not_dicom_is_named_and_the_others_are_kept(
    url: str, files: Files, contents: list[bytes]
) -> None:
    answer = post(url, body(contents[0], b"not DICOM at all", contents[1]))
    assert answer.status_code == 202
    assert len(answer.json()[REFERENCED]["Value"]) == 2
    assert [item[REASON]["Value"] for item in answer.json()[OTHER_FAILURES]["Value"]] == [[0xC000]]
    assert len(pending(files)) == 2
    assert len(list((files._quarantine).glob("*.bin"))) == 1


def test_an_instance_of_another_study_than_the_path_says_fails_with_its_uid(
    url: str, files: Files, contents: list[bytes]
) -> None:
    header = read_instance(contents[0]).header
    assert post(url, body(contents[0]), f"/studies/{header.study_instance_uid}").status_code == 200
    answer = post(url, body(contents[1]), "/studies/1.2.3")
    assert answer.status_code == 409
    failed = answer.json()[FAILED]["Value"][0]
    assert failed[REASON]["Value"] == [0xA900]
    assert failed["00081155"]["Value"] == [read_instance(contents[1]).header.sop_instance_uid]
    assert len(pending(files)) == 1


def test_a_full_disk_is_503_and_each_instance_says_out_of_resources(
    url: str, files: Files, contents: list[bytes]
) -> None:
    files.full = True
    answer = post(url, body(*contents))
    assert (answer.status_code, "retry-after" in answer.headers) == (503, True)
    assert {item[REASON]["Value"][0] for item in answer.json()[FAILED]["Value"]} == {0xA700}
    files.full = False
    assert post(url, body(*contents)).status_code == 200


def test_an_instance_over_the_limit_is_413_and_keeps_nothing(url: str, files: Files) -> None:
    assert post(url, body(bytes(200_000))).status_code == 413
    assert not pending(files)


@pytest.mark.parametrize(
    "content_type",
    ["application/dicom", 'multipart/related; type="application/dicom+json"; boundary=abc', "multipart/form-data"],
)
def test_another_media_type_is_415(url: str, contents: list[bytes], content_type: str) -> None:
    answer = httpx.post(f"{url}/studies", content=body(contents[0]), headers={"Content-Type": content_type})
    assert answer.status_code == 415
    assert answer.json()["code"] == "unsupported_media_type"


@pytest.mark.parametrize("broken", [b"", b"--abc--\r\n", b"no boundary here", b"--abc\r\nX: y"])
def test_a_body_that_does_not_follow_its_boundary_is_400(url: str, broken: bytes) -> None:
    assert post(url, broken).status_code == 400


def test_an_instance_cut_short_by_the_end_of_the_body_is_not_kept(
    url: str, files: Files, contents: list[bytes]
) -> None:
    cut = body(contents[0], contents[1])[:-100]
    assert post(url, cut).status_code == 400
    assert pending(files) == {read_instance(contents[0]).digest}


def test_a_path_that_is_no_uid_is_400(url: str, contents: list[bytes]) -> None:
    assert post(url, body(contents[0]), "/studies/..%2F..%2Fetc").status_code in (400, 404)
    assert post(url, body(contents[0]), "/studies/abc").status_code == 400
