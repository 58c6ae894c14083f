"""Nobody reaches the desk unknown, or does what their role does not let them: every route, asked as everybody."""

import base64
import json
import os
import re
from datetime import timedelta
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from fastapi.testclient import TestClient
from structlog.testing import capture_logs

from deploy.roles import DOCUMENT, document
from services.backends import reread
from services.gateway.access.rules import RULES, is_public, rule_for
from services.gateway.access.session import REFRESH
from services.gateway.app import STATIC
from services.gateway.role import Role
from services.triage.finding import Flag
from services.triage.person import EVERY_ROLE, Machine, MachineTask, Person, PersonRole
from services.triage.tenant import Tenant
from tests.support.live import told_once
from tests.support.people import ROLES, TASKS, everybody, key_of, machine, person, shows_key, sign_in, write_people
from tests.support.worklist import Ward, found

HOST = "http://127.0.0.1:8000"
PAGE = {"Accept": "text/html"}


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Ward:
    ward = Ward(tmp_path_factory.mktemp("ward"))
    ward.analysed(1, found(Flag.URGENT, (0.93, 17.2)))
    return ward


@pytest.fixture(scope="module")
def app(ward: Ward) -> FastAPI:
    return told_once(ward.app(people=write_people(ward.folder)))


@pytest.fixture
def client(app: FastAPI) -> TestClient:
    return TestClient(app, base_url=HOST, raise_server_exceptions=False)


def routes(app: FastAPI) -> list[tuple[str, str]]:
    """(method, path) of all that is served, each parameter filled in."""
    found = []
    for route in iter_route_contexts(app.routes):
        path = re.sub(r"{[^}]*}", "1.2.3", str(route.path))
        found += [(method, path) for method in sorted(route.methods or {"GET"})]
    return found


def asked_by(name: str) -> Person | Machine:
    if name in ROLES:
        return Person(name=name, roles=frozenset({PersonRole(name)}))
    return Machine(name=name, may=frozenset({MachineTask(name)}))


def test_there_are_routes_to_ask(app: FastAPI) -> None:
    listed = {path for _, path in routes(app)}
    assert {"/", "/api/studies", "/dicomweb/studies", "/dicom-web/studies", "/ohif/1.2.3", "/openapi.json"} <= listed
    assert len(listed) > 60


def test_every_route_is_public_or_has_a_rule(app: FastAPI) -> None:
    assert [each for each in routes(app) if not is_public(each[1]) and rule_for(*each) is None] == []
    public = {path for _, path in routes(app) if is_public(path)}
    assert public == {
        "/healthz",
        "/readyz",
        "/metrics",
        "/login",
        "/login/oidc",
        "/login/oidc/callback",
        "/preferences",
        "/static",
    }


def test_no_rule_is_left_over(app: FastAPI) -> None:
    met = {rule_for(*each) for each in routes(app) if not is_public(each[1])}
    assert [rule for rule in RULES if rule not in met] == []


def test_every_route_that_is_not_public_refuses_who_is_unknown(app: FastAPI, ward: Ward) -> None:
    client = opened(ward)
    for headers in ({}, {"Authorization": "Bearer reader.guessed"}, {"Cookie": "vigie_session=guessed"}):
        answers = {
            (method, path): client.request(method, path, headers=headers, follow_redirects=False)
            for method, path in routes(app)
            if not is_public(path)
        }
        # guessing with a key is soon held off
        wrong = {each: answer.status_code for each, answer in answers.items() if answer.status_code not in (401, 429)}
        assert wrong == {}
    assert client.get("/nothing/here").status_code == 401


def test_every_route_answers_everybody_as_the_rules_say(app: FastAPI, client: TestClient) -> None:
    for name in (*ROLES, *TASKS):
        caller = asked_by(name)
        for method, path in routes(app):
            if is_public(path) or path == "/logout":
                continue
            rule = rule_for(method, path)
            assert rule is not None
            answer = client.request(method, path, headers=shows_key(name), follow_redirects=False)
            refused = answer.status_code == 403 and (method == "HEAD" or answer.json()["code"] == "not_your_part")
            assert refused != rule.need.is_met(caller), (name, method, path, answer.status_code)


