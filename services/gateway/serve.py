"""Runs the desk's HTTP server until SIGTERM or SIGINT, then ends with exit code 0."""

import contextlib
import resource
import signal
import threading
from collections.abc import Generator

import structlog
import uvicorn
from fastapi import FastAPI

from services.gateway.http_tls import http_tls
from services.gateway.patient_http import MAX_HEAD_BYTES, limited
from services.settings import Settings

log = structlog.get_logger(__name__)

GRACEFUL_SHUTDOWN_S = 10
_FILES = 512


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, stop: threading.Event) -> None:
        super().__init__(config)
        self._stop = stop

    async def on_tick(self, counter: int) -> bool:
        """Whether to end; uvicorn asks ten times a second."""
        return await super().on_tick(counter) or self._stop.is_set()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Stop on a signal, but unlike uvicorn do not raise it again: a clean stop is exit code 0, not 143."""
        originals = {sig: signal.signal(sig, self.handle_exit) for sig in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for sig, original in originals.items():
                signal.signal(sig, original)


def _allow_files(connections: int) -> None:
    """As many open files as the connections need, as far as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = 2 * connections + _FILES
    allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))


def serve(app: FastAPI, settings: Settings, stop: threading.Event) -> None:
    """Serve until a signal, or until `stop` is set.

    The access log is off: it would hold query strings, which may be patient data.
    Raises SystemExit (not 0) when the address cannot be bound, CertificatesRefused.
    """
    host, _, port = settings.http.rpartition(":")
    tls = http_tls(settings)
    _allow_files(settings.http_connections)
    config = uvicorn.Config(
        app,
        host=host.strip("[]"),
        port=int(port),
        http=limited(most=settings.http_connections),
        h11_max_incomplete_event_size=MAX_HEAD_BYTES,
        ws="none",
        ssl_context_factory=(lambda _config, _default: tls.context) if tls else None,
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=GRACEFUL_SHUTDOWN_S,
    )
    log.info("desk_open", address=settings.http)
    _Server(config, stop).run()
    log.info("desk_closed")
