"""What Kubernetes does not let an upgrade change, taken from a rendered chart; and that chart's default values.

`python -m tests.helm.released` keeps both, with the values of the profiles, for the chart as it is: do so when a
version of the chart is released, and never again for that version.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import yaml

from tests.helm.conftest import CHART, PROFILES, Manifest, manifests_of, profile
from tests.helm.engine import Chart

FOLDER = Path(__file__).with_name("released")

# Fields of `spec` that the API server refuses to change. A claim may grow, so its size is not among them.
IMMUTABLE = {
    "StatefulSet": ("selector", "serviceName", "podManagementPolicy", "volumeClaimTemplates"),
    "Deployment": ("selector",),
    "PersistentVolumeClaim": ("accessModes", "storageClassName", "volumeMode", "volumeName"),
    "Service": ("clusterIP",),
}
KEPT = ("PersistentVolumeClaim", "StatefulSet", "Secret", "Service")
"""Kinds that hold what must outlive an upgrade, or that senders and PACS know by name."""


def immutable(manifests: list[Manifest]) -> dict[str, dict[str, Any]]:
    """'Kind/name' to its fields that no upgrade may change; hooks are made anew and are left out."""
    found = {}
    for one in manifests:
        if "helm.sh/hook" in one["metadata"].get("annotations", {}):
            continue
        spec = one.get("spec", {})
        kept = {field: spec.get(field) for field in IMMUTABLE.get(one["kind"], ())}
        found[f"{one['kind']}/{one['metadata']['name']}"] = kept
    return found


def main() -> None:
    """Keep the chart as it is."""
    chart = Chart.load(CHART)
    kept = {}
    for name in PROFILES:
        values = profile(name)
        kept[name] = {"values": values, "objects": immutable(manifests_of(chart.render(values, **RELEASE)))}
    path = FOLDER / f"{version_now()}.json"
    path.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")
    shutil.copy(CHART / "values.yaml", path.with_suffix(".yaml"))


def version_now() -> str:
    """Of the chart as it is."""
    return str(yaml.safe_load((CHART / "Chart.yaml").read_text())["version"])


RELEASE = {"name": "vigie", "namespace": "radiology"}

if __name__ == "__main__":
    main()