def test_the_document_has_the_table_of_the_rules() -> None:
    assert DOCUMENT.read_text() == document()


def test_a_door_is_guarded_as_a_desk_is(ward: Ward) -> None:
    door = TestClient(ward.app(role=Role.DOOR, people=write_people(ward.folder)), base_url=HOST)
    assert door.post("/dicomweb/studies").status_code == 401
    assert door.post("/dicomweb/studies", headers=shows_key("retrieve")).status_code == 403
    assert door.post("/dicomweb/studies", headers=shows_key("store")).status_code == 415


def test_a_route_without_a_rule_is_refused_to_everybody(ward: Ward) -> None:
    app = ward.app(people=write_people(ward.folder))
    app.add_api_route("/new", lambda: "for whom?")
    client = TestClient(app, base_url=HOST)
    assert client.get("/new", headers=shows_key("lead")).json()["code"] == "not_your_part"
    assert client.get("/newer", headers=shows_key("lead")).status_code == 404


def test_without_people_whoever_asks_may_do_everything_and_the_pages_say_so(ward: Ward) -> None:
    client = ward.client()
    assert "No sign-in is set up" in client.get("/").text
    assert client.post(f"/api/studies/{ward.uid(1)}/complete").status_code == 409
    assert client.get("/login", follow_redirects=False).headers["location"] == "/"
    assert client.post("/logout", follow_redirects=False).status_code == 303


def test_a_browser_is_led_to_the_form_and_back_to_where_it_wanted(client: TestClient, ward: Ward) -> None:
    wanted = f"/studies/{ward.uid(1)}"
    led = client.get(wanted, headers=PAGE, follow_redirects=False)
    assert (led.status_code, led.headers["location"]) == (303, f"/login?next={wanted}")
    form = client.get(led.headers["location"], headers=PAGE)
    assert form.status_code == 200
    assert 'autocomplete="username"' in form.text
    assert 'autocomplete="current-password"' in form.text
    (action,) = re.findall(r'action="(/login[^"]*)"', form.text)
    back = client.post(action, data={"name": "reader", "key": key_of("reader")}, follow_redirects=False)
    assert (back.status_code, back.headers["location"]) == (303, wanted)
    assert "FAMILY1" in client.get(wanted).text


@pytest.mark.parametrize(
    "wanted", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)"]
)
def test_the_form_leads_to_no_other_site(client: TestClient, wanted: str) -> None:
    told = {"name": "reader", "key": key_of("reader")}
    answer = client.post("/login", params={"next": wanted}, data=told, follow_redirects=False)
    assert answer.headers["location"] == "/"


def test_who_has_no_part_in_the_list_begins_elsewhere_and_a_closed_door_shows_the_way(tmp_path: Path) -> None:
    client = Ward(tmp_path).client(people=write_people(tmp_path, person("learner", "learner")))
    told = {"name": "learner", "key": key_of("learner")}
    assert client.post("/login", data=told, follow_redirects=False).headers["location"] == "/training"
    assert client.get("/login", follow_redirects=False).headers["location"] == "/training"
    closed = client.get("/", headers={"Accept": "text/html"})
    assert closed.status_code == 403
    assert "Sign out" in closed.text
    assert set(re.findall(r'<a [^>]*href="(/[^"]*)"', closed.text)) == {"/training"}


@pytest.mark.parametrize("name", ["reader", "nobody", "retrieve"])
def test_who_shows_a_wrong_key_or_is_a_machine_gets_no_session(client: TestClient, name: str) -> None:
    key = key_of(name) if name == "retrieve" else "wrong"
    answer = client.post("/login", data={"name": name, "key": key})
    assert (answer.status_code, answer.headers.get("set-cookie")) == (401, None)
    assert "Name and key do not go together." in answer.text
    assert 'role="alert"' in answer.text
    assert key not in answer.text


def test_the_cookie_is_for_this_server_alone(client: TestClient, ward: Ward) -> None:
    told = {"name": "reader", "key": key_of("reader")}
    cookie = client.post("/login", data=told, follow_redirects=False).headers["set-cookie"]
    assert {"HttpOnly", "Path=/", "SameSite=lax"} <= set(cookie.split("; "))
    https = ward.client(people=str(ward.folder / "people.toml"), https="true")
    cookie = https.post("/login", data=told, follow_redirects=False).headers["set-cookie"]
    assert cookie.startswith("__Host-vigie_session=")
    assert "Secure" in cookie.split("; ")


