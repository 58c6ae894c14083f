"""Who gets at what through the desk, and who is refused, stands in the audit trail; auditors read it on a page."""

import json
import re
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from structlog.testing import capture_logs

from deploy.audit_table import DOCUMENT, document
from services.backends import reread
from services.backends.audit_spool import AuditSpool
from services.backends.store.audit_check import check
from services.gateway.access.rules import is_public
from services.gateway.audit.settling import settling
from services.gateway.audit.ways import ways_of
from services.gateway.audit.words import TYPE_WORDS
from services.triage.audit import AuditEvent
from services.triage.audit_types import MEANINGS, AuditType
from services.triage.errors import OutOfResources, StoreUnavailable
from services.triage.finding import Flag
from tests.support.people import everybody, key_of, person, shows_key, sign_in, write_people
from tests.support.worklist import Ward, found

ACCESSES = {"study_page", "api", "retrieve", "work_list", "search", "key_image", "viewer", "result_object"}


@dataclass
class Watched(Ward):
    """began: the last record before the test."""

    began: int = 0


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> tuple[Watched, FastAPI]:
    ward = Watched(tmp_path_factory.mktemp("ward"))
    ward.analysed(1, found(Flag.URGENT, (0.93, 17.2)))
    (ward.folder / "ohif").mkdir()
    (ward.folder / "ohif" / "index.html").write_text("OHIF")
    return ward, ward.app(people=write_people(ward.folder), viewer=str(ward.folder / "ohif"))


@pytest.fixture
def ward(site: tuple[Watched, FastAPI]) -> Watched:
    """An hour after the last test: in windows of its own."""
    ward, _ = site
    ward.now += timedelta(hours=1)
    ward.began = ward.store.audit.head().sequence
    return ward


@pytest.fixture
def client(ward: Watched, site: tuple[Watched, FastAPI]) -> TestClient:
    return TestClient(site[1], base_url="http://127.0.0.1:8000", raise_server_exceptions=False)


def told(ward: Watched, *types: str) -> list[dict[str, object]]:
    records = [json.loads(one.document) for one in ward.store.audit.records(after=ward.began)]
    return [one for one in records if not types or one["type"] in types]


def odd_event(type_: str, reason: str = "") -> AuditEvent:
    meaning = MEANINGS[AuditType.SIGN_IN]
    return AuditEvent(kind=meaning.kind, type=type_, action=meaning.action, actors=(), reason=reason)


def who(one: dict[str, object]) -> str:
    return one["actors"][0]["name"]


def test_each_way_to_a_study_is_one_event_per_person_and_window(ward: Ward, client: TestClient) -> None:
    uid = ward.uid(1)
    for _ in range(3):
        for name in ("reader", "lead"):
            for path in (f"/studies/{uid}", f"/api/studies/{uid}", "/", f"/ohif/viewer?StudyInstanceUIDs={uid},1.2.3"):
                client.get(path, headers=shows_key(name))
            for path in (f"/dicomweb/studies/{uid}/series", f"/dicomweb/studies/{uid}/instances?limit=1"):
                assert client.get(path, headers=shows_key(name)).status_code == 200
    events = Counter((who(one), one["type"]) for one in told(ward, *ACCESSES))
    per_person = {"study_page": 1, "api": 1, "work_list": 1, "viewer": 2, "retrieve": 1}
    assert events == {(name, type_): n for name in ("reader", "lead") for type_, n in per_person.items()}

    ward.now += timedelta(minutes=10)
    client.get(f"/studies/{uid}", headers=shows_key("reader"))
    assert len(told(ward, "study_page")) == 3
    assert all(one["objects"][0]["object_id"] == uid for one in told(ward, "study_page"))
    assert {one["kind"] for one in told(ward, "study_page")[0]["objects"]} == {"study", "patient"}


def test_two_desks_write_one_event(ward: Ward, client: TestClient) -> None:
    other = ward.client(people=str(ward.folder / "people.toml"))
    for desk in (client, other):
        desk.get(f"/studies/{ward.uid(1)}", headers=shows_key("reader"))
    assert len(told(ward, "study_page")) == 1


def test_what_is_searched_for_is_told_by_its_keys_and_never_by_its_values(ward: Ward, client: TestClient) -> None:
    client.get("/dicomweb/studies?PatientName=Secretperson&PatientID=4711-secret", headers=shows_key("retrieve"))
    (search,) = told(ward, "search")
    assert search["objects"][0]["details"]["keys"] == "PatientID PatientName"
    assert len(search["objects"][0]["details"]["digest"]) == 64
    assert "ecret" not in str(told(ward))


def digests(events: list[dict[str, object]]) -> list[tuple[str, str]]:
    objects = [one["objects"][0]["details"] for one in events]
    return [(one.get("keys", ""), one.get("digest", "")) for one in objects]


