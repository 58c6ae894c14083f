"""The door over TLS (PS3.15 B.9): dcmtk's clients and bare sockets, with and without the right certificates."""

import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from pydicom.uid import generate_uid
from pynetdicom.pdu import A_ASSOCIATE_AC

from services.backends.part10 import digest
from services.backends.senders import CStoreSender
from services.backends.senders.link import Link, Tls
from services.cli.flags import settings_from
from services.gateway.tls import listener_tls
from services.settings import Settings
from services.triage.errors import CertificatesRefused
from tests.support.archive import event_information, report
from tests.support.certificates import Authority, Certificate
from tests.support.ct import ct_series, write_series
from tests.support.peers import wait_until
from tests.support.scu import associate
from tests.support.tls_door import TlsDoor, dcmtk, tls_door
from tests.support.wire import c_echo_request, echo_association_request, p_data, read_pdu, release_request

OLD_TLS = "DEFAULT:@SECLEVEL=0"


@pytest.fixture(scope="module")
def ct(authority: Authority) -> Certificate:
    """A modality's."""
    return authority.certificate("ct1.example")


@pytest.fixture(scope="module")
def running(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsDoor]:
    """One that takes nobody without a certificate."""
    with tls_door(tmp_path_factory.mktemp("door"), authority.certificate("127.0.0.1"), authority.ca) as one:
        yield one


@contextmanager
def connected(port: int, ca: Path, own: Certificate | None = None) -> Iterator[ssl.SSLSocket]:
    context = ssl.create_default_context(cafile=ca)
    if own:
        context.load_cert_chain(own.certificate, own.key)
    with (
        socket.create_connection(("127.0.0.1", port), 20) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
    ):
        yield connection


def test_dcmtk_sends_a_series_and_every_byte_of_it_is_kept(
    running: TlsDoor, authority: Authority, ct: Certificate, tmp_path: Path
) -> None:
    paths = write_series(ct_series(slices=5, rows=256, columns=256), tmp_path / "ct")
    assert dcmtk("echoscu", running.port, ca=authority.ca, own=ct)
    assert dcmtk("storescu", running.port, *map(str, paths), ca=authority.ca, own=ct)
    kept = {file.digest for file in running.door.files.pending()}
    assert {digest(path.read_bytes()) for path in paths} <= kept


def test_our_own_sender_reaches_it(running: TlsDoor, authority: Authority, ct: Certificate, tmp_path: Path) -> None:
    series = ct_series(slices=3)
    files = [
        (str(one.SOPClassUID), str(one.SOPInstanceUID), path)
        for one, path in zip(series, write_series(series, tmp_path / "ct"), strict=True)
    ]
    tls = Tls(ca=authority.ca, certificate=ct.certificate, key=ct.key)
    CStoreSender(f"VIGIE@127.0.0.1:{running.port}", "CT1", link=Link(tls=tls)).send(files)
    assert {digest(path.read_bytes()) for _, _, path in files} <= {one.digest for one in running.door.files.pending()}


def test_what_came_with_one_record_is_served_though_nothing_more_comes(
    running: TlsDoor, authority: Authority, ct: Certificate
) -> None:
    """Two requests in one TLS record: of the second the socket tells nothing any more."""
    with connected(running.port, authority.ca, ct) as connection:
        connection.sendall(echo_association_request())
        assert read_pdu(connection)[0] == A_ASSOCIATE_AC().pdu_type
        started = time.monotonic()
        connection.sendall(p_data(c_echo_request(1)) + p_data(c_echo_request(2)))
        assert [read_pdu(connection)[0] for _ in range(2)] == [4, 4]
        assert time.monotonic() - started < 5
        connection.sendall(release_request())
        assert read_pdu(connection)[0] == 6


def test_an_archive_reports_a_commitment_over_tls(running: TlsDoor, authority: Authority, ct: Certificate) -> None:
    """Of a transaction that nobody asked for: the status shows that the report was understood."""
    context = ssl.create_default_context(cafile=authority.ca)
    context.load_cert_chain(ct.certificate, ct.key)
    information = event_information(generate_uid(), [("1.2.840.10008.5.1.4.1.1.88.34", "1.2.3")])
    assert report(running.port, information, tls=context) == [0x0115]


def test_a_client_whose_certificate_another_authority_gave_is_refused_and_it_is_said_why(
    running: TlsDoor, authority: Authority, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path / "other").certificate("ct1.example")
    before = len(running.failures())
    assert not dcmtk("echoscu", running.port, ca=authority.ca, own=stranger)
    wait_until(lambda: len(running.failures()) > before, what="the failure in the log")
    assert "certificate" in running.failures()[-1].lower()


