"""What a STOW-RS server may answer (PS3.18 10.5.3), and what becomes of the delivery; a server that answers as told."""

import json
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import HTTPServer
from pathlib import Path

import pytest

from services.backends.senders import StowSender
from services.triage.errors import DestinationRefused, DestinationUnavailable
from tests.support.ct import ct_series, write_series
from tests.support.http_server import Server, serving
from tests.support.peers import free_port

CT = "1.2.840.10008.5.1.4.1.1.2"


@pytest.fixture
def files(tmp_path: Path) -> list[tuple[str, str, Path]]:
    series = ct_series(slices=2)
    paths = write_series(series, tmp_path / "frozen")
    return [(ds.SOPClassUID, ds.SOPInstanceUID, path) for ds, path in zip(series, paths, strict=True)]


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def sender(server: Server) -> Iterator[StowSender]:
    with serving(server) as url:
        yield StowSender(url=url)


def stored(*uids: str) -> dict[str, object]:
    items = [{"00081155": {"vr": "UI", "Value": [uid]}} for uid in uids]
    return {"00081199": {"vr": "SQ", "Value": items}}


def failed(reason: int, *uids: str) -> dict[str, object]:
    items = [{"00081155": {"vr": "UI", "Value": [uid]}, "00081197": {"vr": "US", "Value": [reason]}} for uid in uids]
    return {"00081198": {"vr": "SQ", "Value": items}}


def say(server: Server, status: int, *modules: dict[str, object]) -> None:
    server.status = status
    server.body = json.dumps({key: value for one in modules for key, value in one.items()}).encode()


def test_the_body_is_one_part_per_object_with_its_bytes_and_a_length(sender, server, files):
    sender.send(files)
    assert server.path == "/dicom-web/studies"
    assert server.headers["Accept"] == "application/dicom+json"
    assert "Transfer-Encoding" not in server.headers
    boundary = server.headers["Content-Type"].partition("boundary=")[2].encode()
    parts = server.content.split(b"--" + boundary)
    assert parts[0] == b""
    assert parts[-1] == b"--\r\n"
    contents = [part.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n") for part in parts[1:-1]]
    assert contents == [path.read_bytes() for _, _, path in files]


def test_all_stored_is_success(sender, server, files):
    say(server, 200, stored(*(uid for _, uid, _ in files)))
    sender.send(files)


@pytest.mark.parametrize("reason", [0x0111, 0xB000])
def test_a_duplicate_or_a_warning_means_that_the_server_has_the_object(sender, server, files, reason):
    say(server, 202, stored(files[0][1]), failed(reason, files[1][1]))
    sender.send(files)


def test_a_failure_among_successes_is_refused_with_its_class_and_code(sender, server, files):
    say(server, 202, stored(files[0][1]), failed(0xA900, files[1][1]))
    with pytest.raises(DestinationRefused, match=rf"0xA900 to SOP class {CT}") as refusal:
        sender.send(files)
    assert refusal.value.reason.code == "store_refused"


def test_what_a_server_took_is_said_when_it_has_no_room_for_the_rest(sender, server, files):
    say(server, 202, stored(files[0][1]), failed(0xA700, files[1][1]))
    with pytest.raises(DestinationUnavailable, match="0xA700") as refusal:
        sender.send(files)
    assert refusal.value.taken == (files[0][1],)


@pytest.mark.parametrize("status", [202, 409])
def test_an_object_that_was_refused_is_told_also_when_its_uid_is_not(sender, server, files, status):
    say(server, status, stored(files[0][1]), {"0008119A": {"vr": "SQ", "Value": [{"00081197": {"Value": [0xC000]}}]}})
    with pytest.raises(DestinationRefused, match="0xC000"):
        sender.send(files)


@pytest.mark.parametrize("status", [200, 202, 409])
def test_a_server_that_is_out_of_resources_for_one_object_is_tried_again_later(sender, server, files, status):
    say(server, status, stored(files[0][1]), failed(0xA700, files[1][1]))
    with pytest.raises(DestinationUnavailable, match="0xA700"):
        sender.send(files)


def test_an_object_that_a_partial_success_does_not_name_is_tried_again_later(sender, server, files):
    say(server, 202, stored(files[0][1]))
    with pytest.raises(DestinationUnavailable):
        sender.send(files)


@pytest.mark.parametrize("status", [400, 404, 409, 413, 415])
def test_a_request_that_the_server_will_not_take_is_refused_with_its_status(sender, server, files, status):
    server.status, server.body = status, b"<html>Patient DOE^JANE is not wanted</html>"
    with pytest.raises(DestinationRefused, match=f"HTTP {status}") as refusal:
        sender.send(files)
    assert "DOE" not in str(refusal.value)


@pytest.mark.parametrize("status", [401, 403, 408, 429, 500, 503])
def test_a_server_that_cannot_now_or_does_not_know_us_is_tried_again_later(sender, server, files, status):
    server.status = status
    with pytest.raises(DestinationUnavailable, match=f"HTTP {status}"):
        sender.send(files)


def test_a_redirect_is_not_followed(sender, server, files):
    server.status = 302
    with pytest.raises(DestinationRefused, match="HTTP 302"):
        sender.send(files)


@pytest.mark.parametrize(
    ("table", "header"),
    [('token = "t0ken"', "Bearer t0ken"), ('user = "vigie"\npassword = "pw"', "Basic dmlnaWU6cHc=")],
)
def test_credentials_go_to_their_own_server_only(server, files, tmp_path, table, header):
    credentials = tmp_path / "credentials.toml"
    with serving(server) as url:
        credentials.write_text(f'["{url}"]\n{table}\n')
        StowSender(url=url, credentials=credentials).send(files)
        assert server.headers["Authorization"] == header
        credentials.write_text(f'["https://another/dicom-web"]\n{table}\n')
        StowSender(url=url, credentials=credentials).send(files)
        assert "Authorization" not in server.headers


def test_a_file_of_credentials_that_cannot_be_read_is_told_without_its_text(files, tmp_path):
    credentials = tmp_path / "credentials.toml"
    credentials.write_text("token: secret")
    with pytest.raises(DestinationUnavailable) as error:
        StowSender(url=f"http://127.0.0.1:{free_port()}", credentials=credentials).send(files)
    assert "secret" not in str(error.value)


def test_a_server_whose_certificate_is_not_trusted_gets_nothing_until_its_ca_is_set(server, files, tmp_path):
    certificate, key = self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with serving_tls(server, context) as url:
        with pytest.raises(DestinationUnavailable):
            StowSender(url=url).send(files)
        assert server.content == b""
        StowSender(url=url, ca=certificate).send(files)
        assert server.content != b""


@contextmanager
def serving_tls(server: Server, context: ssl.SSLContext) -> Iterator[str]:
    original = HTTPServer.server_bind

    def bind(http: HTTPServer) -> None:
        original(http)
        http.socket = context.wrap_socket(http.socket, server_side=True)

    HTTPServer.server_bind = bind
    try:
        with serving(server) as url:
            yield url.replace("http:", "https:")
    finally:
        HTTPServer.server_bind = original


def self_signed(folder: Path) -> tuple[Path, Path]:
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=127.0.0.1"
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*command.split(), *names], check=True, capture_output=True)
    return certificate, key
