"""What OpenAPI promises, what every answer carries, and what is answered while the store is away."""

import re
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from pydicom.data import get_testdata_file

from services.gateway.examples import DETAIL_EXAMPLE, STUDY_EXAMPLE
from services.gateway.schemas import StudyDetailOut, StudyOut
from services.triage.errors import StoreUnavailable
from tests.support.worklist import Ward, nothing_found


@pytest.fixture
def ward(tmp_path: Path) -> Ward:
    return Ward(tmp_path)


@pytest.fixture
def client(ward: Ward) -> TestClient:
    return ward.client()


@pytest.fixture
def storeless(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> TestClient:
    """A client of an application whose database went away: every read of it fails."""
    client = ward.client()

    def refuse(*_: object, **__: object) -> None:
        raise StoreUnavailable("no database")

    for name in ("page", "newest_event", "study", "result_object", "counts"):
        monkeypatch.setattr(type(ward.store.board), name, refuse)
    return client


def test_openapi_has_a_summary_a_tag_and_problems_for_every_operation(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    api = {path: item for path, item in document["paths"].items() if path.startswith("/api/")}
    assert set(api) == {
        "/api/studies",
        "/api/studies/{uid}",
        "/api/studies/{uid}/complete",
        "/api/studies/{uid}/analyse",
        "/api/studies/{uid}/reading",
        "/api/studies/{uid}/verdicts",
        "/api/studies/{uid}/verdicts/finished",
        "/api/studies/{uid}/evidence",
        "/api/results/{sop_instance_uid}",
        "/api/results/{result_id}/recall",
        "/api/observatory",
        "/api/observatory/versions",
        "/api/models",
        "/api/models/{name}/switch-off",
        "/api/models/{name}/switch-on",
        "/api/models/{name}/recall",
        "/api/recalls",
    }
    for item in document["paths"].values():
        for operation in item.values():
            assert operation["summary"]
            assert operation["tags"]
    for item in api.values():
        for operation in item.values():
            assert "application/problem+json" in operation["responses"]["503"]["content"]
    assert "application/dicom" in api["/api/results/{sop_instance_uid}"]["get"]["responses"]["200"]["content"]


def test_openapi_tells_every_answer_of_stow_and_no_path_twice(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    assert {"200", "202", "400", "409", "413", "415", "503"} <= set(paths["/dicomweb/studies"]["post"]["responses"])
    without_names = [re.sub("{.*?}", "{}", path) for path in paths]
    assert len(set(without_names)) == len(without_names), "templates that differ in names alone are the same path"


@pytest.mark.parametrize("path", ["/dicomweb/studies", "/dicomweb/studies/1.2", "/dicomweb/workitems/1.2"])
def test_a_method_that_a_path_has_not_is_answered_with_all_that_it_has(client: TestClient, path: str) -> None:
    answer = client.delete(path)
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD, POST")


def test_openapi_examples_hold_what_the_schemas_say(client: TestClient) -> None:
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    assert schemas["StudyOut"]["examples"][0]["score"] == STUDY_EXAMPLE["score"]
    assert schemas["StudyDetailOut"]["examples"][0]["versions"][0]["jobs"][0]["result"]["objects"]
    assert StudyOut.model_validate(STUDY_EXAMPLE).model_dump(mode="json") == STUDY_EXAMPLE
    detail = StudyDetailOut.model_validate({**DETAIL_EXAMPLE, "row": DETAIL_EXAMPLE["summary"]})
    assert detail.model_dump(mode="json", by_alias=True) == DETAIL_EXAMPLE


@pytest.mark.parametrize("path", ["/", "/api/studies", "/static/vigie.css", "/nowhere", "/metrics"])
def test_every_answer_keeps_a_page_with_patient_data_to_itself(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    assert "default-src 'self'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"


def test_a_name_rebound_to_loopback_is_refused(ward: Ward) -> None:
    app = ward.app(http="127.0.0.1:8000")
    assert TestClient(app, base_url="http://evil.example").get("/api/studies").status_code == 400
    assert TestClient(app, base_url="http://localhost:8000").get("/api/studies").status_code == 200
    assert TestClient(app, base_url="http://[::1]:8000").get("/api/studies").status_code == 200
    behind_a_proxy = ward.app(http="0.0.0.0:8000")
    assert TestClient(behind_a_proxy, base_url="http://vigie.hospital").get("/api/studies").status_code == 200


def test_without_the_store_the_api_answers_503_with_a_way_out(storeless: TestClient) -> None:
    for path in ("/api/studies", "/api/studies/1.2.3", "/api/results/1.2.3"):
        answer = storeless.get(path)
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) > 0
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["way_out"]


def test_without_the_store_the_pages_say_so_to_a_person(storeless: TestClient) -> None:
    answer = storeless.get("/", headers={"Accept": "text/html"})
    assert answer.status_code == 503
    assert answer.headers["content-type"].startswith("text/html")
    assert "The store does not answer" in answer.text
    assert "as usual" in answer.text


def test_an_unexpected_fault_is_a_problem_without_its_text(
    ward: Ward, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    ward.analysed(1, nothing_found())

    def break_with_a_name(*_: object, **__: object) -> None:
        raise RuntimeError("DOE^JANE")

    monkeypatch.setattr(type(ward.store.board), "study", break_with_a_name)
    answer = client.get(f"/api/studies/{ward.uid(1)}")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert "DOE" not in answer.text


def test_an_instance_sent_by_stow_is_kept_while_the_store_is_away(ward: Ward, storeless: TestClient) -> None:
    instance = Path(get_testdata_file("CT_small.dcm", download=False)).read_bytes()
    body = b"--x\r\nContent-Type: application/dicom\r\n\r\n" + instance + b"\r\n--x--\r\n"
    content_type = 'multipart/related; type="application/dicom"; boundary=x'
    answer = storeless.post("/dicomweb/studies", content=body, headers={"Content-Type": content_type})
    assert answer.status_code == 200
    (kept,) = ward.files.pending()
    assert ward.files.path(kept.digest).read_bytes() == instance