def test_each_question_is_an_event_and_the_same_one_again_is_none(ward: Ward, client: TestClient) -> None:
    for _ in range(2):
        for patient in ("P-0001", "P-0002"):
            client.get(f"/dicomweb/studies?PatientID={patient}", headers=shows_key("reader"))
            client.get(f"/api/studies?search={patient}", headers=shows_key("reader"))
    for events in (told(ward, "search"), told(ward, "work_list")):
        assert len({digest for _, digest in digests(events)}) == len(events) == 2


def test_a_search_of_the_work_list_is_told_as_any_other(ward: Ward, client: TestClient) -> None:
    for asked in ("", "?modality=CT"):
        for search in ("Secretperson", "Other", "Other "):
            assert client.post(f"/{asked}", data={"search": search}, headers=shows_key("reader")).status_code == 200
    client.post("/", data={"search": " "}, headers=shows_key("reader"))
    client.get("/", headers=shows_key("reader"))
    lists = digests(told(ward, "work_list"))
    assert [keys for keys, _ in lists] == ["search", "search", "modality search", "modality search", ""]
    assert len(set(lists)) == 5
    assert "ecret" not in str(told(ward))


def test_who_is_refused_is_in_the_trail_once_however_often_they_try(ward: Ward, client: TestClient) -> None:
    for _ in range(3):
        assert client.post(f"/api/studies/{ward.uid(1)}/analyse", headers=shows_key("reader")).status_code == 403
        assert client.get("/api/studies").status_code == 401
        assert client.get(f"/studies/{ward.uid(1)}").status_code == 401
    refused = [(who(one), one["objects"][0]["object_id"], one["reason"]) for one in told(ward, "access_refused")]
    assert refused == [
        ("reader", "POST /api/studies/{uid}/analyse", "not_your_part"),
        ("unknown", "GET /api/studies", "not_signed_in"),
        ("unknown", "GET /studies/{uid}", "not_signed_in"),
    ]
    assert told(ward, *ACCESSES) == []


def test_who_another_sites_page_asked_for_and_from_where_is_told(ward: Ward, client: TestClient) -> None:
    evil = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    with capture_logs() as logs:
        for path, headers in ((f"/api/studies/{ward.uid(1)}/complete", shows_key("lead")), ("/login", {})):
            answer = client.post(path, headers=headers | evil, data={"name": "reader", "key": key_of("reader")})
            assert (answer.status_code, answer.json()["code"]) == (403, "cross_site")
            assert "set-cookie" not in answer.headers
    refused = [(who(one), one["objects"][0]["object_id"], one["reason"]) for one in told(ward, "access_refused")]
    assert refused == [
        ("lead", "POST /api/studies/{uid}/complete", "cross_site"),
        ("unknown", "another path", "cross_site"),
    ]
    told_in_log = [(one["name"], one["address"]) for one in logs if one["event"] == "cross_site_refused"]
    assert told_in_log == [("lead", "testclient"), ("unknown", "testclient")]


def test_signing_in_and_out_and_failing_to_are_in_the_trail_without_what_was_typed(
    ward: Ward, client: TestClient
) -> None:
    client.post("/login", data={"name": "reader", "key": "a wrong key"})
    client.post("/login", data={"name": "typed-the-key-here", "key": "x"})
    sign_in(client, "reader")
    client.post("/logout")
    events = [(one["type"], who(one), one["outcome"]) for one in told(ward, "sign_in", "sign_out")]
    assert events == [
        ("sign_in", "reader", 4),
        ("sign_in", "unknown", 4),
        ("sign_in", "reader", 0),
        ("sign_out", "reader", 0),
    ]
    assert all(one["actors"][0]["address"] for one in told(ward, "sign_in"))
    assert "typed-the-key" not in str(told(ward))
    assert key_of("reader") not in str(told(ward))


def test_what_a_person_does_is_told_with_where_they_sat(ward: Ward, client: TestClient) -> None:
    body = {"action": "take"}
    assert client.post(f"/api/studies/{ward.uid(1)}/reading", json=body, headers=shows_key("reader")).status_code == 200
    (reading,) = told(ward, "reading")
    assert reading["actors"] == [{"name": "reader", "address": "testclient", "requests": True}]
    assert reading["objects"][0]["details"] == {"action": "taken"}


