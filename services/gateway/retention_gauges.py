"""Prometheus metrics of what is kept here and what was deleted, as the last pass of retention found it."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from services.backends.store.retaining import Deletions, Retaining
from services.triage.errors import StoreUnavailable
from services.triage.retention import RetentionReport


class RetentionCollector(Collector):
    """Reads one row at each scrape. is_on: whether the settings have anything deleted."""

    def __init__(self, retaining: Retaining, *, is_on: bool) -> None:
        self.retaining = retaining
        self.is_on = is_on

    def describe(self) -> list[Metric]:
        """Nothing: else the registry would ask the store when it is built."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Whether it is on; and from the store, unless it is away, what was deleted ever and what is kept."""
        yield GaugeMetricFamily(
            "vigie_retention_switched_on",
            "1 where VIGIE_RETENTION_DAYS or another of its settings has something deleted. Then passes must be made.",
            value=int(self.is_on),
        )
        try:
            report, ever = self.retaining.report()
        except StoreUnavailable:
            return
        yield from _deleted(ever)
        if report is not None:
            yield from _kept(report)


def _deleted(ever: Deletions) -> Iterator[Metric]:
    yield CounterMetricFamily(
        "vigie_retention_deleted_studies",
        "Studies whose images were deleted by retention. At a standstill while the disk fills up: see what holds them.",
        value=ever.studies,
    )
    yield CounterMetricFamily(
        "vigie_retention_deleted_bytes", "Bytes of images that were deleted by retention.", value=ever.size_bytes
    )


def _kept(report: RetentionReport) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "vigie_kept_studies", "Studies whose images are kept here, as of the last pass.", value=report.studies
    )
    yield GaugeMetricFamily(
        "vigie_kept_images_bytes", "Bytes of images that are kept here, as of the last pass.", value=report.image_bytes
    )
    oldest = GaugeMetricFamily(
        "vigie_kept_oldest_timestamp_seconds",
        "When anything was last done with the study that is kept longest. If it falls behind VIGIE_RETENTION_DAYS, "
        "'vigie retention plan' says what holds it.",
        labels=(),
    )
    if report.oldest_at is not None:
        oldest.add_metric((), report.oldest_at.timestamp())
    yield oldest
    held = GaugeMetricFamily(
        "vigie_retention_held_studies",
        "Studies that are old enough, whose images stay all the same, by what holds them ('vigie retention plan').",
        labels=["reason"],
    )
    for reason, count in report.held.items():
        held.add_metric([str(reason)], count)
    yield held
    yield GaugeMetricFamily(
        "vigie_retention_pressed",
        "1 while the disk is so full that images go before their age (VIGIE_RETENTION_FREE_PERCENT).",
        value=int(report.pressed),
    )
    yield GaugeMetricFamily(
        "vigie_retention_timestamp_seconds",
        "When the last pass of retention ended; absent until then. Older than two intervals: look for "
        "retention_postponed in the log.",
        value=report.finished_at.timestamp(),
    )
