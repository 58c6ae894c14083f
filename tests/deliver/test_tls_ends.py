"""When the certificates end by which deliver speaks to its peers, as the /metrics of its process tells it."""

from pathlib import Path

import httpx
import pytest
from cryptography import x509
from prometheus_client.parser import text_string_to_metric_families

from tests.support.certificates import Authority
from tests.support.delivering import delivering
from tests.support.house import House
from tests.support.peers import free_port, wait_until


def ends(text: str) -> dict[tuple[str, str], float]:
    """Metric, between prefix and unit, and peer -> seconds."""
    return {
        (one.name.removeprefix("vigie_tls_").removesuffix("_timestamp_seconds"), one.labels["peer"]): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
        if one.name.startswith("vigie_tls_")
    }


def test_deliver_tells_when_the_tls_of_each_peer_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority(tmp_path / "authority")
    ours = authority.certificate("vigie.example")
    (tmp_path / "list.pem").write_bytes(authority.ca.read_bytes() + authority.revocation_list())
    tls = f'tls = {{ ca = "{authority.ca}", certificate = "{ours.certificate}", key = "{ours.key}" }}'
    files = {
        "destinations": f'[pacs]\naddress = "PACS@127.0.0.1:1"\nstorage_commitment = true\n{tls}\n'
        '[web]\naddress = "https://127.0.0.1:1/dicomweb"\n[plain]\naddress = "OLD@127.0.0.1:1"\n',
        "notifications": f'[ris]\nkind = "hl7"\naddress = "127.0.0.1:1"\ntls = {{ ca = "{tmp_path / "list.pem"}" }}\n',
        "commitment": f'[CT1]\narchive = "pacs"\nreport_to = "CT1@127.0.0.1:1"\n{tls}\n',
    }
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    house = House(data=tmp_path / "data", **{name: tmp_path / name for name in files})
    missing, address = tmp_path / "missing.pem", f"127.0.0.1:{free_port()}"
    settings = {
        "METRICS": address,
        "STOW_CA": authority.ca,
        "AUDIT_SYSLOG": "127.0.0.1:1",
        "AUDIT_SYSLOG_CA": authority.ca,
        "AUDIT_SYSLOG_CERTIFICATE": missing,
        "AUDIT_SYSLOG_KEY": missing,
    }
    for name, value in settings.items():
        monkeypatch.setenv(f"VIGIE_{name}", str(value))

    def scraped() -> dict[tuple[str, str], float]:
        try:
            return ends(httpx.get(f"http://{address}/metrics").text)
        except httpx.TransportError:
            return {}

    with delivering(house):
        wait_until(scraped)
        told = scraped()
    end, last = (
        x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc.timestamp()
        for path in (ours.certificate, authority.ca)
    )
    assert told.pop(("revocation_list_next_update", "receiver ris")) > 0
    of_peers = ("destination pacs", "requester CT1")
    checked = (*of_peers, "receiver ris", "stow_rs", "syslog")
    assert told == {
        **{("certificate_not_after", peer): end for peer in of_peers},
        **{("authority_not_after", peer): last for peer in checked},
        ("certificate_not_after", "syslog"): 0,
    }
