"""Prometheus metrics of the times at which TLS ends: certificates, authorities and revocation lists do.

Each process tells it of its own listeners, and of the peers that it connects to.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from services.backends.bcp195 import revocation_until
from services.backends.senders.link import Link
from services.settings import Settings
from services.triage.errors import CertificatesRefused

_UNREADABLE = 0.0
"""Long ago, so that the alerts sound."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TlsFiles:
    """Of a listener, or of connections to a peer: one of both names is empty. ca: those who sign for the other end."""

    listener: str = ""
    peer: str = ""
    certificate: Path | None = None
    ca: Path | None = None


def of_link(peer: str, link: Link) -> TlsFiles:
    """Those of a DICOM peer or a receiver; without any where it has no table `tls`."""
    if link.tls is None:
        return TlsFiles(peer=peer)
    return TlsFiles(peer=peer, certificate=link.tls.certificate, ca=link.tls.ca)


def of_stow(settings: Settings) -> TlsFiles:
    """Of all DICOMweb peers."""
    return TlsFiles(peer="stow_rs", ca=settings.stow_ca)


def of_broker(settings: Settings) -> TlsFiles:
    """Of RabbitMQ."""
    return TlsFiles(peer="broker", certificate=settings.broker_certificate, ca=settings.broker_ca)


class TlsCollector(Collector):
    """Reads the files anew at each scrape, as connections do."""

    def __init__(self, files: Sequence[TlsFiles]) -> None:
        self._files = files

    def describe(self) -> list[Metric]:
        """Nothing: the files need not exist when the registry is built."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Three gauges; without samples where nobody speaks TLS by files of ours, or no authority has a list."""
        certificates = GaugeMetricFamily(
            "vigie_tls_certificate_not_after_timestamp_seconds",
            "When the first certificate of our chain for a listener, or for a peer that asks for one, ends (notAfter); "
            "0: its file cannot be read. Renew it before: afterwards no peer trusts us.",
            labels=["listener", "peer"],
        )
        authorities = GaugeMetricFamily(
            "vigie_tls_authority_not_after_timestamp_seconds",
            "When the last authority ends by which the other end is checked (notAfter); 0: the file cannot be read. "
            "Put its successor into the file before: afterwards we trust nobody.",
            labels=["listener", "peer"],
        )
        lists = GaugeMetricFamily(
            "vigie_tls_revocation_list_next_update_timestamp_seconds",
            "When the first authority of a listener's clients, or of a peer, has no revocation list in force "
            "(nextUpdate); 0: the file cannot be read. Fetch the newer list before: afterwards no connection is made.",
            labels=["listener", "peer"],
        )
        for one in self._files:
            if one.certificate is not None:
                _tell(certificates, one, _first_end, one.certificate)
            if one.ca is not None:
                _tell(authorities, one, _last_end, one.ca)
                _tell(lists, one, revocation_until, one.ca)
        yield from (certificates, authorities, lists)


def _tell(family: GaugeMetricFamily, files: TlsFiles, ends: Callable[[Path], datetime | None], path: Path) -> None:
    try:
        at = ends(path)
    except (OSError, ValueError, CertificatesRefused):
        family.add_metric([files.listener, files.peer], _UNREADABLE)
        return
    if at is not None:
        family.add_metric([files.listener, files.peer], at.timestamp())


def _first_end(path: Path) -> datetime:
    """Of a chain, which holds as long as all of it does. Raises OSError, ValueError."""
    return min(_ends(path))


def _last_end(path: Path) -> datetime:
    """Of authorities, of which an old one may stand beside its successor. Raises OSError, ValueError."""
    return max(_ends(path))


def _ends(path: Path) -> list[datetime]:
    return [each.not_valid_after_utc for each in x509.load_pem_x509_certificates(path.read_bytes())]
