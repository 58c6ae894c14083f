"""The files by which door and desk speak TLS, for the metrics of when they end."""

from collections.abc import Iterator

from services.backends.oidc.file import load_oidc
from services.backends.pacs import load_pacs
from services.backends.senders import tenants_in_force
from services.backends.senders.destinations import DICOMWEB
from services.gateway.role import Role
from services.settings import Settings
from services.tls_gauges import TlsFiles, of_broker, of_link, of_stow
from services.triage.errors import PacsRefused


def tls_files(settings: Settings, role: Role) -> Iterator[TlsFiles]:
    """Of the listeners, and of the peers that are asked. A desk has no DICOM port, and not its files either."""
    yield TlsFiles(listener="http", certificate=settings.http_certificate)
    if settings.oidc is not None:
        oidc = load_oidc(settings.oidc, [each.name for each in tenants_in_force(settings).tenants])
        yield TlsFiles(peer="oidc", ca=oidc.ca)
    if not role.is_door:
        return
    if settings.dicom_tls is not None:
        yield TlsFiles(listener="dicom", certificate=settings.dicom_tls_certificate, ca=settings.dicom_tls_ca)
    if settings.hl7 is not None:
        yield TlsFiles(listener="hl7", certificate=settings.hl7_certificate, ca=settings.hl7_ca)
    yield of_broker(settings)
    try:
        among = load_pacs(settings)
    except PacsRefused:
        return  # the parts that ask them end with it, and say why; the door goes on
    yield from (of_link(f"PACS {each.name}", each.link) for each in among)
    if any(each.kind == DICOMWEB for each in among):
        yield of_stow(settings)
