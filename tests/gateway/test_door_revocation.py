"""Certificates that their authority has taken back: a CRL in the file of VIGIE_DICOM_TLS_CA, at the real door."""

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from services.backends.part10 import digest
from services.backends.senders.link import Tls
from services.backends.store import open_store
from services.gateway.refusals import RefusedFor
from services.gateway.tls import server_context
from services.settings import Settings
from services.triage.errors import CertificatesRefused, DestinationUnavailable
from tests.support.certificates import Authority, Certificate
from tests.support.ct import ct_series, write_series
from tests.support.peers import free_port, wait_until
from tests.support.standalone import VIGIE
from tests.support.tls_door import TlsDoor, dcmtk, tls_door

HOUR = timedelta(hours=1)
WAY_OUT = "put the authority's newest one there, or take it out of the file"


@pytest.fixture(scope="module")
def ours(authority: Authority) -> Certificate:
    return authority.certificate("127.0.0.1")


@pytest.fixture(scope="module")
def good(authority: Authority) -> Certificate:
    return authority.certificate("ct1.example")


@pytest.fixture(scope="module")
def stolen(authority: Authority) -> Certificate:
    return authority.certificate("ct2.example")


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The door's file of authorities, which `told` writes."""
    return tmp_path_factory.mktemp("door") / "clients.pem"


@pytest.fixture(scope="module")
def running(authority: Authority, ours: Certificate, ca: Path) -> Iterator[TlsDoor]:
    told(ca, authority)
    with tls_door(ca.parent, ours, ca) as one:
        yield one


def told(ca: Path, authority: Authority, *lists: bytes) -> None:
    """An authority, and its lists of certificates that it has taken back."""
    newer = ca.with_suffix(".new")
    newer.write_bytes(authority.ca.read_bytes() + b"".join(lists))
    newer.replace(ca)


def lines(running: TlsDoor, event: str) -> list[dict[str, str]]:
    return [line for line in map(json.loads, running.log.read_text().splitlines()) if line["event"] == event]


def test_who_is_on_the_list_is_refused_from_the_next_connection_on_and_the_others_send(
    running: TlsDoor, authority: Authority, ca: Path, good: Certificate, stolen: Certificate, tmp_path: Path
) -> None:
    assert dcmtk("echoscu", running.port, ca=authority.ca, own=stolen)
    told(ca, authority, authority.revocation_list(stolen))
    paths = write_series(ct_series(slices=2), tmp_path / "ct")
    before = len(lines(running, "tls_handshake_failed"))
    assert not dcmtk("storescu", running.port, str(paths[0]), ca=authority.ca, own=stolen)
    wait_until(lambda: len(lines(running, "tls_handshake_failed")) > before, what="the failure in the log")
    line = lines(running, "tls_handshake_failed")[-1]
    assert {name: value for name, value in line.items() if name != "timestamp"} == {
        "event": "tls_handshake_failed",
        "level": "warning",
        "peer": "127.0.0.1",
        "reason": "certificate revoked",
    }
    assert not list(running.door.files.pending())
    assert dcmtk("storescu", running.port, *map(str, paths), ca=authority.ca, own=good)
    assert {digest(path.read_bytes()) for path in paths} <= {one.digest for one in running.door.files.pending()}
    store = open_store(Settings(data=running.door.data).store_url())
    wait_until(lambda: store.refusals.totals() == {RefusedFor.TLS_HANDSHAKE: 1}, what="its refusal counted")
    store.close()


def test_a_list_that_runs_out_lets_nobody_in_until_there_is_a_newer_one(
    running: TlsDoor, authority: Authority, ca: Path, good: Certificate
) -> None:
    told(ca, authority, authority.revocation_list(since=-2 * HOUR, until=-HOUR))
    assert not dcmtk("echoscu", running.port, ca=authority.ca, own=good)
    wait_until(lambda: bool(lines(running, "tls_unusable")), what="the reason in the log")
    reason = lines(running, "tls_unusable")[-1]["reason"]
    assert str(ca) in reason
    assert WAY_OUT in reason
    told(ca, authority, authority.revocation_list())
    assert dcmtk("echoscu", running.port, ca=authority.ca, own=good)


