"""What OpenAPI tells of an operation is what a request of it meets: every operation, asked in every way."""

import base64
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from pydicom.data import get_testdata_file
from schemathesis.specs.openapi import definitions

from services.backends.store import SqlStudyStore, connect, never_the_same
from services.gateway.access.scope import within_tenants
from services.gateway.role import Role
from services.triage.finding import Flag
from tests.support.oidc import SECRET, oidc_toml
from tests.support.people import ROLES, TASKS, key_of, shows_key, sign_in, write_people
from tests.support.two_hospitals import write_files
from tests.support.worklist import Ward, found

HOST = "http://127.0.0.1:8000"
PUBLIC = {("GET", "/healthz"), ("GET", "/readyz"), ("GET", "/metrics")}
PROBLEM = "application/problem+json"
OTHER_SITE = {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}
LARGE = bytes(1_000_001)
Operation = tuple[str, str]


@dataclass(frozen=True)
class Api:
    """An application as a client sees it: its OpenAPI document, and its answers."""

    app: FastAPI

    @cached_property
    def client(self) -> TestClient:
        return TestClient(self.app, base_url=HOST, raise_server_exceptions=False)

    @cached_property
    def document(self) -> dict[str, Any]:
        return self.app.openapi()

    @cached_property
    def operations(self) -> dict[Operation, dict[str, Any]]:
        paths = self.document["paths"].items()
        return {(method.upper(), path): told for path, item in paths for method, told in item.items()}

    def ask(self, operation: Operation, **request: Any) -> httpx.Response:
        """As it is told or not at all: the answer's status and media type are in the document."""
        method, path = operation
        filled = re.sub(r"{[^}]*}", "1.2.3", path.replace("{tenant}", "b"))
        answer = self.client.request(method, filled, follow_redirects=False, **request)
        told = self.operations[operation]["responses"]
        assert str(answer.status_code) in told, (operation, answer.status_code, answer.text)
        media_type = answer.headers.get("content-type", "").partition(";")[0]
        assert not answer.content or media_type in told[str(answer.status_code)]["content"], (operation, media_type)
        return answer

    def met(self, code: str, *, of: Callable[[Operation], bool] = lambda _: True, **request: Any) -> set[Operation]:
        """The operations that answer such a request with this problem."""
        answers = {each: self.ask(each, **request) for each in self.operations if of(each)}
        return {each for each, answer in answers.items() if code_of(answer) == code}

    def told(self, code: str) -> set[Operation]:
        """The operations that tell this problem, under its status."""
        problem = self.document["components"]["examples"].get(code, {}).get("value", {"status": 0})
        told = ((each, about["responses"].get(str(problem["status"]), {})) for each, about in self.operations.items())
        return {each for each, answer in told if code in answer.get("content", {}).get(PROBLEM, {}).get("examples", {})}


def code_of(answer: httpx.Response) -> str:
    return answer.json()["code"] if answer.headers.get("content-type") == PROBLEM else ""


def changes(operation: Operation) -> bool:
    return operation[0] != "GET"


def is_stow(operation: Operation) -> bool:
    return operation[0] == "POST" and re.fullmatch(r".*/dicomweb/studies(/{study})?", operation[1]) is not None


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Ward:
    ward = Ward(tmp_path_factory.mktemp("ward"))
    ward.analysed(1, found(Flag.URGENT, (0.93, 17.2)))
    write_people(ward.folder)
    write_files(ward.folder, "PACS@h:104", "PACS_B@h:104")
    (ward.folder / "oidc.toml").write_text(oidc_toml("https://idp.example"))
    return ward


def tenants(ward: Ward) -> dict[str, str]:
    return {name: str(ward.folder / f"{name}.toml") for name in ("tenants", "destinations")}


def people(ward: Ward) -> dict[str, str]:
    return {"people": str(ward.folder / "people.toml")}


@pytest.fixture(scope="module")
def alone(ward: Ward) -> Api:
    """Nobody has to sign in."""
    return Api(ward.app())


@pytest.fixture(scope="module")
def guarded(ward: Ward) -> Api:
    """People and machines have to sign in."""
    return Api(ward.app(**people(ward)))


@pytest.fixture(scope="module")
def hospitals(ward: Ward) -> Api:
    """The same, and several are kept apart."""
    return Api(ward.app(**people(ward), **tenants(ward)))


