"""Attacks on the DICOM side, each refused: rows of docs/threat-model.md."""

import json
import re
import socket
import ssl
import struct
import subprocess
import time
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, generate_uid
from pynetdicom.pdu import A_ASSOCIATE_AC

from fuzz.bombs import header
from fuzz.mutations import element
from services.backends.audit_spool import AuditSpool
from services.backends.elements import Encoding
from services.backends.store import open_store
from services.settings import Settings
from tests.support.certificates import Authority, Certificate
from tests.support.ct import ct_series, write_series
from tests.support.peers import free_port, wait_until
from tests.support.scu import Door, associate, encode, open_door, store
from tests.support.two_hospitals import dcmtk
from tests.support.wire import c_echo_request, echo_association_request, p_data, read_pdu

VERIFICATION = "1.2.840.10008.1.1"
NOT_RECOGNIZED, LOCAL_LIMIT = "Calling AE Title Not Recognized", "Local Limit Exceeded"
ABORT = 7
ELSEWHERE = "127.0.0.2"
PEERS = """
[CT1]
addresses = ["127.0.0.1"]
max_associations = 2

[FAR]
addresses = ["192.0.2.1"]

[METERED]
addresses = ["127.0.0.1"]
instances_per_minute = 2

[ECHO]
addresses = ["127.0.0.0/8"]
may = ["echo"]

[LEAVES]
addresses = ["127.0.0.1"]

[SECURE]
certificates = ["ct1.example"]
tls = true

[BOTH]
addresses = ["127.0.0.1"]
certificates = ["ct1.example"]
"""


@dataclass(frozen=True, kw_only=True)
class Guarded:
    """A door with peers and a TLS port."""

    door: Door
    tls_port: int
    authority: Authority
    ct1: Certificate
    log: Path

    def says(self, event: str) -> list[dict[str, str]]:
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == event]

    def echo_over_tls(self, calling: str, own: Certificate) -> bool:
        command = ["echoscu", "-aet", calling, "+tls", str(own.key), str(own.certificate)]
        command += ["+cf", str(self.authority.ca), "127.0.0.1", str(self.tls_port)]
        return subprocess.run(command, timeout=60, check=False, stderr=subprocess.DEVNULL).returncode == 0


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    authority = Authority(folder / "authority")
    ours, ct1, port = authority.certificate("127.0.0.1"), authority.certificate("ct1.example"), free_port()
    (folder / "peers.toml").write_text(PEERS)
    open_store(Settings(data=folder / "data").store_url()).close()
    settings = {
        "peers": folder / "peers.toml",
        "dicom_tls": f"127.0.0.1:{port}",
        "dicom_tls_certificate": ours.certificate,
        "dicom_tls_key": ours.key,
        "dicom_tls_ca": authority.ca,
        "max_instance_mb": 2,
    }
    with (
        (folder / "log").open("wb") as stderr,
        open_door(folder / "data", stderr=stderr, **{name: str(one) for name, one in settings.items()}) as door,
    ):
        yield Guarded(door=door, tls_port=port, authority=authority, ct1=ct1, log=folder / "log")


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_series(ct_series(slices=4), tmp_path_factory.mktemp("ct"))


def echo(guarded: Guarded, calling: str) -> str:
    return dcmtk("echoscu", guarded.door.port, called="VIGIE", calling=calling)


def test_a_peer_at_its_address_is_let_in_and_nobody_else(guarded: Guarded, paths: list[Path]) -> None:
    assert not dcmtk("storescu", guarded.door.port, called="VIGIE", calling="CT1", files=paths)
    for calling, why in (("STRANGER", "unknown_title"), ("FAR", "wrong_address"), ("SECURE", "no_tls")):
        assert NOT_RECOGNIZED in echo(guarded, calling)
        (said,) = [one for one in guarded.says("association_rejected") if one["calling"] == calling]
        assert said["why"] == why


def test_over_tls_another_peers_certificate_is_not_enough(guarded: Guarded) -> None:
    other = guarded.authority.certificate("ct2.example")
    stranger = Authority(guarded.log.parent / "stranger").certificate("ct1.example")
    for calling in ("SECURE", "BOTH"):
        assert guarded.echo_over_tls(calling, guarded.ct1)
        assert not guarded.echo_over_tls(calling, other)
        assert not guarded.echo_over_tls(calling, stranger)
    assert not echo(guarded, "BOTH"), "on the plain port its address is its proof"
    assert not guarded.echo_over_tls("FAR", guarded.ct1)
    whys = [one["why"] for one in guarded.says("association_rejected") if one["calling"] in {"SECURE", "BOTH"}]
    assert whys.count("wrong_certificate") == 2


def test_who_may_only_echo_cannot_store(guarded: Guarded, paths: list[Path]) -> None:
    assert not echo(guarded, "ECHO")
    told = dcmtk("storescu", guarded.door.port, called="VIGIE", calling="ECHO", files=paths)
    assert "No Acceptable Presentation Contexts" in told


