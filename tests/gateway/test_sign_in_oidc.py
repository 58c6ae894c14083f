"""People sign in at an identity provider, and nobody else does by what looks like it."""

import base64
import hmac
import json
from collections.abc import Iterator
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from joserfc import jwt
from joserfc.jwk import RSAKey
from structlog.testing import capture_logs

from services.triage.finding import Flag
from tests.support.oidc import CLIENT_ID, SECRET, Provider, oidc_toml, provider, sign_in_there
from tests.support.people import key_of, person, shows_key, sign_in, write_people
from tests.support.worklist import Ward, found

HOST = "http://127.0.0.1:8000"
PAGE = {"Accept": "text/html"}


@pytest.fixture(scope="module")
def running() -> Iterator[Provider]:
    with provider() as there:
        yield there


@pytest.fixture
def idp(running: Provider, ward: Ward) -> Iterator[Provider]:
    running.now = lambda: ward.now.timestamp()
    yield running
    running.claims, running.spoil, running.sign, running.away = {}, {}, None, False


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Ward:
    ward = Ward(tmp_path_factory.mktemp("ward"))
    ward.analysed(1, found(Flag.URGENT, (0.93, 17.2)))
    return ward


def desk(ward: Ward, idp: Provider, *, more: str = "", **settings: str) -> TestClient:
    return TestClient(_app(ward, idp.issuer, more, tuple(settings.items())), base_url=HOST)


_APPS: dict[object, FastAPI] = {}


def _app(ward: Ward, issuer: str, more: str, settings: tuple[tuple[str, str], ...]) -> FastAPI:
    """Made once: desks with the same settings are one."""
    key = (ward.folder, issuer, more, settings)
    if key not in _APPS:
        path = ward.folder / f"oidc-{sha256(more.encode()).hexdigest()[:8]}.toml"
        path.write_text(oidc_toml(issuer, more=more))
        _APPS[key] = ward.app(oidc=str(path), oidc_client_secret=SECRET, **dict(settings))
    return _APPS[key]


def error_on(page: str) -> str:
    return page.partition('role="alert">')[2].partition("</p>")[0].replace("&#39;", "'")


def test_a_person_signs_in_there_and_is_led_to_what_they_wanted(ward: Ward, idp: Provider) -> None:
    client = desk(ward, idp)
    wanted = f"/studies/{ward.uid(1)}"
    led = client.get(wanted, headers=PAGE)
    assert (led.status_code, "Sign in with the hospital&#39;s account" in led.text) == (200, True)
    assert 'name="key"' not in led.text
    back = sign_in_there(client, idp, wanted=wanted)
    assert (back.status_code, back.headers["location"]) == (303, wanted)
    page = client.get(wanted)
    assert "FAMILY1" in page.text
    assert "Dr Claire Martin" in page.text
    assert client.get("/login", follow_redirects=False).headers["location"] == "/"


def test_what_they_do_stands_under_a_name_that_nobody_of_the_people_file_can_have(ward: Ward, idp: Provider) -> None:
    idp.claims = {"roles": ["vigie-lead", "something else"]}
    client = desk(ward, idp)
    sign_in_there(client, idp)
    client.post(f"/api/studies/{ward.uid(1)}/analyse")
    events = client.get(f"/api/studies/{ward.uid(1)}").json()["events"]
    assert "oidc:c.martin" in [one["actor"] for one in events]
    with pytest.raises(Exception, match="a name has"):
        ward.client(people=write_people(ward.folder, person('"oidc:c.martin"', "reader")))


def test_both_ways_are_in_force_together(ward: Ward, idp: Provider) -> None:
    client = desk(ward, idp, people=write_people(ward.folder))
    page = client.get("/login").text
    assert "Sign in with" in page
    assert 'name="key"' in page
    sign_in(client, "lead")
    assert client.get("/").status_code == 200
    assert client.get("/api/studies", headers=shows_key("reader")).status_code == 200
    client.cookies.clear()
    sign_in_there(client, idp)
    assert client.get("/").status_code == 200


