"""The files by which deliver speaks TLS, for the metrics of when they end."""

from collections.abc import Iterable, Iterator, Sequence

from services.backends.receivers import Receiver
from services.backends.senders import Requester, Route
from services.backends.senders.destinations import DICOMWEB
from services.settings import Settings
from services.tls_gauges import TlsFiles, of_link, of_stow


def tls_files(
    settings: Settings, ways: Sequence[Route], told: Sequence[Receiver], asking: Iterable[Requester]
) -> Iterator[TlsFiles]:
    """Of everybody that deliver connects to."""
    for route in ways:
        yield of_link(f"destination {route.destination.name}", route.link)
    if any(route.destination.kind == DICOMWEB for route in ways):
        yield of_stow(settings)
    yield from (of_link(f"receiver {each.destination.name}", each.link) for each in told)
    yield from (of_link(f"requester {each.ae_title}", each.link) for each in asking)
    if settings.audit_syslog is not None:
        yield TlsFiles(peer="syslog", certificate=settings.audit_syslog_certificate, ca=settings.audit_syslog_ca)
