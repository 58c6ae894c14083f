"""How many workers KEDA would have: the chart's own queries on a real database, and what comes of them."""

from datetime import timedelta
from math import ceil
from typing import Any

import psycopg
import pytest

from services.backends.store import SqlStudyStore, open_store
from services.triage.job import Lease
from tests.helm.conftest import Render, profile
from tests.helm.manifests import Manifest, named, pods
from tests.support.postgres import Postgres
from tests.support.records import a_result, after, complete_study, lease_next

TOLERANCE = 0.1
"""The autoscaler leaves things as they are within a tenth (horizontal-pod-autoscaler-tolerance)."""


@pytest.fixture(scope="module")
def manifests(render: Render) -> list[Manifest]:
    return render(profile("region"))


def wanted(scaled: Manifest, url: str, current: int) -> int:
    """Replicas that the autoscaler would have now, for triggers of AverageValue: the most that any trigger asks for.

    Kubernetes documentation, Horizontal Pod Autoscaling, Algorithm details: total / target, rounded up.
    """
    spec = scaled["spec"]
    asked = []
    with psycopg.connect(url) as connection:
        for trigger in spec["triggers"]:
            assert trigger["type"] == "postgresql"
            assert trigger.get("metricType", "AverageValue") == "AverageValue"
            (total,) = connection.execute(trigger["metadata"]["query"]).fetchone() or (None,)
            target = float(trigger["metadata"]["targetQueryValue"])
            within = abs(total / (target * current) - 1) <= TOLERANCE
            asked.append(current if within else ceil(total / target))
    return min(max(*asked, spec["minReplicaCount"]), spec["maxReplicaCount"])


@pytest.mark.parametrize(
    ("queued", "leased", "expected"),
    [(0, 0, 4), (1, 0, 4), (24, 0, 8), (25, 0, 9), (20, 10, 10), (0, 12, 12), (3, 9, 9)],
)
def test_there_are_workers_for_unfinished_jobs_and_one_for_each_in_hand(
    manifests: list[Manifest], postgresql: Postgres, queued: int, leased: int, expected: int
):
    """minReplicas 4, jobsPerWorker 3: with 20 queued and 10 in hand 30 are unfinished, which asks for 10 too."""
    with postgresql.database() as url:
        store = open_store(url)
        fill(store, queued=queued, leased=leased)
        scaled = named(manifests, "ScaledObject", "vigie-worker")
        for current in (4, 20, 64):
            found = wanted(scaled, url.replace("+psycopg", ""), current)
            assert found == expected
            assert found >= leased
        store.close()


def test_a_worker_may_go_once_its_job_is_done(manifests: list[Manifest], postgresql: Postgres):
    scaled = named(manifests, "ScaledObject", "vigie-worker")
    with postgresql.database() as url:
        store = open_store(url)
        lease = fill(store, queued=0, leased=6)[0]
        assert wanted(scaled, url, 64) == 6
        result, sha256s = a_result()
        store.freeze(lease, result, sha256s=sha256s, destinations=[], now=after(30))
        assert wanted(scaled, url, 64) == 5
        store.close()


def fill(store: SqlStudyStore, *, queued: int, leased: int) -> list[Lease]:
    for number in range(queued + leased):
        complete_study(store, study=f"1.{number + 1}", images=1)
    return [lease_next(store, worker=f"worker-{number}", at=20)[0] for number in range(leased)]


def test_when_the_database_is_away_no_worker_is_taken_away(manifests: list[Manifest]):
    spec = named(manifests, "ScaledObject", "vigie-worker")["spec"]
    assert spec["fallback"]["behavior"] == "currentReplicasIfHigher"
    assert spec["fallback"]["replicas"] == spec["minReplicaCount"]


def test_workers_go_one_by_one_and_may_finish_their_analysis(manifests: list[Manifest]):
    spec = named(manifests, "ScaledObject", "vigie-worker")["spec"]
    down = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"]
    assert down["policies"] == [{"type": "Pods", "value": 1, "periodSeconds": 60}]
    # who sets the number: the autoscaler alone
    assert "replicas" not in named(manifests, "Deployment", "vigie-worker")["spec"]
    grace = timedelta(seconds=int(named(manifests, "ConfigMap", "vigie-settings")["data"]["VIGIE_STOP_GRACE_S"]))
    assert timedelta(seconds=pods(manifests)["vigie-worker"]["terminationGracePeriodSeconds"]) >= grace + timedelta(
        minutes=1
    )


def test_built_in_and_operated_databases_are_asked_by_a_name_that_keda_can_resolve(render: Render):
    """It asks from its own namespace, where a Service's bare name means nothing."""
    values: dict[str, Any] = {**profile("evaluation"), "worker": {"autoscaling": {"enabled": True}}}
    manifests = render(values)
    assert "@vigie-database.radiology:5432/" in named(manifests, "Secret", "vigie-database")["stringData"]["uri"]
    policy = named(manifests, "NetworkPolicy", "vigie-database")["spec"]["ingress"][0]["from"]
    assert {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "keda"}}} in policy