def test_where_one_authority_has_a_list_each_must_have_one(
    running: TlsDoor, authority: Authority, ca: Path, good: Certificate, tmp_path: Path
) -> None:
    other = Authority(tmp_path / "other")
    told(ca, authority, authority.revocation_list(), other.ca.read_bytes())
    before = len(lines(running, "tls_handshake_failed"))
    theirs = other.certificate("pacs.example")
    assert not dcmtk("echoscu", running.port, ca=authority.ca, own=theirs)
    wait_until(lambda: len(lines(running, "tls_handshake_failed")) > before, what="the failure in the log")
    assert lines(running, "tls_handshake_failed")[-1]["reason"] == "unable to get certificate CRL"
    assert dcmtk("echoscu", running.port, ca=authority.ca, own=good)
    told(ca, authority, authority.revocation_list(), other.ca.read_bytes(), other.revocation_list())
    assert dcmtk("echoscu", running.port, ca=authority.ca, own=theirs)


def unusable(kind: str, authority: Authority) -> bytes:
    """A list that nobody can go by."""
    made = authority.revocation_list()
    return {
        "over": authority.revocation_list(since=-2 * HOUR, until=-HOUR),
        "not yet": authority.revocation_list(since=HOUR),
        "cut": made[: len(made) // 2],
        "other bytes": made.replace(made[100:140], b"A" * 40),
        # OpenSSL would pass over it, and let everybody in
        "first line": made.replace(b"-----BEGIN X509 CRL-----", b"----BEGIN X509 CRL-----"),
    }[kind]


@pytest.mark.parametrize("kind", ["over", "not yet", "cut", "other bytes", "first line"])
def test_a_list_that_cannot_be_used_is_refused_with_the_way_out(
    authority: Authority, ours: Certificate, tmp_path: Path, kind: str
) -> None:
    ca = tmp_path / "clients.pem"
    told(ca, authority, unusable(kind, authority))
    with pytest.raises(CertificatesRefused) as refusal:
        server_context(ours.certificate, ours.key, ca)
    assert str(ca) in refusal.value.reason.text
    assert WAY_OUT in refusal.value.reason.text


def test_the_gateway_does_not_start_with_one(authority: Authority, ours: Certificate, tmp_path: Path) -> None:
    ca = tmp_path / "clients.pem"
    told(ca, authority, unusable("over", authority))
    settings = {
        "DATA": tmp_path / "data",
        "DICOM": f"127.0.0.1:{free_port()}",
        "HTTP": f"127.0.0.1:{free_port()}",
        "DICOM_TLS": f"127.0.0.1:{free_port()}",
        "DICOM_TLS_CERTIFICATE": ours.certificate,
        "DICOM_TLS_KEY": ours.key,
        "DICOM_TLS_CA": ca,
    }
    done = subprocess.run(
        [VIGIE, "gateway", "--role", "door"],
        env=os.environ | {f"VIGIE_{name}": str(value) for name, value in settings.items()},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"vigie gateway: {ca}: the certificate revocation list of ")
    assert WAY_OUT in done.stderr


def test_an_older_list_may_stand_beside_the_one_in_force(
    authority: Authority, ours: Certificate, tmp_path: Path
) -> None:
    ca, older = tmp_path / "clients.pem", authority.revocation_list(since=-3 * HOUR, until=-HOUR)
    told(ca, authority, older, authority.revocation_list())
    server_context(ours.certificate, ours.key, ca)
    told(ca, authority, older)
    with pytest.raises(CertificatesRefused, match=r"is in force from .* until .*, not now"):
        server_context(ours.certificate, ours.key, ca)


def test_the_same_holds_of_those_that_we_call(authority: Authority, good: Certificate, tmp_path: Path) -> None:
    ca = tmp_path / "pacs.pem"
    told(ca, authority, unusable("over", authority))
    tls = Tls(ca=ca, certificate=good.certificate, key=good.key)
    with pytest.raises(DestinationUnavailable, match=r"certificate revocation list of .*, not now"):
        tls.context()
    told(ca, authority, authority.revocation_list())
    replace(tls, check_server_name=False).context()