def test_while_the_database_is_away_events_are_kept_as_files_and_settled_once(
    ward: Ward, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object, **__: object) -> None:
        raise StoreUnavailable("away")

    with monkeypatch.context() as broken:
        broken.setattr(ward.store.audit, "record", away)
        client.get(f"/studies/{ward.uid(1)}", headers=shows_key("reader"))
    before = ward.now
    spool = AuditSpool(ward.folder)
    assert (told(ward, "study_page"), spool.count()) == ([], 2)  # the key, and the page

    ward.now += timedelta(hours=1)
    settle = settling(spool, ward.store.audit)
    waiting = list(spool.pending(limit=10))
    assert settle.turn(ward.now) == 2
    for each in waiting:  # killed before the files were gone
        spool.add(each.event, now=before)
    assert settle.turn(ward.now) == 2
    (page,) = told(ward, "study_page")
    assert page["happened_at"].startswith(before.isoformat()[:19])
    assert spool.count() == 0


def test_events_above_the_bound_are_counted_and_the_trail_says_how_many(ward: Ward, tmp_path: Path) -> None:
    spool = AuditSpool(tmp_path, most=2)
    event = odd_event("x")
    for _ in range(2):
        spool.add(event, now=ward.now)
    for _ in range(3):
        with pytest.raises(OutOfResources):
            spool.add(event, now=ward.now)
    (tmp_path / "audit" / "spool" / "odd.json").write_text("{")
    settling(spool, ward.store.audit).turn(ward.now)
    (dropped,) = told(ward, "events_dropped")
    assert dropped["objects"][0]["details"] == {"events": "3"}
    assert (spool.count(), spool.damaged(), len(told(ward, "x"))) == (0, 1, 2)


def test_a_change_of_the_people_is_in_the_trail(
    ward: Watched, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reread, "_LOOK_EVERY_S", 0.0)
    changed = everybody().replace("roles = ['ops']", "roles = ['lead']")
    for entries, name in (([changed, person("new", "reader")], "new"), ([everybody()], "reader")):
        write_people(ward.folder, *entries)
        assert client.get("/", headers=shows_key(name)).status_code == 200
    assert [one["objects"][0]["details"] for one in told(ward, "configuration_changed")] == [
        {"accounts": "8", "added": "new", "changed": "ops"},
        {"accounts": "7", "removed": "new", "changed": "ops"},
    ]


def test_every_route_is_a_way_in_the_trail_or_left_out_for_a_reason(client: TestClient) -> None:
    """Left out: what shows no patient and no study, and changes, which the store writes."""
    paths = client.get("/openapi.json", headers=shows_key("lead")).json()["paths"]
    unwatched = sorted(
        path
        for path, asked in paths.items()
        if "get" in asked and not is_public(path) and not ways_of("GET", re.sub(r"{[^}]*}", "1.2.3", path), b"")
    )
    assert unwatched == ["/api/models", "/api/observatory", "/api/observatory/versions", "/api/recalls"]


def test_the_words_of_the_page_are_those_of_the_trail() -> None:
    assert {type_: MEANINGS[type_].text for type_ in AuditType} == TYPE_WORDS


@pytest.fixture
def auditor(ward: Ward, client: TestClient) -> TestClient:
    client.get(f"/studies/{ward.uid(1)}", headers=shows_key("reader"))
    return sign_in(client, "auditor")


def test_an_auditor_finds_who_saw_a_patients_study_and_is_in_the_trail_then(ward: Ward, auditor: TestClient) -> None:
    detail = ward.store.board.study(ward.uid(1))
    patient = detail.row.study.patient_id
    page = auditor.post("/audit", data={"patient": patient, "type": "study_page"})
    assert page.status_code == 200
    assert re.findall(r"<div>(\w+) <span", page.text)[0] == "reader"
    assert "auditor" not in page.text.partition("<tbody>")[2]
    assert f'href="/studies/{ward.uid(1)}"' in page.text
    read = told(ward, "trail_read")
    assert [who(one) for one in read] == ["auditor"]
    assert patient not in str(read)
    assert "There is no such record." in auditor.post("/audit", data={"patient": "nobody's"}).text
    assert check(ward.store.audit).breaks == ()


def test_older_records_are_a_page_further(ward: Ward, auditor: TestClient) -> None:
    for number in range(120):
        ward.store.audit.record(odd_event("more", reason=str(number)), now=ward.now)
    first = auditor.post("/audit", data={"type": "more"}).text
    assert first.count('<th scope="row">') == 100
    fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', first.partition("</table>")[2]))
    assert auditor.post("/audit", data=fields).text.count('<th scope="row">') == 20


def test_the_page_is_for_auditors_and_leads(client: TestClient) -> None:
    for name, status in (("reader", 403), ("ops", 403), ("retrieve", 403), ("lead", 200), ("auditor", 200)):
        assert client.get("/audit", headers=shows_key(name)).status_code == status, name
    assert "Journal d'audit" in client.get("/audit", headers={**shows_key("lead"), "Accept-Language": "fr"}).text


def test_the_document_tells_of_every_type() -> None:
    assert DOCUMENT.read_text() == document()