def test_a_client_without_a_certificate_is_refused_where_one_is_asked_for(
    running: TlsDoor, authority: Authority
) -> None:
    before = len(running.failures())
    assert not dcmtk("echoscu", running.port, ca=authority.ca, own=None)
    wait_until(lambda: len(running.failures()) > before, what="the failure in the log")
    assert running.failures()[-1] == "PEER_DID_NOT_RETURN_A_CERTIFICATE"


def test_a_client_that_does_not_trust_us_ends_it_and_the_log_says_so(
    running: TlsDoor, ct: Certificate, tmp_path: Path
) -> None:
    before = len(running.failures())
    assert not dcmtk("echoscu", running.port, ca=Authority(tmp_path / "other").ca, own=ct)
    wait_until(lambda: len(running.failures()) > before, what="the failure in the log")
    assert running.failures()[-1] == "TLSV1_ALERT_UNKNOWN_CA"


def test_a_plain_connection_to_the_tls_port_is_refused_and_the_plain_port_serves_on(running: TlsDoor) -> None:
    before = len(running.failures())
    with pytest.raises(ConnectionError), associate(running.port):
        pass
    wait_until(lambda: len(running.failures()) > before, what="the failure in the log")
    with associate(running.door.port, sop_classes=["1.2.840.10008.1.1"]) as association:
        assert association.send_c_echo().Status == 0x0000


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tls_before_1_2_is_refused(running: TlsDoor, authority: Authority, ct: Certificate) -> None:
    context = ssl.create_default_context(cafile=authority.ca)
    context.load_cert_chain(ct.certificate, ct.key)
    context.set_ciphers(OLD_TLS)
    context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with (
        socket.create_connection(("127.0.0.1", running.port), 20) as plain,
        pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"),
    ):
        context.wrap_socket(plain, server_hostname="127.0.0.1")


def test_peers_that_say_nothing_or_begin_and_stop_hold_nobody_up(
    running: TlsDoor, authority: Authority, ct: Certificate
) -> None:
    with ExitStack() as silent:
        for said in (b"", b"\x16", b"\x16\x03\x01"):
            connection = silent.enter_context(socket.create_connection(("127.0.0.1", running.port), 20))
            connection.sendall(said)
        started = time.monotonic()
        assert dcmtk("echoscu", running.port, ca=authority.ca, own=ct)
        with associate(running.door.port):
            pass
        assert time.monotonic() - started < 8  # less than a handshake may take


def test_a_handshake_that_is_not_ended_is_given_up(running: TlsDoor) -> None:
    before = len(running.failures())
    with socket.create_connection(("127.0.0.1", running.port), 30) as connection:
        connection.sendall(b"\x16\x03\x01\x00")
        assert connection.recv(1) == b""
    wait_until(lambda: "TimeoutError" in running.failures()[before:], what="the failure in the log")


def test_without_an_authority_clients_need_no_certificate_and_a_renewed_one_needs_no_restart(
    authority: Authority, tmp_path: Path
) -> None:
    its = authority.certificate("127.0.0.1")
    with tls_door(tmp_path, its, None) as one:
        assert dcmtk("echoscu", one.port, ca=authority.ca, own=None)
        other = Authority(tmp_path / "other")
        renewed = other.certificate("127.0.0.1")
        renewed.certificate.replace(its.certificate)
        renewed.key.replace(its.key)
        assert dcmtk("echoscu", one.port, ca=other.ca, own=None)
        its.key.write_text("broken")
        assert not dcmtk("echoscu", one.port, ca=other.ca, own=None)
        with associate(one.door.port):
            pass
        assert "cannot be used for TLS" in one.log.read_text()


def test_a_certificate_that_cannot_be_used_is_found_at_start(authority: Authority, tmp_path: Path) -> None:
    its = authority.certificate("127.0.0.2")
    its.key.write_text("nothing")
    settings = Settings(
        dicom_tls="127.0.0.1:2762", dicom_tls_certificate=its.certificate, dicom_tls_key=tmp_path / its.key
    )
    with pytest.raises(CertificatesRefused, match=r"127\.0\.0\.2\.pem, or its key, cannot be used"):
        listener_tls(settings)


def test_tls_without_a_certificate_is_a_wrong_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIGIE_DICOM_TLS", "127.0.0.1:2762")
    with pytest.raises(Exception, match="needs VIGIE_DICOM_TLS_CERTIFICATE and VIGIE_DICOM_TLS_KEY"):
        settings_from()
