"""The observatory's Prometheus metrics: what was found last, and the energy of all analyses."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from services.backends.store.observations import Observations
from services.observatory.figures import Alarm
from services.triage.errors import StoreUnavailable


class ObservatoryCollector(Collector):
    """Reads a few rows at each scrape."""

    def __init__(self, observations: Observations) -> None:
        self.observations = observations

    def describe(self) -> list[Metric]:
        """Nothing: else the registry would ask the store when it is built."""
        return []

    def collect(self) -> Iterator[Metric]:
        """All families; none while the store is away."""
        try:
            kept, energy = self.observations.kept(), self.observations.energy_j()
        except StoreUnavailable:
            return
        alarm = GaugeMetricFamily(
            "vigie_observatory_alarm",
            "1 while the observatory's alarm sounds for a model version. Open /observatory: it says what has changed.",
            labels=["model", "version", "kind"],
        )
        measure = GaugeMetricFamily(
            "vigie_observatory_measure",
            "Agreement with readers and shares of studies over the observatory's window, 0 to 1; absent where too few "
            "were counted. docs/observatory.md says what each means; intervals are at /observatory.",
            labels=["model", "version", "measure"],
        )
        computed = GaugeMetricFamily(
            "vigie_observatory_timestamp_seconds",
            "When the observatory last looked. Older than a few hours: see observing_broke in the desk's log.",
            labels=["model", "version"],
        )
        for one in kept:
            model = [one.figures.scope.model, one.figures.scope.model_version]
            for kind in Alarm:
                alarm.add_metric([*model, kind], int(kind in one.figures.alarms))
            for share, told in one.figures.measures.items():
                if told.value is not None:
                    measure.add_metric([*model, share], told.value)
            computed.add_metric(model, one.computed_at.timestamp())
        spent = CounterMetricFamily(
            "vigie_energy_joules",
            "Energy of all analyses, measured or estimated. If it grows faster than studies, look at model and host.",
            labels=["model", "source"],
        )
        for (name, source), joules in energy.items():
            spent.add_metric([name, source], joules)
        yield from (alarm, measure, computed, spent)
