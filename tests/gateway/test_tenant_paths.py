"""DICOMweb and the work list where several hospitals are kept apart."""

from functools import partial
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from httpx import Response

from services.backends.store import SqlStudyStore, connect, never_the_same
from services.gateway.app import create_app
from services.settings import Settings
from services.triage.tenant import Tenant
from tests.support.ct import ct_series
from tests.support.people import machine, person, shows_key, write_people
from tests.support.records import NOON
from tests.support.shelf import Shelf, part10_bytes
from tests.support.two_hospitals import write_files

OF_A, OF_B = ct_series(slices=2, PatientID="SAME", seed=1), ct_series(slices=2, PatientID="SAME", seed=2)
UID_A, UID_B = (str(series[0].StudyInstanceUID) for series in (OF_A, OF_B))
HEADERS = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=x'}
STUDY_UID = "0020000D"
NOT_AUTHORIZED = 0x0124


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "data")


@pytest.fixture
def client(shelf: Shelf, tmp_path: Path) -> TestClient:
    settings = Settings(data=shelf.folder, **write_files(tmp_path, "PACS@h:104", "PACS_B@h:104"))
    for name, series in (("a", OF_A), ("b", OF_B)):
        shelf.keep(*map(part10_bytes, series))
        uid = str(series[0].StudyInstanceUID)
        shelf.store.move(uid, Tenant(name=name, issuer_of_patient_id=f"HOSPITAL-{name}"), actor="test", now=NOON)
        shelf.files.assign(uid, name)
    app = create_app(settings, store=shelf.store, files=shelf.files)
    return TestClient(app, base_url="http://127.0.0.1:8000", raise_server_exceptions=False)


def body(*contents: bytes) -> bytes:
    parts = [b"--x\r\nContent-Type: application/dicom\r\n\r\n" + content + b"\r\n" for content in contents]
    return b"".join(parts) + b"--x--\r\n"


def failures(answer: Response) -> list[int]:
    """The Failure Reasons of a Store Instances Response."""
    return [one["00081197"]["Value"][0] for one in answer.json()["00081198"]["Value"]]


def found(client: TestClient, path: str) -> list[str]:
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    return [one[STUDY_UID]["Value"][0] for one in answer.json()]


@pytest.mark.parametrize("query", ["/t/a/dicom-web/studies", "/dicom-web/studies?tenant=a"])
def test_a_search_below_a_tenant_finds_its_studies_alone(client: TestClient, query: str) -> None:
    assert found(client, query) == [UID_A]
    assert set(found(client, "/dicom-web/studies?PatientID=SAME")) == {UID_A, UID_B}
    assert found(client, "/dicom-web/studies?PatientID=SAME&IssuerOfPatientID=HOSPITAL-b") == [UID_B]


def test_addresses_in_the_answers_stay_below_the_tenant(client: TestClient) -> None:
    (study,) = client.get("/t/a/dicom-web/studies").json()
    url = study["00081190"]["Value"][0]
    assert url == f"http://127.0.0.1:8000/t/a/dicom-web/studies/{UID_A}"
    assert client.get(url).status_code == 200
    (first, _) = client.get(f"{url}/metadata").json()
    assert first["7FE00010"]["BulkDataURI"].startswith(url)
    assert client.get(first["7FE00010"]["BulkDataURI"]).status_code == 200


@pytest.mark.parametrize(
    "rest", ["", "/metadata", f"/series/{OF_B[0].SeriesInstanceUID}"], ids=["study", "metadata", "series"]
)
def test_the_study_of_another_tenant_is_not_there(client: TestClient, rest: str) -> None:
    assert client.get(f"/t/a/dicom-web/studies/{UID_B}{rest}").status_code == 404
    assert client.get(f"/t/b/dicom-web/studies/{UID_B}{rest}").status_code == 200
    assert client.get(f"/dicom-web/studies/{UID_B}{rest}?tenant=a").status_code == 404


def test_a_tenant_that_is_not_in_the_file_is_404(client: TestClient) -> None:
    for answer in (client.get("/t/c/dicom-web/studies"), client.post("/t/c/dicomweb/studies", headers=HEADERS)):
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_tenant")


def test_stow_rs_is_taken_below_a_tenant_that_may_send_and_nowhere_else(client: TestClient, shelf: Shelf) -> None:
    content = body(part10_bytes(ct_series(slices=1, seed=3)[0]))
    refused = client.post("/t/a/dicomweb/studies", content=content, headers=HEADERS)
    assert (refused.status_code, refused.json()["code"]) == (403, "no_stow")
    for path in ("/dicomweb/studies", "/dicomweb/studies/1.2.3"):
        refused = client.post(path, content=content, headers=HEADERS)
        assert (refused.status_code, failures(refused)) == (409, [NOT_AUTHORIZED])
    assert not list(shelf.files.pending())
    assert client.post("/t/b/dicomweb/studies", content=content, headers=HEADERS).status_code == 200
    assert [file.tenant for file in shelf.files.pending()] == ["b"]


