"""Audit messages to a syslog server: RFC 5424, framed by their length over TLS (RFC 5425), as IHE ITI-20 has it.

Syslog acknowledges nothing. So each batch has a connection of its own that ends in order: our close_notify comes behind
the last message, and TLS hands on in order, so that a server that answers it has read all. Where the answer does not
come, the batch counts as not sent, and is sent again: at least once.
"""

import os
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from services.triage.errors import CertificatesRefused, DestinationUnavailable

PRIORITY = 85
"""Facility 10 (security and authorisation), severity 5 (normal but significant): PS3.15 A.6, ITI TF-2 3.20."""

MESSAGE_ID = "IHE+RFC-3881"
APP_NAME = "vigie"
_BOM = b"\xef\xbb\xbf"
_CONNECT_S = 10.0
_ANSWER_S = 30.0


@dataclass(frozen=True, kw_only=True, slots=True)
class SyslogServer:
    """Where it is; ca: None: the machine's own authorities. certificate, key: ours, where it wants one."""

    host: str
    port: int
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def send(self, messages: Sequence[bytes]) -> None:
        """Send messages in their order; returns when the server has read the last.

        Raises DestinationUnavailable (none, some or all may have arrived), CertificatesRefused (ours).
        """
        context = self._context()
        try:
            with socket.create_connection((self.host, self.port), timeout=_CONNECT_S) as plain:
                plain.settimeout(_ANSWER_S)
                with context.wrap_socket(plain, server_hostname=self.host) as connection:
                    for each in messages:
                        connection.sendall(b"%d %b" % (len(each), each))
                    _end(connection)
        except OSError as error:  # ssl.SSLError is one
            reason = getattr(error, "verify_message", None) or error.strerror or type(error).__name__
            raise DestinationUnavailable(f"syslog {self.host}:{self.port}: {reason}") from error

    def _context(self) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=self.ca)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            if self.certificate is not None:
                context.load_cert_chain(self.certificate, self.key)
        except (OSError, ValueError) as error:
            text = f"the certificates for the syslog server cannot be used ({type(error).__name__})"
            raise CertificatesRefused("certificates_unusable", text) from error
        return context


def syslog_message(document: bytes, *, at: datetime) -> bytes:
    """An RFC 5424 message of an audit message (UTF-8 XML)."""
    host = socket.gethostname() or "-"
    time = at.isoformat(timespec="milliseconds")
    head = f"<{PRIORITY}>1 {time} {host} {APP_NAME} {os.getpid()} {MESSAGE_ID} - "
    return head.encode() + _BOM + document


def _end(connection: ssl.SSLSocket) -> None:
    """Say that no more comes, and wait until the server has read that.

    Some servers answer with close_notify, others only close: both after they have read ours. A connection that breaks
    raises: its server may have read nothing.
    """
    try:
        connection.unwrap()
    except ssl.SSLEOFError:
        return
    except ssl.SSLError as error:
        if error.reason != "UNEXPECTED_EOF_WHILE_READING":
            raise
