"""A syslog server over TLS (RFC 5425) that keeps what it has read; it can be told to break connections."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.peers import free_port


@dataclass
class Syslog:
    """messages: whole, in their order. breaks: so many connections are reset once a message was read."""

    port: int
    certificate: Path
    key: Path
    ca: Path | None = None
    messages: list[bytes] = field(default_factory=list)
    connections: int = 0
    breaks: int = 0
    _listener: socket.socket | None = None

    def context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=self.ca)
        context.load_cert_chain(self.certificate, self.key)
        context.verify_mode = ssl.CERT_REQUIRED if self.ca else ssl.CERT_NONE
        return context

    def serve(self, listener: socket.socket) -> None:
        while True:
            try:
                plain, _ = listener.accept()
            except OSError:
                return
            with plain, suppress(OSError), self.context().wrap_socket(plain, server_side=True) as connection:
                self.connections += 1
                self._read(connection)

    def _read(self, connection: ssl.SSLSocket) -> None:
        waiting = b""
        while chunk := connection.recv(65536):
            waiting += chunk
            while (message := _framed(waiting)) is not None:
                length, waiting = message
                self.messages.append(waiting[:length])
                waiting = waiting[length:]
                if self.breaks:
                    self.breaks -= 1
                    linger = b"\x01\0\0\0\0\0\0\0"  # on, no time: close resets the connection
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    return
        connection.unwrap()


def _framed(waiting: bytes) -> tuple[int, bytes] | None:
    """MSG-LEN SP SYSLOG-MSG: the length, and what follows it; None where it is not whole yet."""
    length, space, rest = waiting.partition(b" ")
    if not space or len(rest) < int(length):
        return None
    return int(length), rest


@contextmanager
def syslog(certificate: Path, key: Path, *, ca: Path | None = None, port: int | None = None) -> Iterator[Syslog]:
    server = Syslog(port=port or free_port(), certificate=certificate, key=key, ca=ca)
    with socket.create_server(("127.0.0.1", server.port)) as listener:
        thread = threading.Thread(target=server.serve, args=(listener,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            listener.shutdown(socket.SHUT_RDWR)
    thread.join(5)
