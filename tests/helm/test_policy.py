"""What a platform team asks of every workload: where it runs, what goes first, how it is watched."""

import json
from typing import Any

import pytest

from tests.helm.conftest import CHART, PROFILES, Render, changed, profile
from tests.helm.manifests import Manifest, named, of_kind, pod_labels, pods

SERVING = ("door", "desk", "deliver")
ANALYSING = ("worker", "triton")


@pytest.fixture(scope="module", params=[*PROFILES, "operators"])
def manifests(request: pytest.FixtureRequest, render: Render) -> list[Manifest]:
    return render(profile(request.param))


@pytest.fixture(scope="module")
def operated(render: Render) -> list[Manifest]:
    return render(profile("operators"))


def test_pods_of_a_component_are_spread_over_zones_and_nodes(manifests: list[Manifest]):
    for component in (*SERVING, *ANALYSING):
        name = f"vigie-{component}"
        spread = pods(manifests)[name]["topologySpreadConstraints"]
        assert [one["topologyKey"] for one in spread] == ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]
        for one in spread:
            # a full zone must not keep a door from starting
            assert one["whenUnsatisfiable"] == "ScheduleAnyway"
            assert one["labelSelector"]["matchLabels"].items() <= pod_labels(manifests)[name].items()


def test_database_and_broker_of_an_operator_are_spread_too(operated: list[Manifest]):
    cluster = named(operated, "Cluster", "vigie-database")["spec"]
    broker = named(operated, "RabbitmqCluster", "vigie-rabbitmq")["spec"]["override"]["statefulSet"]["spec"]
    for spread in (cluster["topologySpreadConstraints"], broker["template"]["spec"]["topologySpreadConstraints"]):
        assert [one["topologyKey"] for one in spread] == ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]


def test_images_go_before_analyses(render: Render, operated: list[Manifest]):
    classes = {name: pod.get("priorityClassName") for name, pod in pods(operated).items()}
    assert {classes[f"vigie-{one}"] for one in SERVING} == {"images"}
    assert {classes[f"vigie-{one}"] for one in ANALYSING} == {"analyses"}
    assert named(operated, "Cluster", "vigie-database")["spec"]["priorityClassName"] == "images"
    evaluation = pods(render(changed(profile("evaluation"), "priorityClassName", "images")))
    assert {evaluation[f"vigie-{one}"].get("priorityClassName") for one in ("database", "broker")} == {"images"}
    assert "priorityClassName" not in evaluation["vigie-worker"]


def least(manifests: list[Manifest], name: str) -> int:
    """Replicas that there are at least."""
    scaled = [one["spec"]["minReplicaCount"] for one in of_kind(manifests, "ScaledObject")
              if one["spec"]["scaleTargetRef"]["name"] == name]  # fmt: skip
    of = next(
        one for one in manifests if one["kind"] in {"Deployment", "StatefulSet"} and one["metadata"]["name"] == name
    )
    return int((scaled or [of["spec"].get("replicas")])[0])


def test_a_drained_node_takes_one_pod_at_a_time_and_is_never_blocked(manifests: list[Manifest]):
    """A budget for a single pod would hold up every drain: where there is one pod, there is no budget."""
    budgets = {one["metadata"]["name"]: one["spec"] for one in of_kind(manifests, "PodDisruptionBudget")}
    for component in (*SERVING, *ANALYSING):
        name = f"vigie-{component}"
        assert (name in budgets) is (least(manifests, name) > 1), name
    assert all(one["maxUnavailable"] == 1 for one in budgets.values())


@pytest.mark.parametrize("name", ["hospital", "region"])
def test_with_one_node_lost_images_are_taken_in_shown_and_sent(render: Render, name: str):
    """Nobody replaces the pod of a StatefulSet whose node is lost."""
    manifests = render(profile(name))
    assert all(least(manifests, f"vigie-{component}") > 1 for component in SERVING)


def probes(pod: dict[str, Any], kind: str) -> dict[str, Any]:
    return dict(pod["containers"][0][kind])


def test_probes_mean_something(manifests: list[Manifest]):
    """Liveness asks for nothing that a restart would not mend; a door is ready as long as it can answer senders."""
    door, desk, triton = (pods(manifests)[f"vigie-{one}"] for one in ("door", "desk", "triton"))
    assert probes(door, "readinessProbe")["tcpSocket"] == {"port": "dicom"}
    assert probes(desk, "readinessProbe")["httpGet"]["path"] == "/readyz"
    for pod in (door, desk):
        assert probes(pod, "livenessProbe")["httpGet"]["path"] == "/healthz"
    assert probes(triton, "readinessProbe")["httpGet"]["path"] == "/v2/health/live"
    for pod in (door, desk, triton):
        live, start = probes(pod, "livenessProbe"), probes(pod, "startupProbe")
        assert live["failureThreshold"] * live["periodSeconds"] >= 120
        assert start["failureThreshold"] * start["periodSeconds"] >= 120


def test_requests_have_their_reason_beside_them():
    """Each component's `resources` in values.yaml has a comment of its own right above it."""
    lines = (CHART / "values.yaml").read_text().splitlines()
    asked = [number for number, line in enumerate(lines) if line.strip() == "resources:"]
    assert len(asked) >= 9
    for number in asked:
        assert lines[number - 1].strip().startswith("#"), lines[number - 1]


def test_all_that_has_metrics_is_scraped_and_may_be(operated: list[Manifest]):
    monitors = {one["metadata"]["name"]: one["spec"] for one in of_kind(operated, "PodMonitor")}
    assert set(monitors) == {
        f"vigie-{one}" for one in ("door", "desk", "worker", "deliver", "triton", "database", "broker")
    }
    ports = {"door": 8000, "desk": 8000, "triton": 8002, "database": 9187, "broker": 15691}
    prometheus = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
    (rule,) = named(operated, "NetworkPolicy", "vigie-metrics")["spec"]["ingress"]
    assert ([{"port": 9108}], prometheus in rule["from"]) == (rule["ports"], True)
    for component, port in ports.items():
        policy = named(operated, "NetworkPolicy", f"vigie-{component}")["spec"]
        assert any(
            {"port": port} in rule["ports"] and prometheus in rule["from"]
            for rule in policy["ingress"]
            if "from" in rule
        ), component
        selector = monitors[f"vigie-{component}"]["selector"]["matchLabels"]
        assert policy["podSelector"]["matchLabels"] == selector
    (endpoint,) = monitors["vigie-broker"]["podMetricsEndpoints"]
    assert (endpoint["scheme"], endpoint["port"]) == ("https", "prometheus-tls")


def test_the_dashboards_are_found_by_grafanas_sidecar(operated: list[Manifest]):
    board = named(operated, "ConfigMap", "vigie-dashboard")
    assert board["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert len(board["data"]) == 5
    assert all(json.loads(each)["panels"] for each in board["data"].values())


@pytest.mark.parametrize(("server", "port"), [("ntp.hospital.example", 123), ("192.0.2.5:1123", 1123)])
def test_the_time_server_of_the_settings_can_be_asked(render: Render, server: str, port: int):
    policy = named(render(changed(profile("hospital"), "settings.ntp", server)), "NetworkPolicy", "vigie-time")["spec"]
    assert policy["egress"] == [{"ports": [{"port": port, "protocol": "UDP"}]}]
    (components,) = policy["podSelector"]["matchExpressions"]
    assert {"door", "desk", "worker", "deliver"} == set(components["values"])
    without = of_kind(render(profile("hospital")), "NetworkPolicy")
    assert "vigie-time" not in [one["metadata"]["name"] for one in without]
