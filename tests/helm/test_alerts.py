"""Alerts and dashboard ask for metrics that are really exported, and each alert has a section in the runbook."""

import json
import re
from datetime import timedelta
from pathlib import Path

import promql_parser
import pytest

from deploy.chart import CHART
from services.backends.files import FolderStudyFiles
from services.backends.store.reconciliations import Reconciled
from services.gateway.observatory.observing import turn
from services.gateway.retention import Keeper
from services.settings import Settings
from services.triage.commitment import CommitmentRequest
from services.triage.finding import Flag
from services.triage.patient import AdtOutcome
from services.triage.retention import KEEP_EVERYTHING
from services.triage.switch import ModelScope
from tests.helm.conftest import Render, profile
from tests.support.worklist import MODEL, Ward, found

RUNBOOK = Path(__file__).resolve().parents[2] / "docs" / "runbook.md"
OF_TRITON = {"nv_inference_queue_duration_us", "nv_inference_request_duration_us", "nv_inference_request_success"}
OF_PROMETHEUS = {"namespace", "instance", "pod", "le"}


def rules(render: Render) -> list[dict]:
    (rule,) = (one for one in render(profile("hospital")) if one["kind"] == "PrometheusRule")
    return rule["spec"]["groups"][0]["rules"]


def dashboard_queries() -> list[str]:
    board = json.loads((CHART / "files" / "dashboard.json").read_text())
    return [
        target["expr"].replace("$namespace", "radiology") for panel in board["panels"] for target in panel["targets"]
    ]


def selectors(query: str) -> list[tuple[str, set[str]]]:
    """(metric, its label names) of each selector of a query. Raises ValueError where Prometheus could not read it."""
    found: list[tuple[str, set[str]]] = []

    def visit(node: promql_parser.Expr) -> bool:
        if isinstance(node, promql_parser.VectorSelector):
            found.append((node.name, {matcher.name for matcher in node.matchers.matchers}))
        if isinstance(node, promql_parser.MatrixSelector):
            visit(node.vector_selector)
        return True

    promql_parser.walk(promql_parser.parse(query), visit)
    return found


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Label names of every series that a gateway exports of which everything was used once."""
    ward = Ward(tmp_path_factory.mktemp("ward"))
    ward.analysed(1, found(Flag.URGENT, (0.9, 12.0)))
    ward.store.count_message("A08", AdtOutcome.REFUSED)
    request = CommitmentRequest(transaction_uid="2.25.1", calling_ae_title="CT1", objects=(("1.2", "1.3"),))
    ward.store.requests.enter(request, now=ward.now)
    claim = ward.store.reconciliations.claim("archive", now=ward.now, duration=timedelta(minutes=1))
    assert claim
    ward.store.reconciliations.finish(claim, Reconciled(studies=3, missing=1, incomplete=1, fetched=0), now=ward.now)
    keep = {"rules": KEEP_EVERYTHING, "space": lambda: (1, 2), "interval": timedelta(hours=1)}
    assert Keeper(store=ward.store, files=FolderStudyFiles(ward.folder), **keep).run()
    ward.now += timedelta(days=1)
    assert turn(ward.store, Settings(data=ward.folder), now=ward.now)
    ward.store.switches.switch_off(ModelScope(model_name=MODEL.name), reason="x", actor="x", now=ward.now)
    client = ward.client()
    client.get("/healthz")
    names: dict[str, set[str]] = {}
    for line in client.get("/metrics").text.splitlines():
        if series := re.match(r"([a-z_]+)(?:\{(.*?)\})? ", line):
            names.setdefault(series[1], set()).update(re.findall(r'(\w+)="', series[2] or ""))
    return names


def test_alerts_ask_for_what_is_exported(render: Render, exported: dict[str, set[str]]):
    assert len(rules(render)) >= 10
    for rule in rules(render):
        asked = selectors(rule["expr"])
        assert asked, rule["alert"]
        for metric, labels in asked:
            assert metric in exported, rule["alert"]
            assert labels <= exported[metric] | OF_PROMETHEUS, rule["alert"]
            assert "namespace" in labels, rule["alert"]


def test_the_dashboard_asks_for_what_is_exported(exported: dict[str, set[str]]):
    for query in dashboard_queries():
        for metric, labels in selectors(query):
            assert metric in exported or metric in OF_TRITON, query
            assert labels <= exported.get(metric, set()) | OF_PROMETHEUS, query


def test_an_alert_says_what_to_do_and_has_a_section_in_the_runbook(render: Render):
    sections = re.findall(r"^## (.*)$", RUNBOOK.read_text(), re.MULTILINE)
    assert sorted(sections) == sorted(rule["alert"] for rule in rules(render))
    for rule in rules(render):
        assert rule["annotations"]["action"]
        assert rule["annotations"]["runbook_url"].endswith("#" + rule["alert"].lower())
        assert rule["labels"]["severity"] in {"warning", "critical"}