@pytest.mark.parametrize(
    "header",
    [f"Bearer {key_of('reader')}", "Basic " + base64.b64encode(f"reader:{key_of('reader')}".encode()).decode()],
)
def test_a_program_shows_its_key(client: TestClient, header: str) -> None:
    assert client.get("/api/studies", headers={"Authorization": header}).status_code == 200


@pytest.mark.parametrize("header", ["Bearer", "Bearer x", "Basic !", "Basic //8=", "Digest x", "Bearer reader.é"])
def test_what_is_no_key_is_refused_and_breaks_nothing(client: TestClient, header: str) -> None:
    answer = client.get("/api/studies", headers={"Authorization": header.encode()})
    assert answer.status_code in (401, 429)


def test_a_page_of_ours_is_never_asked_for_basic(client: TestClient) -> None:
    by_program = client.get("/api/studies").headers["www-authenticate"]
    by_page = client.get("/api/studies", headers={"Sec-Fetch-Mode": "cors"}).headers["www-authenticate"]
    assert ("Basic" in by_program, "Basic" in by_page) == (True, False)


@pytest.fixture
def own(tmp_path: Path) -> Ward:
    """A ward whose clock and file are the test's own."""
    ward = Ward(tmp_path)
    ward.analysed(1, found(Flag.URGENT, (0.93, 17.2)))
    write_people(tmp_path)
    return ward


def opened(ward: Ward, **settings: str) -> TestClient:
    return ward.client(people=str(ward.folder / "people.toml"), **settings)


def test_a_session_ends_when_its_person_does_nothing(own: Ward) -> None:
    client = sign_in(opened(own), "reader")
    refreshed = {"Sec-Fetch-Mode": "cors"}
    for minutes, status in ((20, 200), (20, 401)):
        own.now += timedelta(minutes=minutes)
        assert client.get("/", headers=refreshed).status_code == status
    client = sign_in(opened(own), "reader")
    for _ in range(5):
        own.now += timedelta(minutes=20)
        assert client.get("/").status_code == 200


@pytest.mark.parametrize("search", [None, "FAMILY1"])
@pytest.mark.parametrize("mode", [{"Sec-Fetch-Mode": "cors"}, {}], ids=["https", "http"])  # plain HTTP sends none
def test_an_open_list_keeps_no_session_alive(own: Ward, search: str | None, mode: dict[str, str]) -> None:
    client = sign_in(opened(own), "reader")
    own.now += timedelta(minutes=20)
    method = "POST" if search else "GET"
    asked = {"data": {"search": search}} if search else {}
    refreshed = client.request(method, "/", headers={**PAGE, REFRESH: "1", **mode}, **asked)
    assert (refreshed.status_code, "set-cookie" in refreshed.headers) == (200, False)
    assert "set-cookie" not in client.head("/events", headers={"Accept": "text/event-stream", **mode}).headers
    assert "set-cookie" in client.get("/", headers=PAGE).headers


@pytest.mark.parametrize("script", ["fresh.js", "viewer-bar.js"])
def test_a_script_that_asks_by_itself_says_so(script: str) -> None:
    assert REFRESH in (STATIC / script).read_text()


def test_a_session_ends_after_its_longest_time_whatever_is_done(own: Ward) -> None:
    client = sign_in(opened(own, session_longest_h="1"), "reader")
    statuses = []
    for _ in range(4):
        own.now += timedelta(minutes=20)
        statuses.append(client.get("/").status_code)
    assert statuses == [200, 200, 401, 401]


def test_signing_out_ends_the_session_for_who_has_a_copy_of_the_cookie_too(own: Ward) -> None:
    client = sign_in(opened(own), "reader")
    copy = dict(client.cookies)
    assert client.get("/", cookies=copy).status_code == 200
    assert client.post("/logout", follow_redirects=False).status_code == 303
    assert client.get("/", headers={"Cookie": f"vigie_session={copy['vigie_session']}"}).status_code == 401
    other = opened(own)  # another desk on the same database
    assert other.get("/", headers={"Cookie": f"vigie_session={copy['vigie_session']}"}).status_code == 401


