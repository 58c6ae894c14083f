"""The chart, rendered by Helm's own engine."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from helm_python import Chart

CHART = Path(__file__).resolve().parents[2] / "helm" / "vigie"
PROFILES = ("evaluation", "hospital", "region")

Manifest = dict[str, Any]
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
    return yaml.safe_load((CHART / f"values-{name}.yaml").read_text())
