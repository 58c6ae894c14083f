"""The penetration list of the HTTP side: each attack of the threat model, against a running desk, and refused."""

import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.types import Receive, Scope, Send

from services.gateway.access.rates import Buckets
from services.gateway.http_tls import RenewedContext
from services.gateway.patient_http import limited
from services.triage.finding import Flag
from tests.support.certificates import Authority
from tests.support.live import told_once
from tests.support.people import person, shows_key, sign_in, write_people
from tests.support.served import served
from tests.support.worklist import Ward, found

DEEP = b"[" * 200_000
WIDE = b'{"a":' * 50_000 + b"1" + b"}" * 50_000
XML_BOMB = (
    b'<?xml version="1.0"?><!DOCTYPE b [<!ENTITY a "aaaaaaaaaa">'
    + b"".join(b'<!ENTITY a%d "%s">' % (n, b"&a%d;" % (n - 1) * 10 if n > 1 else b"&a;" * 10) for n in range(1, 10))
    + b"]><b>&a9;</b>"
)
XXE = b'<?xml version="1.0"?><!DOCTYPE b [<!ENTITY x SYSTEM "file:///etc/passwd">]><b>&x;</b>'


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Ward:
    ward = Ward(tmp_path_factory.mktemp("ward"))
    ward.analysed(1, found(Flag.URGENT, (0.93, 17.2)))
    write_people(ward.folder)
    return ward


@pytest.fixture(scope="module")
def app(ward: Ward) -> FastAPI:
    settings = {"people": str(ward.folder / "people.toml"), "requests_per_minute": "0", "max_instance_mb": "1"}
    return told_once(ward.app(**settings))


@pytest.fixture(scope="module")
def desk(app: FastAPI) -> Iterator[str]:
    """The address of a desk with small limits."""
    http = limited(most=20, head_s=0.6, body_s=0.6, body_bytes=1000, answer_s=0.6)
    with served(app, http=http) as address:
        yield address


def host_port(desk: str) -> tuple[str, int]:
    url = httpx.URL(desk)
    return url.host, url.port or 80


def raw(desk: str, *parts: bytes, pause_s: float = 0.0) -> bytes:
    """What a peer is answered that sends these bytes as they are."""
    with socket.create_connection(host_port(desk), timeout=10) as peer:
        for part in parts:
            peer.sendall(part)
            time.sleep(pause_s)
        found = b""
        try:
            while chunk := peer.recv(65536):
                found += chunk
        except ConnectionResetError:
            pass
        return found


def lead() -> dict[str, str]:
    return shows_key("lead")


def is_well(desk: str) -> bool:
    return httpx.get(f"{desk}/healthz").status_code == 200


def test_nobody_unknown_and_nobody_of_another_role_reaches_patients(desk: str, ward: Ward) -> None:
    uid = ward.uid(1)
    for path in (f"/studies/{uid}", f"/api/studies/{uid}", "/dicomweb/studies", f"/dicomweb/studies/{uid}/metadata"):
        assert httpx.get(desk + path).status_code == 401
    for name in ("ops", "auditor", "store", "workitems"):
        assert httpx.get(f"{desk}/dicomweb/studies", headers=shows_key(name)).status_code == 403
    assert (
        httpx.post(f"{desk}/api/models/x/switch-off", json={"reason": "x"}, headers=shows_key("reader")).status_code
        == 403
    )


def test_a_session_that_is_over_opens_nothing_nor_does_one_that_was_changed(tmp_path: Path) -> None:
    own = Ward(tmp_path)
    client = own.client(people=write_people(tmp_path))
    sign_in(client, "reader")
    cookie = client.cookies["vigie_session"]
    for changed in (cookie[:-2] + "xx", cookie.swapcase(), "", "a.b.c", cookie.split(".")[0]):
        assert client.get("/", headers={"Cookie": f"vigie_session={changed}"}).status_code == 401
    own.now += timedelta(hours=13)
    assert client.get("/", headers={"Cookie": f"vigie_session={cookie}"}).status_code == 401


