"""A TCP proxy that counts what passes: the bytes on the wire, without what else the loopback interface carries."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class CountingProxy:
    """Passes TCP on to a port of the loopback interface, and counts the bytes of its payload, both ways."""

    upstream: int
    bytes_: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def serve(self, listener: socket.socket) -> None:
        """Take connections until the listener is closed."""
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.create_connection(("127.0.0.1", self.upstream))
                for source, target in ((client, server), (server, client)):
                    threading.Thread(target=self._pass_on, args=(source, target), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):  # the other direction has closed both
            while content := source.recv(2**18):
                with self._lock:
                    self.bytes_ += len(content)
                target.sendall(content)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)


@contextmanager
def counting(upstream: int) -> Iterator[tuple[CountingProxy, str]]:
    """A proxy, and the HOST:PORT where it listens."""
    proxy = CountingProxy(upstream)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=proxy.serve, args=(listener,), daemon=True).start()
        yield proxy, f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