@pytest.fixture(scope="module")
def away(ward: Ward) -> Iterator[Callable[..., Api]]:
    """The same, without their database."""
    kept, ward.store = ward.store, SqlStudyStore(connect("sqlite:////nowhere/at/all.db"), same_pixels=never_the_same)
    yield lambda **settings: Api(ward.app(**settings))
    ward.store = kept


def test_the_document_is_openapi_3_1_and_refers_to_nothing_that_is_not_there(ward: Ward) -> None:
    settings: list[dict[str, Any]] = [{}, people(ward), tenants(ward), {"role": Role.DOOR, **people(ward)}]
    for each in (*settings, {"oidc": str(ward.folder / "oidc.toml"), "oidc_client_secret": SECRET}):
        document = Api(ward.app(**each)).document
        assert [fault.message for fault in definitions.OPENAPI_31_VALIDATOR.iter_errors(document)] == []
        for reference in set(re.findall(r"'\$ref': '#/([^']*)'", str(document))):
            there = document
            for name in reference.split("/"):
                there = there[name]


def test_who_shows_no_key_is_refused_where_security_is_told_and_nowhere_else(hospitals: Api) -> None:
    refused = hospitals.met("not_signed_in")
    assert refused == hospitals.told("not_signed_in") == set(hospitals.operations) - PUBLIC
    default = hospitals.document["security"]
    assert refused == {each for each, about in hospitals.operations.items() if about.get("security", default)}
    told = hospitals.operations["GET", "/api/studies"]["responses"]["401"]
    assert "WWW-Authenticate" in told["headers"]


def test_each_security_scheme_opens_the_door(guarded: Api, ward: Ward) -> None:
    schemes = guarded.document["components"]["securitySchemes"]
    assert guarded.document["security"] == [{name: []} for name in schemes]
    shown = {}
    for scheme in schemes.values():
        if scheme["type"] == "apiKey":
            cookie = sign_in(TestClient(guarded.app, base_url=HOST), "reader").cookies[scheme["name"]]
            shown["cookie"] = {"Cookie": f"{scheme['name']}={cookie}"}
        elif scheme["scheme"] == "basic":
            told = base64.b64encode(f"reader:{key_of('reader')}".encode()).decode()
            shown["basic"] = {"Authorization": f"Basic {told}"}
        else:
            shown["bearer"] = shows_key("reader")
    assert set(shown) == {"cookie", "basic", "bearer"}
    for headers in shown.values():
        assert guarded.ask(("GET", "/api/studies"), headers=headers).status_code == 200


def test_security_is_told_as_it_is_set_up(alone: Api, ward: Ward) -> None:
    assert "security" not in alone.document
    assert "securitySchemes" not in alone.document["components"]
    assert alone.told("not_signed_in") | alone.told("not_your_part") | alone.told("too_many_attempts") == set()
    oidc = Api(ward.app(oidc=str(ward.folder / "oidc.toml"), oidc_client_secret=SECRET, https="true"))
    schemes = oidc.document["components"]["securitySchemes"]
    assert [one.get("scheme") for one in schemes.values()] == ["bearer", None]  # Basic is for keys of the file
    assert schemes["session"]["name"] == "__Host-vigie_session"
    assert oidc.told("provider_unavailable") == oidc.told("not_signed_in")
    assert oidc.told("too_many_attempts") == set()


def test_whoever_asks_with_a_key_gets_no_answer_that_is_not_told_and_some_are_refused_where_it_is(
    guarded: Api,
) -> None:
    refused = set[Operation]()
    for name in (*ROLES, *TASKS):
        refused |= guarded.met("not_your_part", headers=shows_key(name))
    assert refused == guarded.told("not_your_part")


def test_another_sites_page_is_refused_where_it_is_told(alone: Api, guarded: Api) -> None:
    assert alone.met("cross_site", headers=OTHER_SITE) == alone.told("cross_site")
    # who may not do it at all is told that first
    refused = {
        each
        for name in ("lead", *TASKS)
        for each in guarded.met("cross_site", of=changes, headers=OTHER_SITE | shows_key(name))
    }
    assert refused == guarded.told("cross_site")


def test_a_large_body_is_refused_where_it_is_told(alone: Api) -> None:
    assert alone.met("too_large", of=changes, content=LARGE) == alone.told("too_large")
    assert not any(map(is_stow, alone.told("too_large")))


