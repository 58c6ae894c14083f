"""How the gateway serves the viewer's files, and what it does without them. What the viewer shows: tests/system."""

import gzip
from pathlib import Path

import pytest

from services.gateway.edge import CONTENT_SECURITY_POLICY
from services.triage.finding import Flag
from tests.support.worklist import Ward, found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    viewer = tmp_path / "ohif"
    (viewer / "assets").mkdir(parents=True)
    (viewer / "index.html").write_text("<title>the viewer</title>")
    (viewer / "app.bundle.0123.js").write_text("everything")
    (viewer / "app.bundle.0123.js.gz").write_bytes(gzip.compress(b"everything"))
    (viewer / "a.wasm").write_bytes(b"\0asm")
    (tmp_path / "secret").write_text("not for browsers")
    return viewer


@pytest.fixture
def ward(tmp_path: Path) -> Ward:
    (tmp_path / "ward").mkdir()
    ward = Ward(tmp_path / "ward")
    ward.analysed(1, found(Flag.URGENT, (0.9, 12.0)))
    return ward


def test_any_path_of_the_viewer_is_its_page(ward: Ward, folder: Path):
    client = ward.client(viewer=folder)
    for path in ("", "viewer", "viewer?StudyInstanceUIDs=2.25.1", "segmentation/x"):
        answer = client.get(f"/ohif/{path}")
        assert answer.status_code == 200
        assert answer.text == "<title>the viewer</title>"
        assert answer.headers["cache-control"] == "no-cache"


def test_the_page_of_a_study_has_the_browser_ask_early_for_what_the_viewer_will(ward: Ward, folder: Path):
    client = ward.client(viewer=folder)
    asked = {"StudyInstanceUIDs": "1.2.3", "initialSeriesInstanceUID": "1.2.3.4", "seg": "1.2.3.5"}
    early = "</dicomweb/studies/1.2.3/series/{}/metadata>; rel=preload; as=fetch; crossorigin"
    answer = client.get("/ohif/viewer", params=asked)
    assert answer.headers["link"] == f"{early.format('1.2.3.4')}, {early.format('1.2.3.5')}"
    hostile = client.get("/ohif/viewer", params={**asked, "seg": "1>; rel=x, <//other.test/"})
    assert hostile.headers["link"] == early.format("1.2.3.4")
    assert "link" not in client.get("/ohif/viewer/training", params=asked).headers


def test_its_files_come_compressed_to_whom_takes_them_and_bundles_are_kept(ward: Ward, folder: Path):
    client = ward.client(viewer=folder)
    small = client.get("/ohif/app.bundle.0123.js", headers={"Accept-Encoding": "gzip"})
    plain = client.get("/ohif/app.bundle.0123.js", headers={"Accept-Encoding": "identity"})
    assert small.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert small.text == plain.text == "everything"
    assert "immutable" in plain.headers["cache-control"]
    assert plain.headers["vary"] == "Accept-Encoding"
    assert client.get("/ohif/a.wasm").headers["content-type"] == "application/wasm"


@pytest.mark.parametrize("path", ["../secret", "%2e%2e/secret", "..%2fsecret", "assets/../../secret", "/etc/passwd"])
def test_nothing_beside_its_folder_is_served(ward: Ward, folder: Path, path: str):
    answer = ward.client(viewer=folder).get(f"/ohif/{path}")
    assert "not for browsers" not in answer.text
    assert "root:" not in answer.text


def test_only_the_viewer_may_compile_and_nobody_may_load_from_elsewhere(ward: Ward, folder: Path):
    client = ward.client(viewer=folder)
    headers = client.get("/ohif/").headers
    of_viewer = headers["content-security-policy"]
    assert "'unsafe-eval'" in of_viewer
    assert "http" not in of_viewer
    # the work list alone shows it in itself
    assert "frame-ancestors 'self'" in of_viewer
    assert headers["x-frame-options"] == "SAMEORIGIN"
    assert "frame-ancestors 'none'" in client.get("/").headers["content-security-policy"]
    assert client.get("/").headers["x-frame-options"] == "DENY"
    assert client.get("/").headers["content-security-policy"] == CONTENT_SECURITY_POLICY


def test_what_it_is_told_names_no_other_host(ward: Ward, folder: Path):
    told = ward.client(viewer=folder).get("/ohif/app-config.js")
    assert told.headers["content-type"].startswith("text/javascript")
    assert "window.config" in told.text
    assert "//" not in "".join(
        line.split(" // ")[0] for line in told.text.splitlines() if not line.strip().startswith("//")
    )


def test_a_result_has_a_link_that_opens_series_and_segmentation(ward: Ward, folder: Path):
    client = ward.client(viewer=folder)
    page = client.get(f"/studies/{ward.uid(1)}").text
    assert "/ohif/viewer?StudyInstanceUIDs=" in page
    assert "at the most suspicious lesion" in page


def test_without_a_viewer_there_is_no_link_and_the_address_says_what_to_do(ward: Ward, tmp_path: Path):
    client = ward.client(viewer=tmp_path / "nothing")
    assert "/ohif/" not in client.get(f"/studies/{ward.uid(1)}").text
    answer = client.get("/ohif/viewer", headers={"Accept": "application/json"})
    assert answer.status_code == 404
    assert answer.json()["code"] == "no_viewer"
    assert "make viewer" in answer.json()["way_out"]