def test_without_people_there_is_no_key_that_opens(ward: Ward, idp: Provider) -> None:
    client = desk(ward, idp)
    assert client.post("/login", data={"name": "reader", "key": key_of("reader")}).status_code == 401
    assert client.get("/api/studies", headers=shows_key("reader")).status_code == 401


@pytest.mark.parametrize(
    ("claims", "told"),
    [
        ({"roles": ["radiology", "everyone"]}, "none of your roles there opens anything in Vigie"),
        ({"roles": None}, "none of your roles there opens anything in Vigie"),
        ({"roles": {"vigie-reader": True}}, "none of your roles there opens anything in Vigie"),
        ({"preferred_username": "../../etc^passwd"}, "cannot stand in Vigie's histories"),
        ({"preferred_username": "n" * 70}, "cannot stand in Vigie's histories"),
        ({"preferred_username": None}, "cannot stand in Vigie's histories"),
    ],
)
def test_who_may_do_nothing_here_is_told_so_in_words(
    ward: Ward, idp: Provider, claims: dict[str, Any], told: str
) -> None:
    idp.claims = claims
    client = desk(ward, idp)
    answer = sign_in_there(client, idp)
    assert (answer.status_code, "vigie_session" in client.cookies) == (403, False)
    assert told in error_on(answer.text)
    assert client.get("/").status_code == 401


def test_a_name_stays_its_first_persons_for_good(ward: Ward, idp: Provider) -> None:
    client = desk(ward, idp)
    assert sign_in_there(client, idp).status_code == 303
    client.cookies.clear()
    idp.claims = {"sub": "another person", "preferred_username": "C.Martin"}
    answer = sign_in_there(client, idp)
    assert answer.status_code == 403
    assert "somebody else has worked in Vigie under your name before" in error_on(answer.text)


def test_roles_by_a_path_of_claims_and_tenants_by_a_mapping(ward: Ward, idp: Provider, tmp_path: Path) -> None:
    tenants = tmp_path / "tenants.toml"
    tenants.write_text(
        '[a]\ncalled_ae_titles = ["A"]\ndestinations = []\n[b]\ncalled_ae_titles = ["B"]\ndestinations = []\n'
    )
    more = 'roles_claim = ["realm_access", "roles"]\ntenants_claim = "hospitals"\nevery_tenant = ["region"]\n'
    more += 'tenants = {a = ["Hospital A", "A2"], b = ["Hospital B"]}\n'
    client = desk(ward, idp, more=more, tenants=str(tenants))
    seen = {}
    for number, hospitals in enumerate((["A2"], ["Hospital A", "Hospital B", "Hospital C"], ["region"], ["x"], None)):
        name = f"person-{number}"
        idp.claims = {
            "realm_access": {"roles": ["vigie-reader"]}, "roles": None, "hospitals": hospitals, "sub": name,
            "preferred_username": name,
        }  # fmt: skip
        answer = sign_in_there(client, idp)
        seen[number] = answer.status_code
        if answer.status_code == 303:
            studies = client.get("/api/studies").json()["studies"]
            seen[number] = len(studies)
        client.cookies.clear()
    assert seen == {0: 0, 1: 0, 2: 1, 3: 403, 4: 403}  # the study is no tenant's


def none_signed(claims: dict[str, Any]) -> str:
    head, body = ({"alg": "none", "typ": "JWT"}, claims)
    return ".".join((*(_b64(json.dumps(each).encode()) for each in (head, body)), ""))


def signed_by_the_public_key(key: RSAKey) -> Any:
    """The old confusion: HMAC with the public key, which everybody has, as its secret."""

    def sign(claims: dict[str, Any]) -> str:
        head = _b64(json.dumps({"alg": "HS256", "kid": "1"}).encode())
        text = f"{head}.{_b64(json.dumps(claims).encode())}"
        return f"{text}.{_b64(hmac.digest(key.as_pem(private=False), text.encode(), 'sha256'))}"

    return sign


def signed_by_another(claims: dict[str, Any]) -> str:
    return jwt.encode({"alg": "RS256", "kid": "1"}, claims, RSAKey.generate_key(2048))


def _b64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


