"""Prometheus metrics of the times at which our listeners will let nobody in: certificates and revocation lists end."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from services.backends.bcp195 import revocation_until
from services.gateway.role import Role
from services.settings import Settings
from services.triage.errors import CertificatesRefused

_UNREADABLE = 0.0
"""Long ago, so that the alerts sound."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Listener:
    name: str
    certificate: Path | None
    ca: Path | None


class TlsCollector(Collector):
    """Reads the files anew at each scrape, as connections do."""

    def __init__(self, settings: Settings, role: Role) -> None:
        self._listeners = [_Listener(name="http", certificate=settings.http_certificate, ca=None)]
        if role.is_door and settings.dicom_tls is not None:
            certificate, ca = settings.dicom_tls_certificate, settings.dicom_tls_ca
            self._listeners.append(_Listener(name="dicom", certificate=certificate, ca=ca))
        if role.is_door and settings.hl7 is not None:
            self._listeners.append(_Listener(name="hl7", certificate=settings.hl7_certificate, ca=settings.hl7_ca))

    def describe(self) -> list[Metric]:
        """Nothing: the files need not exist when the registry is built."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Two gauges; without samples where no listener speaks TLS, or no authority has a list."""
        certificates = GaugeMetricFamily(
            "vigie_tls_certificate_not_after_timestamp_seconds",
            "When the first certificate of the listener's chain ends (notAfter); 0: its file cannot be read. Renew it "
            "before: afterwards no peer trusts us.",
            labels=["listener"],
        )
        lists = GaugeMetricFamily(
            "vigie_tls_revocation_list_next_update_timestamp_seconds",
            "When the first authority of the listener's clients has no revocation list in force (nextUpdate); 0: the "
            "file cannot be read. Fetch the newer list before: afterwards nobody is let in.",
            labels=["listener"],
        )
        for one in self._listeners:
            if one.certificate is not None:
                _tell(certificates, one.name, _not_after, one.certificate)
            if one.ca is not None:
                _tell(lists, one.name, revocation_until, one.ca)
        yield from (certificates, lists)


def _tell(family: GaugeMetricFamily, listener: str, ends: Callable[[Path], datetime | None], path: Path) -> None:
    try:
        at = ends(path)
    except (OSError, ValueError, CertificatesRefused):
        family.add_metric([listener], _UNREADABLE)
        return
    if at is not None:
        family.add_metric([listener], at.timestamp())


def _not_after(path: Path) -> datetime:
    """The first end in a chain. Raises OSError, ValueError."""
    return min(each.not_valid_after_utc for each in x509.load_pem_x509_certificates(path.read_bytes()))
