"""An application on a socket of this machine, in a thread."""

import asyncio
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

from tests.support.peers import free_port


@contextmanager
def served(
    app: ASGIApp,
    *,
    port: int | None = None,
    http: type[asyncio.Protocol] | None = None,
    tls: ssl.SSLContext | None = None,
) -> Iterator[str]:
    """Answers its address; at the end open streams are cut. http: how it speaks HTTP, where not as uvicorn does."""
    port = port or free_port()
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=port,
        log_level="error",
        timeout_graceful_shutdown=1,
        http=http or "auto",
        ssl_context_factory=(lambda *_: tls) if tls else None,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.02)
        yield f"{'https' if tls else 'http'}://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()
