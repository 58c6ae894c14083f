"""How a connection to a DICOM peer is made: its timeouts, and TLS by the BCP 195 profile (PS3.15 B.12)."""

import socket
import ssl
from dataclasses import dataclass
from pathlib import Path

from services.backends.bcp195 import apply_profile, trust
from services.triage.errors import CertificatesRefused, DestinationUnavailable

CONNECT_TIMEOUT_S = 10.0
ANSWER_TIMEOUT_S = 60.0
_ALERT_S = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Tls:
    """What a connection is protected by; all files are PEM, and read anew for each connection.

    ca: the certificates that the peer's is checked by, instead of the machine's. certificate, key: our own, for peers
    that ask for one. check_server_name: the peer's certificate must name the host that we connect to; server_name:
    another name that it must have instead, where we connect by an address that others do not know.
    """

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    check_server_name: bool = True
    server_name: str | None = None

    def context(self) -> ssl.SSLContext:
        """For connections of a client; TLS 1.2 or newer. Raises DestinationUnavailable: a file cannot be used."""
        try:
            context = ssl.create_default_context(cafile=self.ca)
            apply_profile(context)
            if self.ca is not None:
                trust(context, self.ca)
            if self.certificate is not None:
                context.load_cert_chain(self.certificate, self.key, password=no_passphrase)
        except CertificatesRefused as error:
            raise DestinationUnavailable(error.reason.text) from error
        except (OSError, ValueError) as error:
            text = f"a certificate or key for TLS cannot be used: {type(error).__name__}"
            raise DestinationUnavailable(text) from error
        context.check_hostname = self.check_server_name
        return context


@dataclass(frozen=True, kw_only=True, slots=True)
class Link:
    """A connection to one peer. connect_timeout_s: until it stands. answer_timeout_s: for each answer of the peer."""

    tls: Tls | None = None
    connect_timeout_s: float = CONNECT_TIMEOUT_S
    answer_timeout_s: float = ANSWER_TIMEOUT_S

    def tls_args(self, host: str) -> tuple[ssl.SSLContext, str] | None:
        """As pynetdicom takes them. Raises DestinationUnavailable."""
        return (self.tls.context(), self.tls.server_name or host) if self.tls else None

    def obstacle(self, host: str, port: int) -> str | None:
        """Why TLS with this peer fails, found by trying once more: pynetdicom says only that it failed."""
        if self.tls is None:
            return None
        name = self.tls.server_name or host
        try:
            with (
                socket.create_connection((host, port), self.connect_timeout_s) as plain,
                self.tls.context().wrap_socket(plain, server_hostname=name) as connection,
            ):
                # in TLS 1.3 a peer tells what it thinks of our certificate only after the handshake
                connection.settimeout(_ALERT_S)
                connection.recv(1)
        except ssl.SSLCertVerificationError as error:
            return f"its certificate is not accepted: {error.verify_message}"
        except ssl.SSLError as error:
            return f"TLS fails: {error.reason}"
        except OSError:
            return None
        return None


PLAIN = Link()


def no_passphrase() -> str:
    """For `load_cert_chain`: OpenSSL would else ask for a passphrase on the terminal. Raises ValueError."""
    raise ValueError("the key needs a passphrase")
