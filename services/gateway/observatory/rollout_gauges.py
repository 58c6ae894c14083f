"""The Prometheus metrics of roll-outs: which version has which part, and how many looks of shadows there are."""

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from services.backends.store import SqlStudyStore
from services.triage.errors import StoreUnavailable


class RolloutCollector(Collector):
    """Reads a few rows at each scrape."""

    def __init__(self, store: SqlStudyStore) -> None:
        self.store = store

    def describe(self) -> list[Metric]:
        """Nothing: else the registry would ask the store when it is built."""
        return []

    def collect(self) -> Iterator[Metric]:
        """All families; none while the store is away."""
        try:
            decisions, counts = self.store.rollouts.in_force(), self.store.shadows.counts()
        except StoreUnavailable:
            return
        parts = GaugeMetricFamily(
            "vigie_model_part",
            "Share of studies that a version looks at, by its part; absent while the standing version has them all. "
            "A change that nobody knows of: 'vigie models rollout' says who decided on it and why.",
            labels=["model", "version", "role"],
        )
        for one in decisions:
            rollout = one.rollout
            share = rollout.canary.share if rollout.canary else 0.0
            parts.add_metric([rollout.model_name, rollout.active or "standing", "active"], 1 - share)
            if rollout.canary:
                parts.add_metric([rollout.model_name, rollout.canary.version, "canary"], share)
            if rollout.shadow:
                parts.add_metric([rollout.model_name, rollout.shadow, "shadow"], 1)
        runs = GaugeMetricFamily(
            "vigie_shadow_runs",
            "Looks of shadows by state. If owed grows for days, the workers have no time left: add workers, or end it.",
            labels=["model", "state"],
        )
        for (model, state), count in counts.items():
            runs.add_metric([model, state.value], count)
        yield from (parts, runs)
