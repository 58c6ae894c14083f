"""One root for all of DICOMweb, its older name, the two roles apart, HEAD, and web pages of other origins."""

from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient
from pydantic import ValidationError

from services.gateway.app import create_app
from services.gateway.role import Role
from services.settings import Settings
from tests.support.ct import ct_series
from tests.support.shelf import Shelf, part10_bytes

HOST = "http://127.0.0.1:8000"
SERIES = ct_series(slices=2)
STUDY = f"/studies/{SERIES[0].StudyInstanceUID}"


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    shelf = Shelf(tmp_path_factory.mktemp("root"))
    shelf.keep(*map(part10_bytes, SERIES))
    return shelf


def serve(shelf: Shelf, role: Role = Role.ALL, **settings: object) -> TestClient:
    app = create_app(Settings(data=shelf.folder, **settings), store=shelf.store, files=shelf.files, role=role)
    return TestClient(app, base_url=HOST)


def stow(content: bytes) -> dict[str, object]:
    body = b"--b\r\nContent-Type: application/dicom\r\n\r\n" + content + b"\r\n--b--"
    return {
        "content": body,
        "headers": {"Content-Type": 'multipart/related; type="application/dicom"; boundary=b'},
    }


@pytest.mark.parametrize("root", ["/dicomweb", "/dicom-web"])
def test_one_root_stores_searches_and_retrieves_and_names_itself_in_its_addresses(shelf: Shelf, root: str) -> None:
    client = serve(shelf)
    assert client.post(f"{root}/studies", **stow(part10_bytes(SERIES[0]))).status_code == 200
    (study,) = client.get(f"{root}/studies").json()
    assert study["00081190"]["Value"] == [f"{HOST}{root}{STUDY}"]
    metadata = client.get(f"{root}{STUDY}/metadata").json()
    assert metadata[0]["7FE00010"]["BulkDataURI"].startswith(f"{HOST}{root}{STUDY}/series/")
    assert client.get(metadata[0]["7FE00010"]["BulkDataURI"]).status_code == 200


def test_behind_a_proxy_addresses_are_the_proxys_whether_or_not_its_word_is_believed(shelf: Shelf) -> None:
    asked = {"Host": "vigie.example", "X-Forwarded-For": "192.0.2.5", "X-Forwarded-Proto": "https"}
    (study,) = serve(shelf, https=True, http="0.0.0.0:8000").get("/dicomweb/studies", headers=asked).json()
    assert study["00081190"]["Value"] == [f"https://vigie.example/dicomweb{STUDY}"]


def test_the_older_root_is_not_advertised(shelf: Shelf) -> None:
    paths = serve(shelf).get("/openapi.json").json()["paths"]
    assert {"get", "post"} <= set(paths["/dicomweb/studies"]) & set(paths["/dicomweb/studies/{study}"])
    assert not [path for path in paths if path.startswith("/dicom-web")]


def test_a_door_alone_says_that_desks_answer(shelf: Shelf) -> None:
    door = serve(shelf, Role.DOOR)
    assert door.post("/dicomweb/studies", **stow(part10_bytes(SERIES[0]))).status_code == 200
    listed = door.get("/dicomweb/studies", headers={"Accept": "text/html"})
    assert (listed.status_code, listed.headers["allow"], listed.json()["code"]) == (405, "POST", "served_by_the_desk")
    for path in (f"{STUDY}/metadata", "/workitems"):
        answer = door.get(f"/dicomweb{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "served_by_the_desk")
        assert "--role desk" in answer.json()["way_out"]


def test_a_desk_alone_says_that_doors_take_instances(shelf: Shelf) -> None:
    answer = serve(shelf, Role.DESK).post("/dicomweb/studies", **stow(part10_bytes(SERIES[0])))
    assert (answer.status_code, answer.json()["code"]) == (405, "served_by_the_door")
    assert "GET" in answer.headers["allow"]
    assert "--role door" in answer.json()["way_out"]


def test_what_is_asked_to_be_deleted_stays_and_a_wrong_path_is_told(shelf: Shelf) -> None:
    client = serve(shelf)
    deleted = client.delete(f"/dicomweb{STUDY}")
    assert (deleted.status_code, deleted.json()["code"]) == (405, "nothing_is_deleted")
    assert client.get(f"/dicomweb{STUDY}/metadata").status_code == 200
    wrong = client.get("/dicomweb/nothing")
    assert (wrong.status_code, wrong.json()["code"]) == (404, "no_such_service")


def test_head_tells_what_get_would_and_sends_no_body(shelf: Shelf) -> None:
    with shelf.served() as desk:
        for path in ("/studies", STUDY, f"{STUDY}/metadata", f"{STUDY}/series/{SERIES[0].SeriesInstanceUID}/rendered"):
            got, head = httpx.get(desk.dicomweb + path), httpx.head(desk.dicomweb + path)
            assert (head.status_code, head.content) == (200, b"")
            kept = {name: value for name, value in got.headers.items() if name not in ("date", "transfer-encoding")}
            told = {name: value for name, value in head.headers.items() if name not in ("date", "transfer-encoding")}
            told["content-type"] = told["content-type"].partition("boundary=")[0]
            kept["content-type"] = kept["content-type"].partition("boundary=")[0]
            assert told == kept
        assert httpx.head(f"{desk.dicomweb}/studies/1.2.3/metadata").status_code == 404


def test_no_other_origin_may_use_dicomweb_unless_it_is_named(shelf: Shelf) -> None:
    viewer = {"Origin": "https://viewer.example"}
    preflight = viewer | {"Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "content-type"}
    assert "access-control-allow-origin" not in serve(shelf).get("/dicomweb/studies", headers=viewer).headers
    client = serve(shelf, dicomweb_origins="https://viewer.example")
    answer = client.get("/dicomweb/studies", headers=viewer)
    assert answer.headers["access-control-allow-origin"] == "https://viewer.example"
    assert "Warning" in answer.headers["access-control-expose-headers"]
    assert client.options("/dicomweb/studies", headers=preflight).status_code == 200
    for other, path in (({"Origin": "https://evil.example"}, "/dicomweb/studies"), (viewer, "/api/studies")):
        assert "access-control-allow-origin" not in client.get(path, headers=other).headers


@pytest.mark.parametrize("origin", ["*", "viewer.example", "https://viewer.example/ohif", "https://a b"])
def test_what_is_no_origin_is_refused_with_the_form_that_it_has(origin: str, tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="write https://HOST"):
        Settings(data=tmp_path, dicomweb_origins=origin)