def test_one_association_more_than_a_peers_quota_is_rejected_and_others_are_not(guarded: Guarded) -> None:
    with ExitStack() as open_now:
        for _ in range(2):
            open_now.enter_context(associate(guarded.door.port, calling="CT1"))
        assert LOCAL_LIMIT in echo(guarded, "CT1")
        assert not echo(guarded, "ECHO")
    wait_until(lambda: not echo(guarded, "CT1"), what="a place after the others have left")


def test_instances_beyond_a_peers_quota_are_answered_0xa700_and_not_kept(guarded: Guarded) -> None:
    series = ct_series(slices=4)
    with associate(guarded.door.port, calling="METERED") as association:
        given = [store(association, encode(one), sop_instance_uid=one.SOPInstanceUID) for one in series]
    assert given == [0x0000, 0x0000, 0xA700, 0xA700]
    assert len([one for one in guarded.door.files.pending() if one.received_from == "METERED"]) == 2


def test_a_peer_that_is_taken_out_of_the_file_stores_no_more_on_the_association_that_it_has(guarded: Guarded) -> None:
    one = ct_series(slices=1)[0]
    path = guarded.log.parent / "peers.toml"
    with associate(guarded.door.port, calling="LEAVES") as association:
        assert store(association, encode(one), sop_instance_uid=one.SOPInstanceUID) == 0x0000
        path.write_text(PEERS.replace("[LEAVES]", "[CAME]"))
        time.sleep(1.1)
        assert store(association, encode(one), sop_instance_uid=one.SOPInstanceUID) == 0x0124
    assert NOT_RECOGNIZED in echo(guarded, "LEAVES")
    path.write_text("[broken")
    time.sleep(1.1)
    assert not echo(guarded, "CAME"), "the last good file stays in force"


def test_who_tries_again_and_again_makes_one_event_a_minute(guarded: Guarded) -> None:
    def refused() -> int:
        waiting = AuditSpool(guarded.door.data).pending(limit=1000)
        return sum(one.event.actors[0].name == "RAW" for one in waiting)

    for _ in range(30):
        with socket.create_connection(("127.0.0.1", guarded.door.port), 20) as connection:
            connection.sendall(echo_association_request())
            with suppress(ConnectionError):
                assert read_pdu(connection)[0] != A_ASSOCIATE_AC().pdu_type
    wait_until(refused, what="an event for the audit trail")
    time.sleep(1.5)
    assert refused() == 1


def test_a_scan_of_the_tls_port_sees_the_bcp_195_profile_and_nothing_else(guarded: Guarded) -> None:
    """PS3.15 B.12, RFC 9325: asked by OpenSSL's own client, suite by suite."""
    everything = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    everything.set_ciphers("ALL:COMPLEMENTOFALL:@SECLEVEL=0")
    names = [one["name"] for one in everything.get_ciphers() if one["protocol"] != "TLSv1.3"]
    taken = {name for name in names if scanned(guarded, "-tls1_2", "-cipher", f"{name}:@SECLEVEL=0")}
    # of the suites with an RSA certificate: the door's own
    assert taken == {
        "ECDHE-RSA-AES128-GCM-SHA256",
        "ECDHE-RSA-AES256-GCM-SHA384",
        "ECDHE-RSA-CHACHA20-POLY1305",
    }
    assert scanned(guarded, "-tls1_3")
    for old in ("-tls1", "-tls1_1"):
        assert not scanned(guarded, old, "-cipher", "ALL:@SECLEVEL=0")
    assert not scanned(guarded, "-tls1_2", "-groups", "secp192r1")
    told = scanned(guarded, "-tls1_2", told="R\n")
    assert "Secure Renegotiation IS supported" in told
    assert "Compression: NONE" in told
    assert re.search(r"no renegotiation|handshake failure", told), "a client's renegotiation is refused"


def scanned(guarded: Guarded, *options: str, told: str = "Q\n") -> str:
    """What openssl s_client says with a good certificate; '' where no handshake comes about."""
    own = ["-cert", str(guarded.ct1.certificate), "-key", str(guarded.ct1.key), "-CAfile", str(guarded.authority.ca)]
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{guarded.tls_port}", *own, *options]
    done = subprocess.run(command, input=told, capture_output=True, text=True, timeout=30, check=False)
    both = done.stdout + done.stderr
    return both if re.search(r"Cipher is (?!\(NONE\))", both) else ""


@contextmanager
def from_elsewhere(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), 20, source_address=(ELSEWHERE, 0)) as connection:
        yield connection