@pytest.mark.parametrize("below", ["", f"/{UID_A}"], ids=["studies", "study"])
def test_what_is_drawn_in_the_viewer_is_kept_as_the_studys_tenants(
    client: TestClient, shelf: Shelf, tmp_path: Path, below: str
) -> None:
    entries = (person("ra", "reader", tenants=("a",)), person("rb", "reader", tenants=("b",)), machine("all", "store"))
    settings = Settings(
        data=shelf.folder,
        people=write_people(tmp_path, *entries),
        **write_files(tmp_path, "PACS@h:104", "PACS_B@h:104"),
    )
    app = create_app(settings, store=shelf.store, files=shelf.files)
    theirs = TestClient(app, base_url="http://127.0.0.1:8000", raise_server_exceptions=False)
    drawn = ct_series(slices=1, seed=4)[0]
    drawn.StudyInstanceUID = UID_A
    content = body(part10_bytes(drawn))
    post = partial(theirs.post, f"/dicomweb/studies{below}", content=content)
    unseen = post(headers=HEADERS | shows_key("rb"))
    assert (unseen.status_code, failures(unseen)) == (409, [NOT_AUTHORIZED])
    refused = post(headers=HEADERS | shows_key("all"))
    assert (refused.status_code, refused.json()["code"]) == (403, "tenant_needed")
    assert not list(shelf.files.pending())
    for kept_by, headers in ((theirs, shows_key("ra")), (client, {})):
        answer = kept_by.post(f"/dicomweb/studies{below}", content=content, headers=HEADERS | headers)
        assert answer.status_code == 200, answer.text
        assert {file.tenant for file in shelf.files.pending()} == {"a"}


def test_stow_rs_of_another_tenants_study_fails_with_a_reason_beside_what_is_stored(
    client: TestClient, shelf: Shelf
) -> None:
    new = ct_series(slices=1, seed=3)[0]
    content = body(part10_bytes(OF_A[0]), part10_bytes(new))
    answer = client.post("/t/b/dicomweb/studies", content=content, headers=HEADERS)
    assert answer.status_code == 202
    (failed,) = answer.json()["00081198"]["Value"]
    assert failed["00081155"]["Value"] == [OF_A[0].SOPInstanceUID]
    assert failed["00081197"]["Value"] == [NOT_AUTHORIZED]
    assert len(list(shelf.files.pending())) == 1


def test_what_is_of_no_study_that_one_sees_fails_beside_what_is_stored(client: TestClient, shelf: Shelf) -> None:
    drawn, new = ct_series(slices=1, seed=4)[0], ct_series(slices=1, seed=3)[0]
    drawn.StudyInstanceUID = UID_A
    content = body(part10_bytes(drawn), part10_bytes(new))
    answer = client.post("/dicomweb/studies", content=content, headers=HEADERS)
    assert answer.status_code == 202, answer.text
    (failed,) = answer.json()["00081198"]["Value"]
    assert failed["00081155"]["Value"] == [new.SOPInstanceUID]
    assert failed["00081197"]["Value"] == [NOT_AUTHORIZED]
    assert [file.tenant for file in shelf.files.pending()] == ["a"]


@pytest.mark.parametrize("below", ["", f"/{UID_B}"], ids=["studies", "study"])
def test_a_sender_of_one_tenant_stores_a_new_study_and_the_database_is_not_asked(tmp_path: Path, below: str) -> None:
    shelf = Shelf(tmp_path / "data")
    people = write_people(tmp_path, person("lead", "lead"), machine("mod", "store", tenants=("b",)))
    files = write_files(tmp_path, "PACS@h:104", "PACS_B@h:104")
    store = SqlStudyStore(connect("sqlite:////nowhere/at/all.db"), same_pixels=never_the_same)
    app = create_app(Settings(data=shelf.folder, people=people, **files), store=store, files=shelf.files)
    client = TestClient(app, base_url="http://127.0.0.1:8000", raise_server_exceptions=False)
    content, headers = body(*map(part10_bytes, OF_B)), HEADERS | shows_key("mod")
    answer = client.post(f"/t/b/dicomweb/studies{below}", content=content, headers=headers)
    assert answer.status_code == 200, answer.text
    assert {file.tenant for file in shelf.files.pending()} == {"b"}
    assert client.post(f"/t/a/dicomweb/studies{below}", content=content, headers=headers).status_code == 404


def test_the_work_list_shows_and_filters_tenants(client: TestClient) -> None:
    api = client.get("/api/studies", params={"tenant": "b"}).json()["studies"]
    assert [(one["study"]["study_instance_uid"], one["tenant"]) for one in api] == [(UID_B, "b")]
    page = client.get("/?tenant=b").text
    assert UID_B in page
    assert UID_A not in page
    assert "tenant b" in page
    assert '<option value="b" selected>' in page
    assert UID_A in client.get("/").text
    assert "tenant b" in client.get(f"/studies/{UID_B}").text


def test_without_tenants_there_are_no_such_paths_and_the_list_speaks_of_none(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "data")
    shelf.keep(*map(part10_bytes, OF_A))
    app = create_app(Settings(data=shelf.folder), store=shelf.store, files=shelf.files)
    client = TestClient(app, base_url="http://127.0.0.1:8000")
    assert client.get("/t/a/dicom-web/studies").status_code == 404
    assert client.post("/dicomweb/studies", content=body(part10_bytes(OF_B[0])), headers=HEADERS).status_code == 200
    assert "enant" not in client.get("/").text
    assert not any(path.startswith("/t/") for path in app.openapi()["paths"])
