"""How often one caller may ask: every route is counted but those that are named here."""

import re
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from fastapi.testclient import TestClient
from starlette.responses import Response

from services.gateway.access.rates import RateLimit
from tests.support.people import person, shows_key, write_people
from tests.support.worklist import Ward

PAGE = {"Accept": "text/html"}
OFTEN = {
    "/events",
    "/healthz",
    "/metrics",
    "/ohif/1.2.3",
    "/ohif/app-config.js",
    "/readyz",
    "/static",
    "/studies/1.2.3/key-image/1.2.3",
    "/studies/1.2.3/prepared/1.2.3",
}
"""Files and pictures of the pages and the viewer, probes, and what a page holds open."""

ROOTS = ("/dicomweb", "/dicom-web", "/t/1.2.3/dicomweb", "/t/1.2.3/dicom-web", "/training/dicomweb")
SERIES = "/series/1.2.3"
INSTANCE = f"{SERIES}/instances/1.2.3"
RETRIEVED = {
    "",
    "/metadata",
    SERIES,
    f"{SERIES}/metadata",
    f"{SERIES}/rendered",
    INSTANCE,
    f"{INSTANCE}/metadata",
    f"{INSTANCE}/rendered",
    f"{INSTANCE}/bulkdata/1.2.3",
    f"{INSTANCE}/frames/1.2.3",
    f"{INSTANCE}/frames/1.2.3/rendered",
}
"""By DICOMweb, of a study: a viewer asks for 2,000 of them."""


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    folder = tmp_path_factory.mktemp("ward")
    (folder / "tenants.toml").write_text('[a]\ncalling_ae_titles = ["CT_A"]\ndestinations = []\n')
    return Ward(folder).app(tenants=str(folder / "tenants.toml"))


def gets(app: FastAPI) -> set[str]:
    """The path of all that can be fetched, each parameter filled in."""
    found = [route for route in iter_route_contexts(app.routes) if "GET" in (route.methods or {"GET"})]
    return {re.sub(r"{[^}]*}", "1.2.3", str(route.path)) for route in found}


def is_counted(path: str) -> bool:
    client = TestClient(RateLimit(Response(status_code=204), per_minute=1), base_url="http://127.0.0.1:8000")
    return [client.get(path).status_code for _ in range(2)] == [204, 429]


def test_every_page_is_counted_that_is_not_named_here(app: FastAPI) -> None:
    retrieved = {f"{root}/studies/1.2.3{below}" for root in ROOTS for below in RETRIEVED}
    assert {path for path in gets(app) if not is_counted(path)} == OFTEN | retrieved


@pytest.mark.parametrize(
    "path", ["/studies/1.2.3", "/studies/1.2.3/view/1", "/audit", "/training", "/training/cases/a"]
)
def test_who_opens_pages_without_end_is_held_off(path: str, tmp_path: Path) -> None:
    people = write_people(tmp_path, person("lead", "lead", "learner", "auditor"))
    client = Ward(tmp_path).client(people=people, requests_per_minute="1")
    first, second = (client.get(path, headers=PAGE | shows_key("lead"), follow_redirects=False) for _ in range(2))
    assert (first.status_code == 429, second.status_code) == (False, 429)
    assert "VIGIE_REQUESTS_PER_MINUTE" in second.text