def test_silent_connections_from_one_address_leave_places_for_others(tmp_path: Path) -> None:
    with open_door(tmp_path, max_associations="30") as door, ExitStack() as silent:
        for _ in range(50):
            silent.enter_context(from_elsewhere(door.port))
        started = time.monotonic()
        for _ in range(3):
            with associate(door.port, sop_classes=[VERIFICATION]) as association:
                assert association.send_c_echo().Status == 0x0000
        assert time.monotonic() - started < 10


QUICK = """
from services.gateway import door, upper_layer
upper_layer._REQUEST_S = 1.0
door._IDLE_S = 1.0
"""


def test_a_request_a_byte_at_a_time_and_an_idle_association_are_ended(tmp_path: Path) -> None:
    with open_door(tmp_path, first=QUICK) as door:
        with socket.create_connection(("127.0.0.1", door.port), 20) as dripping:
            started = time.monotonic()
            with pytest.raises(OSError):  # noqa: PT012
                for byte in echo_association_request():
                    dripping.sendall(bytes([byte]))
                    time.sleep(0.05)
            assert 0.5 < time.monotonic() - started < 5
        with socket.create_connection(("127.0.0.1", door.port), 20) as idle:
            idle.sendall(echo_association_request())
            assert read_pdu(idle)[0] == A_ASSOCIATE_AC().pdu_type
            started = time.monotonic()
            assert read_pdu(idle)[0] == ABORT
            assert time.monotonic() - started < 10


@pytest.mark.parametrize(("kind", "after_request"), [(1, False), (5, True)])
def test_a_pdu_that_says_to_be_gigabytes_ends_the_association_at_once(
    guarded: Guarded, kind: int, after_request: bool
) -> None:
    request = echo_association_request().replace(b"RAW" + b" " * 13, b"CT1" + b" " * 13)
    with socket.create_connection(("127.0.0.1", guarded.door.port), 20) as connection:
        if after_request:
            connection.sendall(request)
            assert read_pdu(connection)[0] == A_ASSOCIATE_AC().pdu_type
        connection.sendall(struct.pack(">BBI", kind, 0, 0x7FFFFFFF) + bytes(100))
        assert read_pdu(connection)[0] == ABORT


def test_who_does_not_wait_for_answers_is_made_to_wait_and_is_answered_in_the_end(guarded: Guarded) -> None:
    request = echo_association_request().replace(b"RAW" + b" " * 13, b"CT1" + b" " * 13)
    with socket.create_connection(("127.0.0.1", guarded.door.port), 20) as connection:
        connection.sendall(request)
        assert read_pdu(connection)[0] == A_ASSOCIATE_AC().pdu_type
        connection.sendall(b"".join(p_data(c_echo_request(number)) for number in range(1, 101)))
        assert [read_pdu(connection)[0] for _ in range(100)] == [4] * 100


def test_a_data_set_that_does_not_end_takes_no_more_memory_than_one_that_is_allowed(guarded: Guarded) -> None:
    uid = generate_uid()
    endless = header(uid) + element(0x7FE00010, b"OW", bytes(40_000_000), Encoding())
    with associate(guarded.door.port, calling="CT1") as association:
        assert store(association, endless, sop_instance_uid=uid) == 0xC000
    sizes = [path.stat().st_size for path in (guarded.door.data / "quarantine").glob("*.bin")]
    assert 2_000_000 <= max(sizes) < 2_001_000


def test_a_deflate_bomb_is_answered_0xc000_and_kept_in_quarantine(guarded: Guarded) -> None:
    uid, before = generate_uid(), guarded.door.quarantined()
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    bomb = packer.compress(header(uid) + element(0x7FE00010, b"OW", bytes(1 << 28), Encoding())) + packer.flush()
    assert len(bomb) < 300_000
    deflated = DeflatedExplicitVRLittleEndian
    with associate(guarded.door.port, calling="CT1", transfer_syntaxes=[deflated]) as association:
        assert store(association, bomb, sop_instance_uid=uid, transfer_syntax=deflated) == 0xC000
    assert guarded.door.quarantined() == before + 1


def files_beside(guarded: Guarded) -> set[Path]:
    """But for the bad instances themselves, what is told of them, and what SQLite has while it writes."""
    own = {"quarantine", "audit"}
    found = guarded.door.data.parent.rglob("*")
    return {path for path in found if not own & set(path.parts) and path.suffix not in {".sqlite-shm", ".sqlite-wal"}}


@pytest.mark.parametrize("uid", ["../../../etc/passwd", "/etc/passwd", "1.2/..", "..", "1.2\x00.3"])
def test_a_uid_that_is_a_path_leads_nowhere(guarded: Guarded, uid: str) -> None:
    instance = generate_uid()
    tree = files_beside(guarded)
    with associate(guarded.door.port, calling="CT1") as association:
        data_set = header(instance, study=uid.encode() + b" " * (len(uid) % 2))
        assert store(association, data_set, sop_instance_uid=instance) == 0xC000
    assert files_beside(guarded) == tree
