"""Metrics of a worker or of deliver: what this process has done since it started, on a port of its own.

What holds for the whole service (studies, jobs, deliveries by state) is told by door and desk, from the database, where
it survives restarts. Here is what only the process knows: how long stages take, what it tried, its memory and CPU.
"""

from collections.abc import Sequence

import structlog
from prometheus_client import CollectorRegistry, Info, ProcessCollector, start_http_server

from services import __version__
from services.backends.store import SqlStudyStore
from services.clocks import ClockCollector
from services.settings import Settings
from services.tls_gauges import TlsCollector, TlsFiles

log = structlog.get_logger(__name__)

REGISTRY = CollectorRegistry()
"""Of this process; `services.worker.metrics` and `services.deliver.metrics` fill it."""


def expose(settings: Settings, store: SqlStudyStore, *, part: str, tls: Sequence[TlsFiles] = ()) -> None:
    """Answer GET /metrics at VIGIE_METRICS from now on; without it nowhere. tls: by which this process speaks TLS.

    A port that cannot be had is said in the log and stops nobody: the work is worth more than its figures.
    """
    if settings.metrics is None:
        return
    host, _, port = settings.metrics.rpartition(":")
    build_info(REGISTRY, part)
    ProcessCollector(registry=REGISTRY)
    REGISTRY.register(ClockCollector(store, settings.ntp))
    REGISTRY.register(TlsCollector(tls))
    try:
        start_http_server(int(port), addr=host.strip("[]"), registry=REGISTRY)
    except OSError as error:
        log.error("metrics_not_exposed", address=settings.metrics, reason=error.strerror)  # noqa: TRY400
        return
    log.info("metrics_exposed", address=settings.metrics, part=part)


def build_info(registry: CollectorRegistry, part: str) -> None:
    """Which version of what runs."""
    told = Info(
        "vigie_build",
        "Version in service and the part that this process is. Compare it across replicas after an upgrade.",
        registry=registry,
    )
    told.info({"version": __version__, "part": part})
