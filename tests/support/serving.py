"""An application behind a real HTTP server on loopback."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from tests.support.peers import free_port, listens, wait_until


@contextmanager
def serving_app(app: FastAPI) -> Iterator[str]:
    """Its address, while it is served."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    wait_until(lambda: listens(port), what="the server listening")
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(10)