@pytest.mark.parametrize(
    "root", ["/static/", "/ohif/", "/dicomweb/", "/dicomweb/studies/", "/t/", "/studies/", "/api/"]
)
@pytest.mark.parametrize(
    "below",
    [
        "../../../../etc/passwd",
        "..%2f..%2f..%2f..%2fetc%2fpasswd",
        "%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "..%252f..%252fetc%252fpasswd",
        "..\\..\\etc\\passwd",
        "..%5c..%5cetc%5cpasswd",
        "/etc/passwd",
        "%2fetc%2fpasswd",
        "vigie.css%00.html",
        "....//....//etc/passwd",
    ],
)
def test_no_path_leads_out_of_its_folder(desk: str, root: str, below: str) -> None:
    head = "".join(f"{name}: {value}\r\n" for name, value in lead().items())
    asked = f"GET {root}{below} HTTP/1.1\r\nHost: {desk[7:]}\r\n{head}Connection: close\r\n\r\n"
    answer = raw(desk, asked.encode())
    assert b"root:" not in answer
    assert answer.split(b" ")[1] in (b"200", b"303", b"400", b"403", b"404", b"405", b"422")


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\n\r\n",  # no Host
        b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1@evil.example\r\n\r\n",
        b"GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        b"POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        b"POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: a\rb\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: a\x00b\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"X: y\r\n" * 5000 + b"\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # a TLS client
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
    ids=lambda head: repr(head[:60]),
)
def test_a_head_that_two_servers_may_read_in_two_ways_is_refused(desk: str, head: bytes) -> None:
    answer = raw(desk, head)
    assert answer == b"" or answer.split(b" ")[1] in (b"400", b"401", b"404")
    assert b"evil.example" not in answer.lower().replace(b"host: evil.example", b"")
    assert is_well(desk)


def test_a_split_answer_cannot_be_made_by_a_parameter(desk: str) -> None:
    wanted = "/x%0d%0aSet-Cookie:%20a=b"
    answer = raw(
        desk, f"GET {wanted} HTTP/1.1\r\nHost: {desk[7:]}\r\nAccept: text/html\r\nConnection: close\r\n\r\n".encode()
    )
    assert b"\nset-cookie" not in answer.lower()


def routes_with_bodies(app: FastAPI) -> list[tuple[str, str]]:
    found = []
    for route in iter_route_contexts(app.routes):
        path = str(route.path)
        is_stow = path.endswith(("/studies", "/studies/{study}")) and "dicom" in path
        if path.startswith("/dicom-web"):
            continue  # the same under its older name
        for method in (route.methods or set()) & {"POST", "PUT", "DELETE"}:
            if not is_stow:
                for name in ("{uid}", "{study}", "{result_id}", "{tenant}", "{workitem}"):
                    path = path.replace(name, "1.2.3")
                found.append((method, path))
    return found


