"""Runs the desk's HTTP server until SIGTERM or SIGINT, then ends with exit code 0."""

import contextlib
import signal
from collections.abc import Generator

import structlog
import uvicorn
from fastapi import FastAPI

from services.settings import Settings

log = structlog.get_logger(__name__)

GRACEFUL_SHUTDOWN_S = 10


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Stop on a signal, but unlike uvicorn do not raise it again: a clean stop is exit code 0, not 143."""
        originals = {sig: signal.signal(sig, self.handle_exit) for sig in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for sig, original in originals.items():
                signal.signal(sig, original)


def serve(app: FastAPI, settings: Settings) -> None:
    """Serve until a signal. The access log is off: it would hold query strings, which may be patient data.

    Raises SystemExit (not 0) when the address cannot be bound.
    """
    host, _, port = settings.http.rpartition(":")
    config = uvicorn.Config(
        app,
        host=host.strip("[]"),
        port=int(port),
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=GRACEFUL_SHUTDOWN_S,
    )
    log.info("desk_open", address=settings.http)
    _Server(config).run()
    log.info("desk_closed")
