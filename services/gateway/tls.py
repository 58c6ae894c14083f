"""TLS of our listeners, by the BCP 195 profile (PS3.15 B.12)."""

import ssl
from dataclasses import dataclass
from pathlib import Path

from services.backends.bcp195 import apply_profile, trust
from services.backends.senders.link import no_passphrase
from services.settings import Settings
from services.triage.errors import CertificatesRefused


@dataclass(frozen=True, kw_only=True, slots=True)
class ListenerTls:
    """Where the listener speaks TLS, HOST:PORT, and by which files, all PEM.

    ca: the certificates that a peer's is checked by; with it, a peer without a certificate is refused.
    """

    address: str
    certificate: Path
    key: Path
    ca: Path | None

    def context(self) -> ssl.SSLContext:
        """Made anew for each connection, so that a renewed certificate needs no restart. Raises CertificatesRefused."""
        return server_context(self.certificate, self.key, self.ca)


def server_context(certificate: Path, key: Path | None, ca: Path | None) -> ssl.SSLContext:
    """What a listener speaks TLS by; key: None where it is in the certificate's file. Raises CertificatesRefused."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    apply_profile(context)
    reading = certificate
    try:
        context.load_cert_chain(certificate, key, password=no_passphrase)
        if ca is not None:
            reading = ca
            trust(context, ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ValueError) as error:
        text = f"{reading}, or its key, cannot be used for TLS: {type(error).__name__}"
        raise CertificatesRefused("unusable_certificate", text) from error
    return context


def listener_tls(settings: Settings) -> ListenerTls | None:
    """The listener's TLS by the settings, None without any. Raises CertificatesRefused."""
    if settings.dicom_tls is None or settings.dicom_tls_certificate is None or settings.dicom_tls_key is None:
        return None
    tls = ListenerTls(
        address=settings.dicom_tls,
        certificate=settings.dicom_tls_certificate,
        key=settings.dicom_tls_key,
        ca=settings.dicom_tls_ca,
    )
    tls.context()
    return tls
