"""Database and broker of mode `operator`: what their operators are asked for, and how our pods come to it."""

import json
from typing import Any

import pytest

from tests.helm.conftest import Render, changed, profile
from tests.helm.manifests import Manifest, named, of_kind, pods

OURS = ("vigie-door", "vigie-desk", "vigie-worker", "vigie-deliver")


@pytest.fixture(scope="module")
def manifests(render: Render) -> list[Manifest]:
    return render(profile("operators"))


def environment(pod: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Variable to (Secret, key)."""
    given = pod["containers"][0]["env"]
    keys = {one["name"]: one["valueFrom"]["secretKeyRef"] for one in given if "valueFrom" in one}
    return {name: (key["name"], key["key"]) for name, key in keys.items()}


def test_our_pods_read_the_secrets_that_the_operators_make(manifests: list[Manifest]):
    """CloudNativePG: <cluster>-app, key uri. RabbitMQ: <cluster>-default-user, key connection_string."""
    database, broker = of_kind(manifests, "Cluster")[0], of_kind(manifests, "RabbitmqCluster")[0]
    made_by_us = {one["metadata"]["name"] for one in of_kind(manifests, "Secret")}
    for name in OURS:
        given = environment(pods(manifests)[name])
        assert given["VIGIE_DATABASE_URL"] == (f"{database['metadata']['name']}-app", "uri")
        assert given["VIGIE_BROKER_URL"] == (f"{broker['metadata']['name']}-default-user", "connection_string")
    assert environment(pods(manifests)["vigie-migrate-1"])["VIGIE_DATABASE_URL"][0] == "vigie-database-app"
    assert not made_by_us


def test_keda_reads_the_same_secret(manifests: list[Manifest]):
    (reference,) = named(manifests, "TriggerAuthentication", "vigie-database")["spec"]["secretTargetRef"]
    assert reference == {"parameter": "connection", "name": "vigie-database-app", "key": "uri"}


def test_no_hook_needs_what_comes_after_it(manifests: list[Manifest]):
    """The database is there only after the install has begun: its migration is a Job that waits, and no hook."""
    hooks = [one for one in manifests if "helm.sh/hook" in one["metadata"].get("annotations", {})]
    assert {one["metadata"]["annotations"]["helm.sh/hook"] for one in hooks} == {"test"}
    migrate = named(manifests, "Job", "vigie-migrate-1")
    assert migrate["spec"]["backoffLimit"] >= 10


def test_a_failover_of_the_database_loses_nothing_that_was_committed(render: Render, manifests: list[Manifest]):
    cluster = named(manifests, "Cluster", "vigie-database")
    assert cluster["spec"]["instances"] == 3
    assert cluster["spec"]["postgresql"]["synchronous"] == {"method": "any", "number": 1, "dataDurability": "required"}
    alone = render(changed(profile("operators"), "database.operator.instances", 1))
    assert "synchronous" not in named(alone, "Cluster", "vigie-database")["spec"]["postgresql"]


def test_the_database_stays_with_the_studies_when_the_release_goes(manifests: list[Manifest]):
    for kind, name in (("Cluster", "vigie-database"), ("PersistentVolumeClaim", "vigie-data")):
        assert named(manifests, kind, name)["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}


def test_the_database_is_backed_up_where_there_is_a_place_for_it(render: Render, manifests: list[Manifest]):
    (plugin,) = named(manifests, "Cluster", "vigie-database")["spec"]["plugins"]
    assert (plugin["isWALArchiver"], plugin["parameters"]) == (True, {"barmanObjectName": "vigie-backup"})
    assert named(manifests, "ScheduledBackup", "vigie-database")["spec"]["cluster"] == {"name": "vigie-database"}
    without = render(changed(profile("operators"), "database.operator.backup.objectStore", ""))
    assert not of_kind(without, "ScheduledBackup")
    assert "plugins" not in named(without, "Cluster", "vigie-database")["spec"]


def test_the_broker_speaks_tls_and_is_known_by_its_ca(render: Render, manifests: list[Manifest]):
    tls = named(manifests, "RabbitmqCluster", "vigie-rabbitmq")["spec"]["tls"]
    certificate = named(manifests, "Certificate", "vigie-rabbitmq-tls")["spec"]
    assert tls == {"secretName": certificate["secretName"], "disableNonTLSListeners": True}
    # the host in the operator's connection string
    assert "vigie-rabbitmq.radiology.svc" in certificate["dnsNames"]
    trusted = named(manifests, "ConfigMap", "vigie-settings")["data"]["VIGIE_BROKER_CA"]
    for name in OURS:
        pod = pods(manifests)[name]
        (volume,) = (one for one in pod["volumes"] if one["name"] == "broker-tls")
        (mount,) = (one for one in pod["containers"][0]["volumeMounts"] if one["name"] == "broker-tls")
        assert trusted == f"{mount['mountPath']}/ca.crt"
        # the key of the broker is not ours to see
        items = [{"key": "ca.crt", "path": "ca.crt"}]
        assert volume["secret"] == {"secretName": certificate["secretName"], "items": items}
    plain = render(changed(profile("operators"), "broker.operator.tls", {"issuer": {"name": ""}}))
    assert "tls" not in named(plain, "RabbitmqCluster", "vigie-rabbitmq")["spec"]
    assert "broker-tls" not in json.dumps(plain)


@pytest.mark.parametrize("tls", [True, False])
def test_policies_let_pods_reach_what_the_operators_make_and_nobody_else(render: Render, tls: bool):
    values = profile("operators")
    manifests = render(values if tls else changed(values, "broker.operator.tls", {"issuer": {"name": ""}}))
    amqp = 5671 if tls else 5672
    out = named(manifests, "NetworkPolicy", "vigie-backends")["spec"]["egress"]
    reached = {rule["ports"][0]["port"]: rule["to"][0]["podSelector"]["matchLabels"] for rule in out[1:]}
    database, broker = (named(manifests, "NetworkPolicy", f"vigie-{name}")["spec"] for name in ("database", "broker"))
    assert reached == {5432: database["podSelector"]["matchLabels"], amqp: broker["podSelector"]["matchLabels"]}
    assert reached[5432] == {"cnpg.io/cluster": "vigie-database"}
    for policy, port, operator in ((database, 5432, "cnpg-system"), (broker, amqp, "rabbitmq-system")):
        assert policy["policyTypes"] == ["Ingress"]
        (ours,) = (rule["from"] for rule in policy["ingress"] if rule["ports"] == [{"port": port}])
        components = ours[0]["podSelector"]["matchExpressions"][0]["values"]
        assert components == ["door", "desk", "worker", "deliver", "migrate"]
        assert operator in json.dumps(policy["ingress"])
        assert all(rule.get("from") for rule in policy["ingress"])
    assert '"keda"' in json.dumps(database["ingress"])


def test_in_the_operators_place_stands_what_is_external_or_built_in(render: Render):
    for name in ("hospital", "evaluation"):
        assert not {"Cluster", "RabbitmqCluster"} & {one["kind"] for one in render(profile(name))}
    assert not of_kind(render(profile("operators")), "StatefulSet")[1:]
