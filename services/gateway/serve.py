"""Runs the desk's HTTP server until SIGTERM or SIGINT, then ends with exit code 0."""

import contextlib
import logging
import signal
from collections.abc import Generator

import structlog
import uvicorn
from fastapi import FastAPI

from services.logs import where
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


class _WithoutText(logging.Filter):
    """Of an error that reached uvicorn, its type and place only: its text and traceback may quote patient data."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the record in place; none is held back."""
        if record.exc_info and record.exc_info[1]:
            record.msg, record.args = "unexpected_error %s", (where(record.exc_info[1]),)
            record.exc_info = record.exc_text = None
        return True


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
    logging.getLogger("uvicorn.error").addFilter(_WithoutText())
    log.info("desk_open", address=settings.http)
    _Server(config).run()
    log.info("desk_closed")
