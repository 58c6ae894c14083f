"""When certificates, authorities and revocation lists end, of listeners and of peers, as /metrics tells it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from services.gateway.role import Role
from tests.support.certificates import Authority, Certificate
from tests.support.scraped import Samples, scrape
from tests.support.worklist import Ward

CERTIFICATE = "vigie_tls_certificate_not_after_timestamp_seconds"
AUTHORITY = "vigie_tls_authority_not_after_timestamp_seconds"
LIST = "vigie_tls_revocation_list_next_update_timestamp_seconds"
DAY = timedelta(days=1)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


@pytest.fixture
def ours(authority: Authority) -> Certificate:
    return authority.certificate("door.example")


def told(tmp_path: Path, *, role: Role = Role.ALL, **settings: object) -> Samples:
    client = Ward(tmp_path / "ward").client(role=role, **{name: str(value) for name, value in settings.items()})
    return {key: value for key, value in scrape(client)[0].items() if key[0] in (CERTIFICATE, AUTHORITY, LIST)}


def dicom(ours: Certificate, ca: Path) -> dict[str, object]:
    files = {"dicom_tls_certificate": ours.certificate, "dicom_tls_key": ours.key, "dicom_tls_ca": ca}
    return {"dicom_tls": "127.0.0.1:2762", **files}


def of(listener: str = "", *, peer: str = "") -> tuple[tuple[str, str], ...]:
    return (("listener", listener), ("peer", peer))


def end_of(path: Path) -> float:
    """Of the first certificate in the file."""
    return x509.load_pem_x509_certificates(path.read_bytes())[0].not_valid_after_utc.timestamp()


def test_each_listener_that_speaks_tls_tells_the_end_of_its_certificate(
    tmp_path: Path, authority: Authority, ours: Certificate
) -> None:
    assert told(tmp_path) == {}
    http = {"http_certificate": ours.certificate, "http_key": ours.key}
    hl7 = {"hl7": "127.0.0.1:2575", "hl7_certificate": ours.certificate, "hl7_key": ours.key}
    every = {**dicom(ours, authority.ca), **http, **hl7}
    end, last = end_of(ours.certificate), end_of(authority.ca)
    certificates = {(CERTIFICATE, of(name)): end for name in ("dicom", "http", "hl7")}
    assert told(tmp_path, **every) == {**certificates, (AUTHORITY, of("dicom")): last}
    # a desk has no DICOM port, and not its files either
    assert told(tmp_path, role=Role.DESK, **every) == {(CERTIFICATE, of("http")): end}


def test_the_first_authority_to_be_without_a_list_counts_and_of_one_authority_the_newest_list(
    tmp_path: Path, authority: Authority, ours: Certificate
) -> None:
    other = Authority(tmp_path / "other")
    ca = tmp_path / "clients.pem"
    lists = [authority.revocation_list(until=days * DAY) for days in (1, 9)] + [other.revocation_list(until=5 * DAY)]
    ca.write_bytes(authority.ca.read_bytes() + other.ca.read_bytes() + b"".join(lists))
    at = told(tmp_path, **dicom(ours, ca))[LIST, of("dicom")]
    assert at == pytest.approx((datetime.now(UTC) + 5 * DAY).timestamp(), abs=600)


def test_a_list_that_is_over_is_told_as_what_it_was(tmp_path: Path, authority: Authority, ours: Certificate) -> None:
    ca = tmp_path / "clients.pem"
    ca.write_bytes(authority.ca.read_bytes() + authority.revocation_list(since=-3 * DAY, until=-DAY))
    at = told(tmp_path, **dicom(ours, ca))[LIST, of("dicom")]
    assert at == pytest.approx((datetime.now(UTC) - DAY).timestamp(), abs=600)


def test_a_file_that_cannot_be_read_is_long_over_and_no_error_of_metrics(
    tmp_path: Path, authority: Authority, ours: Certificate
) -> None:
    ca = tmp_path / "clients.pem"
    ca.write_bytes(
        authority.ca.read_bytes() + authority.revocation_list().replace(b"BEGIN X509 CRL-", b"BEGIN X509 CRL ")
    )
    settings = dicom(ours, ca)
    ours.certificate.write_text("")
    last = end_of(authority.ca)
    shut = {(CERTIFICATE, of("dicom")): 0, (AUTHORITY, of("dicom")): last, (LIST, of("dicom")): 0}
    assert told(tmp_path, **settings) == shut
    ours.certificate.unlink()
    assert told(tmp_path, **settings)[CERTIFICATE, of("dicom")] == 0


def test_each_peer_that_door_and_desk_ask_by_tls_is_told(
    tmp_path: Path, authority: Authority, ours: Certificate
) -> None:
    pacs, oidc = tmp_path / "pacs.toml", tmp_path / "oidc.toml"
    # paths are relative to the file's folder, or whole
    pacs.write_text(
        f'''[archive]
address = "PACS@pacs.example:2762"
tls = {{ ca = "authority/{authority.ca.name}", certificate = "{ours.certificate}", key = "{ours.key}" }}
[plain]
address = "OLD@old.example:104"
[web]
address = "https://pacs.example/dicomweb"
'''
    )
    lines = ['issuer = "https://login.example"', 'url = "https://vigie.example"', 'client_id = "vigie"']
    oidc.write_text("\n".join([*lines, f'ca = "{authority.ca}"', "[roles]", 'reader = ["it"]']))
    broker = {"broker_ca": authority.ca, "broker_certificate": ours.certificate, "broker_key": ours.key}
    settings = {"pacs": pacs, "oidc": oidc, "stow_ca": authority.ca, **broker}
    end, last = end_of(ours.certificate), end_of(authority.ca)
    of_desk = {(AUTHORITY, of(peer="oidc")): last}
    of_door = {(AUTHORITY, of(peer=name)): last for name in ("PACS archive", "broker", "stow_rs")}
    of_door |= {(CERTIFICATE, of(peer=name)): end for name in ("PACS archive", "broker")}
    assert told(tmp_path, **settings) == of_desk | of_door
    assert told(tmp_path, role=Role.DESK, **settings) == of_desk
    # the door goes on, whatever becomes of the parts that ask
    pacs.write_text("[archive]")
    assert (CERTIFICATE, of(peer="broker")) in told(tmp_path, role=Role.DOOR, **settings)


def test_of_authorities_the_last_to_end_counts_for_an_old_one_may_stand_beside_its_successor(
    tmp_path: Path, authority: Authority, ours: Certificate
) -> None:
    short = authority.certificate("an.old.one", until=datetime.now(UTC) + DAY)
    ca = tmp_path / "both.pem"
    ca.write_bytes(short.certificate.read_bytes() + authority.ca.read_bytes())
    assert told(tmp_path, **dicom(ours, ca))[AUTHORITY, of("dicom")] == end_of(authority.ca)
