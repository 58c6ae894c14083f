"""When certificates and revocation lists of our listeners end, as /metrics tells it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from services.gateway.role import Role
from tests.support.certificates import Authority, Certificate
from tests.support.scraped import Samples, scrape
from tests.support.worklist import Ward

CERTIFICATE = "vigie_tls_certificate_not_after_timestamp_seconds"
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
    return {key: value for key, value in scrape(client)[0].items() if key[0] in (CERTIFICATE, LIST)}


def dicom(ours: Certificate, ca: Path) -> dict[str, object]:
    files = {"dicom_tls_certificate": ours.certificate, "dicom_tls_key": ours.key, "dicom_tls_ca": ca}
    return {"dicom_tls": "127.0.0.1:2762", **files}


def of(listener: str) -> tuple[tuple[str, str], ...]:
    return (("listener", listener),)


def test_each_listener_that_speaks_tls_tells_the_end_of_its_certificate(
    tmp_path: Path, authority: Authority, ours: Certificate
) -> None:
    assert told(tmp_path) == {}
    http = {"http_certificate": ours.certificate, "http_key": ours.key}
    hl7 = {"hl7": "127.0.0.1:2575", "hl7_certificate": ours.certificate, "hl7_key": ours.key}
    every = {**dicom(ours, authority.ca), **http, **hl7}
    end = x509.load_pem_x509_certificate(ours.certificate.read_bytes()).not_valid_after_utc.timestamp()
    assert told(tmp_path, **every) == {(CERTIFICATE, of(name)): end for name in ("dicom", "http", "hl7")}
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
    assert told(tmp_path, **settings) == {(CERTIFICATE, of("dicom")): 0, (LIST, of("dicom")): 0}
    ours.certificate.unlink()
    assert told(tmp_path, **settings)[CERTIFICATE, of("dicom")] == 0
