"""The chart, rendered by Helm's own engine."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helm.engine import Chart
from tests.helm.manifests import Manifest

CHART = Path(__file__).resolve().parents[2] / "helm" / "vigie"
PROFILES = ("evaluation", "hospital", "region")
KUBERNETES = ("1.27", "1.31", "1.34")
OPERATORS = {
    "cert-manager.io/v1", "gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1alpha2", "keda.sh/v1alpha1",
    "monitoring.coreos.com/v1", "postgresql.cnpg.io/v1", "rabbitmq.com/v1beta1",
}  # fmt: skip
"""Whose custom resources the chart makes."""

Render = Callable[[dict[str, Any]], list[Manifest]]


@pytest.fixture(scope="session")
def chart() -> Chart:
    return Chart.load(CHART)


@pytest.fixture(scope="session")
def render(chart: Chart) -> Render:
    """Values to manifests; Helm asks the schema first (HelmValuesError)."""

    def rendered(values: dict[str, Any]) -> list[Manifest]:
        return manifests_of(chart.render(values, name="vigie", namespace="radiology"))

    return rendered


def manifests_of(texts: dict[str, str]) -> list[Manifest]:
    """Every manifest that Helm would send to the cluster."""
    return [one for name, text in texts.items() if name.endswith(".yaml") for one in yaml.safe_load_all(text) if one]


def profile(name: str) -> dict[str, Any]:
    """Values of a profile, or `operators`: everything on that other operators do."""
    folder = CHART if name in PROFILES else Path(__file__).parent
    return yaml.safe_load((folder / f"values-{name}.yaml").read_text())


def changed(values: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy with another value at a path (`door.tls.enabled`)."""
    values = copy.deepcopy(values)
    *places, last = path.split(".")
    inner = values
    for place in places:
        inner = inner.setdefault(place, {})
    inner[last] = value
    return values
