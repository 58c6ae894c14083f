"""Custom resources against the schemas of their own operators.

Those of cert-manager, CloudNativePG, the Gateway API, KEDA and the Prometheus operator come from npm's
@kubernetes-models packages (`make crds`; the lock file beside validate.mjs names versions and digests). No package
carries RabbitMQ's: its fields that the chart uses are written down by hand, strictly, in rabbitmqcluster.schema.json.
"""

import copy
import json
import subprocess
from pathlib import Path

import jsonschema
import pytest

from tests.helm.conftest import CHART, OPERATORS, PROFILES, Manifest, Render, changed, manifests_of, profile
from tests.helm.engine import Chart

CRDS = Path(__file__).with_name("crds")
MODULES = CHART.parents[1] / "build" / "crds" / "node_modules"
RABBITMQ = "rabbitmq.com/v1beta1"


def findings(manifests: list[Manifest]) -> list[str]:
    """What the operators' schemas have to say; nothing where all is well."""
    assert MODULES.is_dir(), "run: make crds"
    ours = [one for one in manifests if one["apiVersion"] in OPERATORS]
    of_rabbitmq = [one for one in ours if one["apiVersion"] == RABBITMQ]
    validator = jsonschema.Draft202012Validator(json.loads((CRDS / "rabbitmqcluster.schema.json").read_text()))
    told = [
        f"{one['kind']}/{one['metadata']['name']}: {error.json_path}: {error.message}"
        for one in of_rabbitmq
        for error in validator.iter_errors(one)
    ]
    done = subprocess.run(
        ["node", CRDS / "validate.mjs", MODULES],
        input=json.dumps([one for one in ours if one not in of_rabbitmq]),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return told + json.loads(done.stdout)


@pytest.mark.parametrize("name", [*PROFILES, "operators"])
def test_every_custom_resource_is_what_its_operator_expects(render: Render, name: str):
    assert findings(render(profile(name))) == []


def test_all_operators_are_asked(render: Render):
    kinds = {one["kind"] for one in render(profile("operators")) if one["apiVersion"] in OPERATORS}
    assert kinds == {
        "Certificate", "Cluster", "ScheduledBackup", "RabbitmqCluster", "HTTPRoute", "TCPRoute", "ScaledObject",
        "TriggerAuthentication", "PodMonitor", "PrometheusRule",
    }  # fmt: skip


# (kind, dotted path, wrong value): so the schemas are really asked, for values and for names
WRONG = [
    ("Certificate", "spec.issuerReference", {"name": "ca"}),
    ("Certificate", "spec.privateKey.rotationPolicy", "Sometimes"),
    ("Cluster", "spec.instances", "3"),
    ("Cluster", "spec.postgresql.synchronous.dataDurability", "always"),
    ("Cluster", "spec.storage.storageClassName", "local"),
    ("ScheduledBackup", "spec.method", "tape"),
    ("RabbitmqCluster", "spec.persistence.size", "10Gi"),
    ("RabbitmqCluster", "spec.tls.disableNonTLSListeners", "yes"),
    ("HTTPRoute", "spec.hostnames", ["https://vigie.example"]),
    ("HTTPRoute", "spec.timeout", "300s"),
    ("TCPRoute", "spec.rules", []),
    ("ScaledObject", "spec.fallback.behavior", "whatever"),
    ("ScaledObject", "spec.minReplicas", 1),
    ("TriggerAuthentication", "spec.secretTargetRef", [{"name": "secret"}]),
    ("PodMonitor", "spec.podMetricsEndpoints", [{"interval": "30 seconds"}]),
    ("PrometheusRule", "spec.groups", [{"rules": []}]),
]


@pytest.fixture(scope="module")
def told_of_wrong(chart: Chart) -> list[list[str]]:
    """Findings of each wrong resource, by one run of the validator for all."""
    manifests = manifests_of(chart.render(profile("operators"), name="vigie", namespace="radiology"))
    wrong = []
    for number, (kind, path, value) in enumerate(WRONG):
        one = changed(copy.deepcopy(next(each for each in manifests if each["kind"] == kind)), path, value)
        one["metadata"]["name"] = f"wrong{number:02}"
        wrong.append(one)
    found = findings(wrong)
    return [[each for each in found if f"/wrong{number:02}" in each] for number in range(len(WRONG))]


@pytest.mark.parametrize("number", range(len(WRONG)), ids=[f"{kind}-{path}" for kind, path, _ in WRONG])
def test_a_wrong_custom_resource_is_found(told_of_wrong: list[list[str]], number: int):
    assert told_of_wrong[number]