@pytest.mark.parametrize(
    ("media_type", "body"),
    [
        ("application/json", DEEP),
        ("application/json", WIDE),
        ("application/json", b'{"reason": ' + b"9" * 900_000 + b"}"),
        ("application/json", b'{"reason": NaN, "reason": Infinity, "x": "\\ud800"}'),
        ("application/dicom+json", DEEP),
        ("application/xml", XML_BOMB),
        ("application/dicom+xml", XXE),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\n\r\n" * 10_000),
        ("application/x-www-form-urlencoded", b"a=b&" * 200_000),
        ("application/x-www-form-urlencoded", b"%" * 100_000),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_a_bomb_is_refused_by_every_route_that_parses(desk: str, app: FastAPI, media_type: str, body: bytes) -> None:
    routes = routes_with_bodies(app)
    assert len(routes) > 15
    wrong = {}
    with httpx.Client(base_url=desk, headers=lead() | {"Content-Type": media_type}, timeout=20) as client:
        for method, path in routes:
            if path == "/logout":
                continue
            answer = client.request(method, path, content=body)
            if answer.status_code in (500, 502, 504) or "root:" in answer.text:
                wrong[method, path] = answer.status_code
    assert wrong == {}
    assert is_well(desk)


def test_a_body_of_more_than_a_megabyte_is_refused_by_every_route_but_stow(desk: str) -> None:
    large = b'{"reason": "' + b"x" * 1_100_000 + b'"}'

    def chunked() -> Iterator[bytes]:
        yield large

    form = {"Content-Type": "application/x-www-form-urlencoded"}
    with httpx.Client(base_url=desk, headers=lead() | {"Content-Type": "application/json"}, timeout=20) as client:
        told = [
            client.post("/api/models/x/switch-off", content=large),
            client.post("/api/models/x/switch-off", content=chunked()),
            client.post("/dicomweb/workitems", content=large),
            client.post("/login", content=b"name=" + large, headers=form),
            client.post("/preferences", content=b"theme=" + large, headers=form),
        ]
    assert [answer.status_code for answer in told] == [413] * 5
    assert told[0].json()["code"] == "too_large"


def test_stow_takes_no_more_parts_than_allowed(ward: Ward) -> None:
    client = ward.client(people=str(ward.folder / "people.toml"), max_stow_parts="3")
    part = b"--b\r\nContent-Type: application/dicom\r\n\r\nx\r\n"
    head = shows_key("store") | {"Content-Type": 'multipart/related; type="application/dicom"; boundary=b'}
    told = [client.post("/dicomweb/studies", content=part * n + b"--b--", headers=head) for n in (3, 4)]
    assert [answer.status_code for answer in told] == [409, 413]
    assert told[1].json()["code"] == "too_many_parts"


HEAD = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n"


def lasts_s(desk: str, first: bytes, drip: bytes) -> float:
    """How long a peer is kept that sends a beginning, and then a byte now and then."""
    began = time.monotonic()
    with socket.create_connection(host_port(desk), timeout=10) as peer:
        peer.sendall(first)
        try:
            while time.monotonic() - began < 5:
                peer.sendall(drip)
                peer.settimeout(0.1)
                try:
                    if peer.recv(65536) == b"":
                        break
                except TimeoutError:
                    continue
        except (ConnectionResetError, BrokenPipeError):
            pass
    return time.monotonic() - began


@pytest.mark.parametrize(
    ("first", "drip"),
    [
        (b"", b""),
        (b"G", b""),
        (HEAD, b"X"),
        (HEAD, b"X: y\r\n"),
        (HEAD + b"\r\n" + HEAD, b"X"),  # the second request of a connection
        (b"POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 900000\r\n\r\n", b"x"),
        (b"POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        (b"POST /dicomweb/studies HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 900000\r\n\r\n", b"x"),
    ],
    ids=["nothing", "a letter", "half a header", "header after header", "second request", "form", "chunks", "refused"],
)
def test_slowloris_holds_a_connection_for_no_longer_than_the_limits(desk: str, first: bytes, drip: bytes) -> None:
    assert lasts_s(desk, first, drip) < 3
    assert is_well(desk)


def test_who_does_not_read_the_answer_is_not_waited_for() -> None:
    cut = threading.Event()

    async def large(_scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while not cut.is_set():
            await send({"type": "http.response.body", "body": b"x" * 30_000_000, "more_body": True})
            if (await receive())["type"] == "http.disconnect":
                cut.set()

    with served(large, http=limited(answer_s=0.6)) as address, socket.create_connection(host_port(address)) as peer:
        peer.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert cut.wait(10)


def test_more_connections_than_allowed_are_told_to_come_again(desk: str) -> None:
    held = [socket.create_connection(host_port(desk), timeout=5) for _ in range(20)]
    try:
        assert raw(desk).startswith(b"HTTP/1.1 503")
    finally:
        for each in held:
            each.close()
    time.sleep(0.1)
    assert is_well(desk)


def test_a_page_that_waits_for_events_is_not_taken_for_a_slow_one(desk: str) -> None:
    with httpx.stream("GET", f"{desk}/events", headers=shows_key("reader"), timeout=10) as answer:
        assert answer.status_code == 200
        began = time.monotonic()
        for _ in answer.iter_raw():
            if time.monotonic() - began > 1.0:
                break


def test_one_caller_that_asks_without_end_is_held_off_and_others_are_not(ward: Ward) -> None:
    client = ward.client(people=str(ward.folder / "people.toml"), requests_per_minute="20")
    statuses = [client.get("/api/studies", headers=lead()).status_code for _ in range(25)]
    assert statuses[:20] == [200] * 20
    assert statuses[-1] == 429
    held = client.get("/dicomweb/studies", headers=lead())
    assert (held.status_code, held.json()["code"]) == (429, "too_many_requests")
    assert int(held.headers["Retry-After"]) in range(1, 5)
    assert client.get("/api/studies", headers=shows_key("reader")).status_code == 200
    # images of a study that is open are not counted: a viewer asks for 2,000 of them
    frames = f"/dicomweb/studies/{ward.uid(1)}/series/1.2/instances/1.2.3/frames/1"
    assert {client.get(frames, headers=lead()).status_code for _ in range(30)} == {404}
    assert client.get("/static/vigie.css").status_code == 200
    begun = [client.get("/login/oidc", follow_redirects=False).status_code for _ in range(25)]
    assert (begun[0], begun[-1]) == (303, 429)


def test_a_bucket_fills_evenly_and_forgets_whom_it_has_not_seen() -> None:
    now = 0.0
    buckets = Buckets(60, lambda: now)
    assert [buckets.wait_s("a") for _ in range(60)] == [0.0] * 60
    assert buckets.wait_s("a") == pytest.approx(1.0)
    now = 1.0
    assert (buckets.wait_s("a"), buckets.wait_s("a") > 0) == (0.0, True)
    for n in range(10_001):
        buckets.wait_s(str(n))
    assert buckets.wait_s("a") == 0.0


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1.evil.example"])
def test_no_other_sites_page_changes_anything(desk: str, ward: Ward, origin: str) -> None:
    for path in ("/login", "/logout", "/preferences", f"/api/studies/{ward.uid(1)}/analyse", "/dicomweb/studies"):
        for head in ({"Origin": origin}, {"Origin": origin, "Sec-Fetch-Site": "cross-site"}):
            assert httpx.post(desk + path, headers=lead() | head).status_code == 403


@pytest.mark.parametrize("wanted", ["https://evil.example", "//evil.example", "/\\evil.example", "/%09/evil.example"])
def test_no_next_leads_to_another_site(desk: str, wanted: str) -> None:
    told = {"name": "reader", "key": "reader.key-of-reader"}
    answer = httpx.post(f"{desk}/login", params={"next": wanted}, data=told)
    where = httpx.URL(desk).join(answer.headers["location"])
    assert where.host == "127.0.0.1"
    back = httpx.post(f"{desk}/preferences", data={"back": wanted, "theme": "dark"})
    assert back.status_code == 422 or httpx.URL(desk).join(back.headers["location"]).host == "127.0.0.1"


def test_over_tls_a_browser_is_told_to_come_by_tls_alone(ward: Ward) -> None:
    assert "Strict-Transport-Security" not in ward.client().get("/").headers
    assert ward.client(https="true").get("/").headers["Strict-Transport-Security"] == "max-age=31536000"


def test_our_own_tls_is_new_enough_and_a_renewed_certificate_needs_no_restart(ward: Ward, tmp_path: Path) -> None:
    first, second = Authority(tmp_path / "first"), Authority(tmp_path / "second")
    given = first.certificate("127.0.0.1")
    tls = RenewedContext(given.certificate, given.key)
    with served(ward.app(), tls=tls.context) as address:
        assert httpx.get(f"{address}/healthz", verify=ssl.create_default_context(cafile=first.ca)).status_code == 200
        assert "Strict-Transport-Security" in httpx.get(f"{address}/login", verify=False).headers
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises((ssl.SSLError, OSError)), socket.create_connection(host_port(address)) as peer:
            old.wrap_socket(peer)
        given.key.write_text("broken")
        assert httpx.get(f"{address}/healthz", verify=ssl.create_default_context(cafile=first.ca)).status_code == 200
        renewed = second.certificate("127.0.0.1")
        given.certificate.write_bytes(renewed.certificate.read_bytes())
        given.key.write_bytes(renewed.key.read_bytes())
        assert httpx.get(f"{address}/healthz", verify=ssl.create_default_context(cafile=second.ca)).status_code == 200


def test_what_is_sent_is_not_sent_back(desk: str) -> None:
    marker = "<script>alert(1)</script>"
    for path in (f"/login?next=/{marker}", f"/?search={marker}", f"/studies/{marker}", f"/api/studies?state={marker}"):
        answer = httpx.get(desk + path, headers=lead() | {"Accept": "text/html"}, follow_redirects=True)
        assert marker not in answer.text
    assert json.loads(httpx.get(f"{desk}/api/studies?limit={marker}", headers=lead()).text)["code"] == "invalid_request"


def test_a_person_of_the_file_cannot_be_named_as_one_of_the_provider(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="a name has"):
        Ward(tmp_path).app(people=write_people(tmp_path, person('"oidc:c.martin"', "lead")))