@pytest.mark.parametrize(
    "spoil",
    [
        {"nonce": "another"},
        {"nonce": None},
        {"aud": "another-client"},
        {"aud": ["another-client"]},
        {"aud": [CLIENT_ID, "another-client"]},  # without azp
        {"azp": "another-client"},
        {"iss": "https://evil.example"},
        {"at_hash": "AAAA"},
        {"exp": 1},
        {"exp": None},
        {"exp": "never"},
        {"iat": 9_999_999_999},
        {"nbf": 9_999_999_999},
        {"sub": None},
        {"sub": 5},
    ],
    ids=str,
)
def test_an_id_token_that_is_not_for_this_sign_in_opens_nothing(
    ward: Ward, idp: Provider, spoil: dict[str, Any]
) -> None:
    idp.spoil = spoil
    client = desk(ward, idp)
    answer = sign_in_there(client, idp)
    assert (answer.status_code, "vigie_session" in client.cookies) == (401, False)
    assert "did not prove who you are" in error_on(answer.text)


@pytest.mark.parametrize("how", ["none", "public key", "another key", "nonsense", "unknown kid"])
def test_an_id_token_that_the_provider_has_not_signed_opens_nothing(ward: Ward, idp: Provider, how: str) -> None:
    idp.sign = {
        "none": none_signed,
        "public key": signed_by_the_public_key(idp.key),
        "another key": signed_by_another,
        "nonsense": lambda _: "eyJ.eyJ.x",
        "unknown kid": lambda claims: idp.signed(claims, header={"alg": "RS256", "kid": "2"}),
    }[how]
    client = desk(ward, idp)
    answer = sign_in_there(client, idp)
    assert (answer.status_code, "vigie_session" in client.cookies) == (401, False)


