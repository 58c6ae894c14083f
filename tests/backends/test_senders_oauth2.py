"""STOW-RS with OAuth 2.0 client credentials: Authlib's server gives tokens, a gate before Orthanc asks for them."""

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
import trustme

from services.backends.part10 import digest
from services.backends.senders import StowSender
from services.backends.web import auth_from, credentials
from services.triage.errors import DestinationUnavailable
from tests.support.ct import ct_series, write_series
from tests.support.oauth2 import CLIENT_ID, CLIENT_SECRET, SCOPE, Provider, provider
from tests.support.orthanc import orthanc
from tests.support.peers import free_port

OURS = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "scope": SCOPE}


@pytest.fixture
def files(tmp_path: Path) -> list[tuple[str, str, Path]]:
    series = ct_series(slices=2)
    paths = write_series(series, tmp_path / "frozen")
    return [(ds.SOPClassUID, ds.SOPInstanceUID, path) for ds, path in zip(series, paths, strict=True)]


class Gate:
    """What came through to the server, and how often it was refused."""

    def __init__(self) -> None:
        self.url, self.bodies, self.refused = "", [], 0


@contextmanager
def gate(tokens: Provider, behind: str | None = None) -> Iterator[Gate]:
    """Lets requests with a valid token through, to a DICOMweb server where there is one."""
    seen = Gate()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body, status, answer = self.rfile.read(int(self.headers["Content-Length"])), 401, b""
            if tokens.takes(self.headers["Authorization"]):
                status = 200
                seen.bodies.append(body)
                if behind:
                    passed = {key: self.headers[key] for key in ("Content-Type", "Accept")}
                    reply = httpx.post(f"{behind}/studies", content=body, headers=passed, timeout=30)
                    status, answer = reply.status_code, reply.content
            else:
                seen.refused += 1
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        seen.url = f"http://127.0.0.1:{http.server_address[1]}/dicom-web"
        try:
            yield seen
        finally:
            http.shutdown()
            thread.join()


def sender(folder: Path, url: str, ca: Path | None = None, **table: str) -> StowSender:
    credentials = folder / "credentials.toml"
    lines = [f'{key} = """{value}"""' for key, value in table.items()]
    credentials.write_text("\n".join([f'["{url}"]', *lines]))
    return StowSender(url=url, credentials=credentials, ca=ca)


@pytest.mark.system
def test_a_server_behind_a_token_keeps_the_frozen_bytes_and_one_token_does_for_many_results(tmp_path, files):
    with orthanc(tmp_path / "pacs") as pacs, provider() as tokens, gate(tokens, pacs.dicomweb) as door:
        sending = sender(tmp_path, door.url, token_url=tokens.token_url, **OURS)
        sending.send(files[:1])
        sending.send(files[1:])
        names = httpx.get(f"{pacs.rest}/instances").json()
        kept = [httpx.get(f"{pacs.rest}/instances/{name}/file").content for name in names]
    assert sorted(map(digest, kept)) == sorted(digest(path.read_bytes()) for _, _, path in files)
    assert (tokens.asked, door.refused) == (1, 0)


def test_a_token_is_replaced_before_it_expires(tmp_path, files):
    with provider() as tokens, gate(tokens) as door:
        tokens.lives_s = 0
        sending = sender(tmp_path, door.url, token_url=tokens.token_url, **OURS)
        sending.send(files)
        sending.send(files)
    assert (tokens.asked, door.refused, len(door.bodies)) == (2, 0, 2)


def test_a_token_that_is_refused_is_replaced_once_and_the_whole_body_is_sent_again(tmp_path, files):
    with provider() as tokens, gate(tokens) as door:
        sending = sender(tmp_path, door.url, token_url=tokens.token_url, **OURS)
        sending.send(files)
        tokens.revoked.update(tokens.tokens)
        sending.send(files)
    assert (tokens.asked, door.refused) == (2, 1)
    assert all(path.read_bytes() in body for body in door.bodies for _, _, path in files)


def test_a_server_that_refuses_a_fresh_token_is_tried_again_later(tmp_path, files):
    with provider() as elsewhere, provider() as tokens, gate(elsewhere) as door:
        sending = sender(tmp_path, door.url, token_url=tokens.token_url, **OURS)
        with pytest.raises(DestinationUnavailable, match="HTTP 401"):
            sending.send(files)
    assert (tokens.asked, door.refused) == (1, 1)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"client_secret": "wr0ng"}, "gave no token: HTTP 401 invalid_client"),
        ({"client_id": "nobody"}, "gave no token: HTTP 401 invalid_client"),
        ({"scope": "admin"}, "gave no token: HTTP 400 invalid_scope"),
    ],
)
def test_credentials_that_are_refused_are_told_by_code_and_without_secrets(tmp_path, files, changed, told):
    with provider() as tokens, gate(tokens) as door:
        sending = sender(tmp_path, door.url, **(OURS | changed), token_url=tokens.token_url)
        with pytest.raises(DestinationUnavailable, match=told) as error:
            sending.send(files)
    require_no_secret(str(error.value))
    assert door.refused == 0


def test_a_token_is_never_shown(tmp_path, files):
    with provider() as tokens, gate(tokens) as door:
        sending = sender(tmp_path, door.url, token_url=tokens.token_url, **OURS)
        sending.send(files)
    auth = auth_from(credentials(sending.credentials, sending.url), tokens=sending._tokens)
    require_no_secret(repr(sending), repr(auth), *tokens.tokens)


def require_no_secret(*shown: str) -> None:
    text, *tokens = shown
    for secret in (CLIENT_SECRET, "wr0ng", *tokens[1:]):
        assert secret not in text
        assert not tokens or secret not in tokens[0]


def test_the_authorization_server_is_named_when_it_cannot_be_reached(tmp_path, files):
    with provider() as tokens, gate(tokens) as door:
        url = f"http://localhost:{free_port()}/token?key=hidden"
        with pytest.raises(
            DestinationUnavailable, match="authorization server at localhost cannot be reached"
        ) as error:
            sender(tmp_path, door.url, token_url=url, **OURS).send(files)
    assert "hidden" not in str(error.value)


def test_the_authorization_servers_certificate_is_checked_by_the_same_ca(tmp_path, files):
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with provider(context) as tokens, gate(tokens) as door:
        with pytest.raises(DestinationUnavailable):
            sender(tmp_path, door.url, token_url=tokens.token_url, **OURS).send(files)
        assert (tokens.asked, door.bodies) == (0, [])
        sender(tmp_path, door.url, ca=tmp_path / "ca.pem", token_url=tokens.token_url, **OURS).send(files)
    assert len(door.bodies) == 1


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ({"token_url": "https://idp/token", "client_id": "vigie"}, "missing or unknown: client_secret"),
        ({"token_url": "https://idp/token", "password": "pw", **OURS}, "missing or unknown: password"),
        ({"token_url": "idp/token", **OURS}, "token_url is no https://HOST/PATH"),
    ],
)
def test_a_table_with_a_mistake_is_told(tmp_path, files, table, told):
    with pytest.raises(DestinationUnavailable, match=told) as error:
        sender(tmp_path, "http://localhost/dicom-web", **table).send(files)
    require_no_secret(str(error.value))