def test_desks_on_one_database_know_each_others_sessions(own: Ward) -> None:
    cookie = sign_in(opened(own), "reader").cookies["vigie_session"]
    asked = {"Cookie": f"vigie_session={cookie}"}
    assert opened(own).get("/", headers=asked).status_code == 200
    assert opened(own, session_key="another-key-of-32-characters-or-more").get("/", headers=asked).status_code == 401


def test_who_is_taken_out_of_the_file_or_has_a_new_key_is_signed_out(
    own: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reread, "_LOOK_EVERY_S", 0.0)
    client = sign_in(opened(own), "reader")
    changed = (
        (person("reader", "reader") + machine("other", "store"), 200),
        (person("reader", "reader").replace("key = ", "# ") + f'key = "{_another_hash()}"\n', 401),
        (person("reader", "reader"), 200),
        ("broken", 200),  # the last good one stays in force
        (person("lead", "lead"), 401),
    )
    for number, (content, status) in enumerate(changed):
        path = own.folder / "people.toml"
        path.write_text(content)
        os.utime(path, (number + 1, number + 1))
        assert client.get("/").status_code == status, content


def _another_hash() -> str:
    from services.backends.keys import hash_of

    return hash_of("another key altogether")


def test_a_role_that_is_taken_away_is_gone_at_the_next_request(own: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reread, "_LOOK_EVERY_S", 0.0)
    client = sign_in(opened(own), "lead")
    assert "FAMILY1" in client.get("/").text
    (own.folder / "people.toml").write_text(person("lead", "ops"))
    assert "FAMILY1" not in client.get("/").text


def test_guessing_is_held_off_by_name_and_address_and_heard_again_later(own: Ward) -> None:
    client = opened(own)
    statuses = [client.post("/login", data={"name": "reader", "key": "guess"}).status_code for _ in range(7)]
    assert statuses == [401] * 5 + [429] * 2
    held = client.post("/login", data={"name": "reader", "key": key_of("reader")})
    assert held.status_code == 429
    assert 0 < int(held.headers["Retry-After"]) <= 301
    assert client.get("/api/studies", headers=shows_key("reader")).status_code == 429
    assert client.get("/api/studies", headers=shows_key("lead")).status_code == 200
    for _ in range(7):
        client.get("/api/studies", headers={"Authorization": "Bearer lead.guess"})
    assert client.get("/api/studies", headers=shows_key("lead")).status_code == 200  # seen before: not shut out
    own.now += timedelta(minutes=6)
    sign_in(client, "reader")


def test_signing_in_and_failing_to_are_logged_without_keys(own: Ward) -> None:
    client = opened(own)
    with capture_logs() as logs:
        client.post("/login", data={"name": "reader", "key": "a wrong key"})
        client.post("/login", data={"name": "a key in the wrong field", "key": "x"})
        sign_in(client, "reader")
        client.post("/logout")
    told = [(line["event"], line["name"]) for line in logs]
    assert told == [
        ("sign_in_failed", "reader"),
        ("sign_in_failed", "unknown"),
        ("signed_in", "reader"),
        ("signed_out", "reader"),
    ]
    assert "a wrong key" not in str(logs)
    assert "wrong field" not in str(logs)


