"""TLS of the HTTP server: TLS 1.2 or newer (BCP 195), a renewed certificate in force at the next connection."""

import os
import ssl
from pathlib import Path

import structlog

from services.gateway.tls import server_context
from services.logs import Conditions
from services.settings import Settings
from services.triage.errors import CertificatesRefused

log = structlog.get_logger(__name__)

_State = tuple[tuple[int, int, int], ...]


class RenewedContext:
    """`context`: what uvicorn listens with. At each handshake the files are looked at, and read again if they changed.

    A change that cannot be used leaves the last good one in force, and the log says so. Raises CertificatesRefused.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        self._files = (certificate, key)
        self._conditions = Conditions(log)
        self._seen = self._state()
        self.context = self._newest = server_context(certificate, key, None)
        self.context.sni_callback = self._chosen

    def _chosen(self, connection: ssl.SSLObject, _name: str | None, _first: ssl.SSLContext) -> None:
        """Called in every handshake, with a server name (RFC 6066 3) or without."""
        state = self._state()
        if state != self._seen:
            self._seen = state
            try:
                self._newest = server_context(*self._files, None)
            except CertificatesRefused as error:
                self._conditions.begins("certificate_refused", "http", error=str(error))
            else:
                self._conditions.ends("certificate_refused", "http")
                log.info("certificate_read")
        if self._newest is not self.context:
            connection.context = self._newest

    def _state(self) -> _State:
        try:
            found = [os.stat(path) for path in self._files]  # noqa: PTH116 - follows the links of a mounted Secret
        except OSError:
            return ()
        return tuple((each.st_mtime_ns, each.st_size, each.st_ino) for each in found)


def http_tls(settings: Settings) -> RenewedContext | None:
    """By the settings; None without a certificate. Raises CertificatesRefused."""
    if settings.http_certificate is None or settings.http_key is None:
        return None
    return RenewedContext(settings.http_certificate, settings.http_key)