def test_asking_too_often_is_refused_where_it_is_told(ward: Ward) -> None:
    api = Api(ward.app(requests_per_minute="1"))
    api.client.get("/api/studies")
    assert api.met("too_many_requests") == api.told("too_many_requests")
    assert not api.told("too_many_requests") & PUBLIC
    assert Api(ward.app()).told("too_many_requests") == set()
    asked = api.operations["GET", "/api/studies"]["responses"]["429"]
    assert asked["headers"]["Retry-After"]["schema"] == {"type": "integer"}
    guarded = Api(ward.app(requests_per_minute="1", **people(ward), **tenants(ward)))
    guarded.client.get("/api/studies")
    assert guarded.met("too_many_requests") == guarded.told("too_many_requests") == set(guarded.operations) - PUBLIC


def test_guessing_keys_is_held_off_where_it_is_told(ward: Ward) -> None:
    api, guess = Api(ward.app(**people(ward))), {"Authorization": "Bearer ops.guess"}
    for _ in range(5):
        api.client.get("/api/studies", headers=guess)
    assert api.met("too_many_attempts", headers=guess) == api.told("too_many_attempts")
    assert api.told("too_many_attempts") == set(api.operations) - PUBLIC


def test_without_its_database_all_operations_answer_as_they_tell(away: Callable[..., Api], ward: Ward) -> None:
    alone, headers = away(), {"Content-Type": "application/json"}
    assert alone.met("store_unavailable", headers=headers, content=b"{}") <= alone.told("store_unavailable")
    assert not any(map(is_stow, alone.told("store_unavailable")))  # what comes is kept, whatever the database is
    guarded = away(**people(ward), **tenants(ward))
    cookie = {"Cookie": "vigie_session=any"}
    assert guarded.met("store_unavailable", headers=cookie) == guarded.told("store_unavailable")
    assert "Retry-After" in guarded.operations["GET", "/api/studies"]["responses"]["503"]["headers"]


def test_a_fault_in_vigie_is_answered_as_it_is_told(ward: Ward) -> None:
    def broken() -> None:
        raise RuntimeError

    api = Api(ward.app())
    api.app.dependency_overrides[within_tenants] = broken
    assert api.met("internal_error") == api.told("internal_error") == set(api.operations)


def test_what_cannot_be_understood_is_answered_as_it_is_told(alone: Api) -> None:
    wrong = {"limit": "many", "from": "x", "priority": "x", "ai": "x", "accept": "x"}
    for each in alone.operations:
        alone.ask(each, params=wrong, headers={"Accept": "nothing/at-all"})
        for content in (b"{}", b"\xff"):
            alone.ask(each, content=content, headers={"Content-Type": "application/json"})


def test_a_status_of_invalid_parameters_is_told_where_some_can_be_invalid(alone: Api) -> None:
    assert "HTTPValidationError" not in str(alone.document)
    assert ("GET", "/api/models") not in alone.told("invalid_request")
    assert {("GET", "/api/studies"), ("POST", "/api/studies/{uid}/analyse")} <= alone.told("invalid_request")
    assert not any(path.startswith("/dicomweb") for _, path in alone.told("invalid_request"))


@pytest.mark.parametrize("path", ["/dicomweb/studies", "/t/{tenant}/dicomweb/studies"])
def test_instances_are_sent_to_every_path_of_stow_as_the_document_tells(hospitals: Api, ward: Ward, path: str) -> None:
    body = hospitals.operations["POST", path]["requestBody"]
    (media_type,) = body["content"]
    assert (media_type, body["required"]) == ('multipart/related; type="application/dicom"', True)
    assert hospitals.operations["POST", f"{path}/{{study}}"]["requestBody"] == body
    headers = {"Content-Type": f"{media_type}; boundary=x", **shows_key("store")}
    instance = Path(get_testdata_file("CT_small.dcm", download=False)).read_bytes()
    content = b"--x\r\nContent-Type: application/dicom\r\n\r\n" + instance + b"\r\n--x--\r\n"
    answer = hospitals.ask(("POST", path), headers=headers, content=content)
    # whose they are is told by the path, or else by a person's study
    assert (answer.status_code, code_of(answer)) == ((200, "") if "{tenant}" in path else (403, "tenant_needed"))


def test_a_tenant_that_sends_nothing_and_one_that_nobody_knows_are_answered_as_it_is_told(hospitals: Api) -> None:
    for each, about in hospitals.operations.items():
        if "{tenant}" in each[1]:
            assert "404" in about["responses"], each
    for tenant, status in (("a", 403), ("nobody", 404)):
        answer = hospitals.client.post(f"/t/{tenant}/dicomweb/studies", headers=shows_key("store"))
        assert answer.status_code == status
        assert str(status) in hospitals.operations["POST", "/t/{tenant}/dicomweb/studies"]["responses"]