def test_a_key_that_the_provider_changed_is_found(ward: Ward, idp: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    from services.backends.oidc import provider as module

    monkeypatch.setattr(module, "_NEW_KEYS_S", 0.0)
    client = desk(ward, idp, max_stow_parts="8")  # of its own: it knows the new key alone afterwards
    sign_in_there(client, idp)
    client.cookies.clear()
    old, idp.key = idp.key, RSAKey.generate_key(2048, {"kid": "2", "use": "sig"})
    idp.sign = lambda claims: idp.signed(claims, header={"alg": "RS256", "kid": "2"})
    try:
        assert sign_in_there(client, idp).status_code == 303
    finally:
        idp.key = old


def test_a_code_without_the_state_that_this_browser_was_sent_off_with_is_refused(ward: Ward, idp: Provider) -> None:
    client, other = desk(ward, idp), desk(ward, idp)
    back = idp.code_for(client.get("/login/oidc", follow_redirects=False).headers["location"])
    idp.asked.clear()
    for address, browser in (
        (back.replace("state=", "state=x"), client),
        (back.partition("&state=")[0], client),
        (back, other),
        ("/login/oidc/callback", client),
        (back + "é", client),
    ):
        answer = browser.get(address, follow_redirects=False)
        assert (answer.status_code, "vigie_session" in browser.cookies) == (400, False)
        assert "Begin again here" in error_on(answer.text)
    assert "/token" not in idp.asked
    assert client.get(back, follow_redirects=False).status_code == 303


def test_a_code_is_good_for_once_and_for_ten_minutes(
    ward: Ward, idp: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = desk(ward, idp)
    back = idp.code_for(client.get("/login/oidc", follow_redirects=False).headers["location"])
    cookie = client.cookies["vigie_oidc"]
    assert client.get(back, follow_redirects=False).status_code == 303
    assert client.get(back, follow_redirects=False).status_code == 400  # the browser has forgotten where it was
    client.cookies.clear()
    client.cookies["vigie_oidc"] = cookie
    assert client.get(back, follow_redirects=False).status_code == 401  # the provider has not
    assert "vigie_session" not in client.cookies
    late = desk(ward, idp)
    back = idp.code_for(late.get("/login/oidc", follow_redirects=False).headers["location"])
    from services.gateway.access import provider_sign_in

    monkeypatch.setattr(provider_sign_in, "_AWAY_S", -1)
    assert late.get(back, follow_redirects=False).status_code == 400


@pytest.mark.parametrize("wanted", ["https://evil.example/", "//evil.example", "/\\evil.example", "/\t/evil.example"])
def test_nobody_is_led_on_to_another_site(ward: Ward, idp: Provider, wanted: str) -> None:
    assert sign_in_there(desk(ward, idp), idp, wanted=wanted).headers["location"] == "/"


def test_who_turns_back_at_the_provider_is_told_so_and_nothing_of_theirs_is_shown(ward: Ward, idp: Provider) -> None:
    client = desk(ward, idp)
    for error, status, told in (
        ("access_denied", 403, "You did not sign in"),
        ("<script>alert(1)</script>", 401, "did not prove who you are"),
    ):
        state = client.get("/login/oidc", follow_redirects=False).headers["location"].partition("&state=")[2]
        asked = {"state": state.partition("&")[0], "error": error, "error_description": "<b>"}
        answer = client.get("/login/oidc/callback", params=asked)
        assert answer.status_code == status
        assert told in error_on(answer.text)
        assert "alert(1)" not in answer.text


def test_while_the_provider_is_away_sign_in_says_so_and_sessions_go_on(ward: Ward, idp: Provider) -> None:
    client = desk(ward, idp, people=write_people(ward.folder))
    sign_in_there(client, idp)
    idp.away = True
    assert client.get("/").status_code == 200
    late = desk(
        ward, idp, more="algorithms = ['RS256']", people=str(ward.folder / "people.toml")
    )  # has asked nothing yet
    answer = late.get("/login/oidc")
    assert (answer.status_code, "Nobody answers at the hospital's account now" in error_on(answer.text)) == (503, True)
    told = late.get("/api/studies", headers={"Authorization": f"Bearer {idp.access_token()}"})
    assert (told.status_code, told.json()["code"]) == (503, "provider_unavailable")
    assert "Retry-After" in told.headers
    sign_in(late, "reader")
    assert late.get("/").status_code == 200


def test_signing_out_ends_the_session_here_and_leads_on_to_the_provider(ward: Ward, idp: Provider) -> None:
    client = desk(ward, idp)
    sign_in_there(client, idp)
    copy = client.cookies["vigie_session"]
    answer = client.post("/logout", follow_redirects=False)
    assert answer.status_code == 200
    assert f"{idp.issuer}/logout?id_token_hint=" in answer.text
    assert "post_logout_redirect_uri=http%3A%2F%2F127.0.0.1%3A8000%2Flogin" in answer.text
    assert "Dr Claire Martin" not in answer.text
    assert client.get("/", headers={"Cookie": f"vigie_session={copy}"}).status_code == 401


def test_a_session_ends_as_others_do_and_when_the_file_changes(ward: Ward, idp: Provider) -> None:
    client = desk(ward, idp)
    sign_in_there(client, idp)
    cookie = {"Cookie": f"vigie_session={client.cookies['vigie_session']}"}
    another = desk(ward, idp, max_stow_parts="7")  # on the same database
    assert another.get("/", headers=cookie).status_code == 200
    assert desk(ward, idp, more='roles_claim = "groups"').get("/", headers=cookie).status_code == 401
    assert ward.client(people=write_people(ward.folder)).get("/", headers=cookie).status_code == 401
    ward.now += timedelta(minutes=31)
    assert client.get("/").status_code == 401


def test_a_machine_comes_with_an_access_token(ward: Ward, idp: Provider) -> None:
    client = desk(ward, idp)
    machine = {"Authorization": f"Bearer {idp.access_token(aud=['vigie-api', 'another'])}"}
    assert client.get("/dicomweb/studies", headers=machine).status_code == 200
    assert client.post("/dicomweb/studies", headers=machine).status_code == 403
    assert client.get("/api/studies", headers=machine).status_code == 403
    store = {"Authorization": f"Bearer {idp.access_token(scope='openid vigie.store')}"}
    assert client.post("/dicomweb/studies", headers=store).status_code == 415


@pytest.mark.parametrize(
    "spoil",
    [
        {"exp": 1},
        {"exp": None},
        {"nbf": 9_999_999_999},
        {"aud": CLIENT_ID},  # an ID token
        {"aud": None},
        {"iss": "https://evil.example"},
        {"iss": None},
        {"scope": "openid"},
        {"scope": None},
        {"azp": None},
        {"azp": "a/b"},
    ],
    ids=str,
)
def test_an_access_token_that_is_not_for_us_is_refused(ward: Ward, idp: Provider, spoil: dict[str, Any]) -> None:
    client = desk(ward, idp)
    told = {"Authorization": f"Bearer {idp.access_token(**spoil)}"}
    assert client.get("/dicomweb/studies", headers=told).status_code == 401


@pytest.mark.parametrize("how", ["none", "public key", "another key", "cut", "long"])
def test_an_access_token_that_the_provider_has_not_signed_is_refused(ward: Ward, idp: Provider, how: str) -> None:
    client = desk(ward, idp)
    good = idp.access_token()
    claims = json.loads(base64.urlsafe_b64decode(good.split(".")[1] + "=="))
    token = {
        "none": lambda: none_signed(claims),
        "public key": lambda: signed_by_the_public_key(idp.key)(claims),
        "another key": lambda: signed_by_another(claims),
        "cut": lambda: good[:-3],
        "long": lambda: idp.access_token(padding="x" * 30_000),
    }[how]()
    assert client.get("/dicomweb/studies", headers={"Authorization": f"Bearer {token}"}).status_code == 401


def told(ward: Ward, after: int) -> list[tuple[str, str]]:
    records = [json.loads(one.document) for one in ward.store.audit.records(after=after)]
    return [(one["type"], one["reason"]) for one in records]


def test_tokens_and_keys_that_nobody_has_fill_no_trail_and_shut_out_nobody(ward: Ward, idp: Provider) -> None:
    client = desk(ward, idp, requests_per_minute="5")
    ward.now += timedelta(hours=1)  # in a window of its own
    began = ward.store.audit.head().sequence
    statuses = []
    frames = "/dicomweb/studies/1.2/metadata"
    for shown in ["a.b.c", "a-key"] * 15:
        statuses.append(client.get(frames, headers={"Authorization": f"Bearer {shown}"}).status_code)
        client.get("/static/nothing", headers={"Authorization": f"Bearer {shown}"})
    assert (statuses[:5], statuses[-1]) == ([401] * 5, 429)
    assert client.get("/login/oidc/callback?state=x&code=y").status_code == 400
    assert client.get("/login/oidc/callback?state=z&code=y").status_code == 400
    assert sorted(told(ward, began)) == [
        ("access_refused", "not_signed_in"),
        ("access_refused", "too_many_requests"),
        ("sign_in", "invalid_token"),
        ("sign_in", "no_keys"),
        ("sign_in", "wrong_state"),
    ]
    machine = {"Authorization": f"Bearer {idp.access_token()}"}
    assert client.get("/dicomweb/studies", headers=machine).status_code == 200
    assert client.get("/studies/1.2", headers=PAGE, follow_redirects=False).status_code == 303


def test_what_happens_is_logged_without_tokens_codes_or_names_that_are_nobodys(ward: Ward, idp: Provider) -> None:
    client = desk(ward, idp)
    with capture_logs() as logs:
        sign_in_there(client, idp)
        client.post("/logout")
        idp.claims = {"roles": ["x"], "preferred_username": "curious"}
        sign_in_there(client, idp)
        client.get("/dicomweb/studies", headers={"Authorization": f"Bearer {idp.access_token(exp=1)}"})
    told = [(line["event"], line["name"], line.get("way"), line.get("reason")) for line in logs]
    assert told == [
        ("signed_in", "oidc:c.martin", "oidc", None),
        ("signed_out", "oidc:c.martin", None, None),
        ("sign_in_failed", "unknown", "oidc", "no_role"),
        ("sign_in_failed", "unknown", "token", "expired_token"),
    ]
    assert "eyJ" not in str(logs)
