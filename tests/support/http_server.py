"""An HTTP server that answers as told and keeps what it was asked."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer


class Server:
    """Answers each request with `status` and `body`, and keeps what it was asked."""

    def __init__(self) -> None:
        self.status, self.body = 200, b""
        self.answer_headers: dict[str, str] = {}
        self.requests: list[tuple[str, dict[str, str], bytes]] = []

    @property
    def path(self) -> str:
        return self.requests[-1][0] if self.requests else ""

    @property
    def headers(self) -> dict[str, str]:
        return self.requests[-1][1]

    @property
    def content(self) -> bytes:
        return self.requests[-1][2] if self.requests else b""


@contextmanager
def serving(server: Server) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self._answer(self.rfile.read(int(self.headers["Content-Length"])))

        def do_GET(self) -> None:
            self._answer(b"")

        def _answer(self, content: bytes) -> None:
            server.requests.append((self.path, dict(self.headers), content))
            self.send_response(server.status)
            for name, value in server.answer_headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(server.body)))
            self.end_headers()
            self.wfile.write(server.body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{http.server_address[1]}/dicom-web"
        finally:
            http.shutdown()
            thread.join()