def test_what_is_done_stands_under_its_persons_name(own: Ward) -> None:
    client = sign_in(opened(own), "lead")
    detail = client.get(f"/api/studies/{own.uid(1)}").json()
    result_id = detail["versions"][0]["jobs"][0]["result"]["result_id"]
    assert client.post(f"/api/results/{result_id}/recall", json={"reason": "wrong"}).json()["actor"] == "lead"
    client.post(f"/api/studies/{own.uid(1)}/analyse")
    events = client.get(f"/api/studies/{own.uid(1)}").json()["events"]
    assert ("lead", "a new analysis was asked for") in [(one["actor"], one["cause"]) for one in events]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 409),
        ({"Sec-Fetch-Site": "same-origin", "Origin": HOST}, 409),
        ({"Sec-Fetch-Site": "none"}, 409),
        ({"Origin": HOST}, 409),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}, 403),
        ({"Sec-Fetch-Site": "same-site", "Origin": "http://127.0.0.1:9"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
@pytest.mark.parametrize("with_people", [True, False])
def test_another_sites_page_changes_nothing(own: Ward, headers: dict[str, str], status: int, with_people: bool) -> None:
    client = sign_in(opened(own), "lead") if with_people else own.client()
    answer = client.post(f"/api/studies/{own.uid(1)}/complete", headers=headers)
    assert answer.status_code == status
    assert client.get("/api/studies", headers=headers).status_code == 200


def test_another_sites_page_keeps_no_session_alive(own: Ward) -> None:
    client = sign_in(opened(own), "lead")
    own.now += timedelta(minutes=20)
    path, other = f"/api/studies/{own.uid(1)}/complete", {"Origin": "http://127.0.0.1:9", "Sec-Fetch-Site": "same-site"}
    assert "set-cookie" not in client.post(path, headers=other).headers
    assert "set-cookie" in client.post(path).headers


def test_a_viewer_of_another_origin_that_is_set_up_may_store_and_nothing_else(own: Ward) -> None:
    viewer = {"Origin": "https://viewer.example", "Sec-Fetch-Site": "cross-site", **shows_key("reader")}
    client = opened(own, dicomweb_origins="https://viewer.example")
    assert client.post("/dicomweb/studies", headers=viewer).status_code == 415
    assert client.post(f"/api/studies/{own.uid(1)}/complete", headers=viewer).status_code == 403
    refused = client.get("/dicomweb/studies", headers={"Origin": "https://viewer.example"})
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, "https://viewer.example")


TENANTS = (
    '[a]\ncalled_ae_titles = ["A"]\ndestinations = []\n[b]\ncalled_ae_titles = ["B"]\nstow = true\ndestinations = []\n'
)


@pytest.fixture
def two(tmp_path: Path) -> Ward:
    """Study 1 is a's, study 2 is b's."""
    (tmp_path / "tenants.toml").write_text(TENANTS)
    entries = [person(f"{role}-a", role, tenants=("a",)) for role in ROLES]
    entries += [machine("pacs-a", *TASKS, tenants=("a",)), everybody()]
    write_people(tmp_path, *entries)
    ward = Ward(tmp_path)
    for number, tenant in ((1, "a"), (2, "b")):
        ward.analysed(number, found(Flag.URGENT, (0.93, 17.2)))
        ward.store.move(ward.uid(number), Tenant(name=tenant), actor="x", now=ward.now)
    return ward


def test_who_is_of_one_tenant_finds_nothing_of_the_others(two: Ward) -> None:
    client = opened(two, tenants=str(two.folder / "tenants.toml"))
    theirs, others = two.uid(1), two.uid(2)
    result = {
        uid: next(job for version in detail.versions for job in version.jobs).result
        for uid in (theirs, others)
        if (detail := two.store.board.study(uid))
    }
    lead, pacs = shows_key("lead-a"), shows_key("pacs-a")
    assert "FAMILY2" not in client.get("/", headers=lead).text
    for search in ({"search": "FAMILY"}, {"tenant": "b"}, {}):
        rows = client.get("/api/studies", params=search, headers=lead).json()["studies"]
        assert {row["study"]["study_instance_uid"] for row in rows} <= {theirs}
    for headers in (lead, pacs):
        for path in ("/dicomweb/studies", "/dicomweb/instances", "/dicomweb/workitems", "/dicomweb/studies?tenant=b"):
            answer = client.get(path, headers=headers)
            assert not re.search(rf"{re.escape(others)}(?!\d)", answer.text)
            assert answer.status_code in (200, 204)
    refused = [
        ("GET", f"/studies/{others}"),
        ("GET", f"/api/studies/{others}"),
        ("POST", f"/api/studies/{others}/complete"),
        ("POST", f"/api/studies/{others}/analyse"),
        ("GET", f"/api/results/{result[others].objects[0].sop_instance_uid}"),
        ("POST", f"/api/results/{result[others].result_id}/recall"),
        ("GET", f"/dicomweb/studies/{others}"),
        ("GET", f"/dicomweb/studies/{others}/metadata"),
        ("GET", f"/dicomweb/studies/{others}/series"),
        ("GET", "/t/b/dicomweb/studies"),
        ("POST", "/t/b/dicomweb/studies"),
        ("GET", "/t/b/dicomweb/workitems"),
    ]
    for method, path in refused:
        body = {"json": {"reason": "x"}} if path.endswith("recall") else {}
        answer = client.request(method, path, headers=lead, **body)
        empty = path.endswith("/series") and answer.json() == []
        assert answer.status_code == 404 or empty, (method, path, answer.status_code)
    assert client.get(f"/api/studies/{theirs}", headers=lead).status_code == 200
    assert client.get(f"/api/results/{result[theirs].objects[0].sop_instance_uid}", headers=lead).status_code == 200
    everything = client.get("/api/studies", headers=shows_key("lead")).json()["studies"]
    assert len(everything) == 2


def test_who_asks_for_what_is_of_another_tenant_is_in_the_trail_once(two: Ward) -> None:
    client = opened(two, tenants=str(two.folder / "tenants.toml"))
    others = two.store.board.study(two.uid(2))
    result = next(job for version in others.versions for job in version.jobs).result
    began = two.store.audit.head().sequence
    for uid in (two.uid(2), two.uid(2), two.uid(1), "1.2.3.4"):
        client.get(f"/api/studies/{uid}", headers=shows_key("lead-a"))
        client.get(f"/dicomweb/studies/{uid}/metadata", headers=shows_key("pacs-a"))
    client.get(f"/api/results/{result.objects[0].sop_instance_uid}", headers=shows_key("lead-a"))
    client.get("/api/results/1.2.3.4", headers=shows_key("lead-a"))
    for tenant in ("a", "b", "nowhere"):
        client.get(f"/t/{tenant}/dicomweb/studies", headers=shows_key("pacs-a"))
    body = {"reason": "x", "tenant": "b"}
    client.post("/api/models/ct_lung_lesion/switch-off", json=body, headers=shows_key("lead-a"))
    client.get(f"/api/studies/{two.uid(2)}", headers=shows_key("lead"))
    events = [json.loads(one.document) for one in two.store.audit.records(after=began)]
    refused = [one for one in events if one["type"] == "access_refused"]
    assert {one["reason"] for one in refused} == {"not_your_tenant"}
    told = [
        (one["actors"][0]["name"], *(each["object_id"] for each in one["objects"] if each["kind"] != "patient"))
        for one in refused
    ]
    assert told == [
        ("lead-a", "GET /api/studies/{uid}", two.uid(2)),
        ("pacs-a", "GET DICOMWEB/**", two.uid(2)),
        ("lead-a", "GET /api/results/{uid}"),
        ("pacs-a", "GET DICOMWEB/**"),
        ("lead-a", "POST /api/models/**"),
    ]


def test_a_lead_of_one_tenant_switches_and_recalls_for_it_alone(two: Ward) -> None:
    client = opened(two, tenants=str(two.folder / "tenants.toml"))
    lead = shows_key("lead-a")
    body = {"reason": "wrong", "tenant": "b"}
    answer = client.post("/api/models/ct_lung_lesion/switch-off", json=body, headers=lead)
    assert (answer.status_code, answer.json()["code"]) == (403, "not_your_tenant")
    assert client.post("/api/models/ct_lung_lesion/switch-off", json={"reason": "wrong"}, headers=lead).json()[
        "changed"
    ]
    (off,) = two.store.switches.off()
    assert (off.scope.tenant, off.actor) == ("a", "lead-a")
    two.now += timedelta(seconds=1)
    counted = client.post("/api/models/ct_lung_lesion/recall", json={"reason": "x", "dry_run": True}, headers=lead)
    assert counted.json()["results"] == 1


def test_the_local_person_has_every_role() -> None:
    from services.gateway.access.caller import LOCAL

    assert LOCAL.roles == EVERY_ROLE


def test_who_is_of_one_tenant_is_told_of_no_other(two: Ward) -> None:
    client = opened(two, tenants=str(two.folder / "tenants.toml"))
    for path in ("/", "/models"):
        assert ">b<" in client.get(path, headers=shows_key("lead")).text
        assert ">b<" not in client.get(path, headers=shows_key("lead-a")).text
