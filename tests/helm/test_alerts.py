"""Alerts, recording rules and dashboards ask for metrics that are really exported; each alert is in the runbook.

What is exported is asked of a gateway, a worker and a deliver that have done everything once.
"""

import json
import re
import threading
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient

from deploy.chart import CHART, RUNBOOK
from deploy.metrics import LABELS, PAGE, document, of_gateway, of_process
from services.backends.files import FolderStudyFiles
from services.backends.senders import routes, sender_for
from services.backends.store.reconciliations import Reconciled
from services.deliver.sending import Sending
from services.exposition import expose
from services.gateway.app import create_app
from services.gateway.observatory.observing import turn
from services.gateway.retention import Keeper
from services.gateway.role import Role
from services.gateway.scrubbing import Scrubbing
from services.settings import Settings
from services.sizing.estimate import CONSTANTS, Question, estimate
from services.tls_gauges import of_broker
from services.triage.commitment import CommitmentRequest
from services.triage.errors import Reason
from services.triage.finding import Flag
from services.triage.job import OrderPriority, Plan
from services.triage.patient import AdtOutcome
from services.triage.retention import KEEP_EVERYTHING
from services.triage.study import VersionKey
from services.triage.switch import ModelScope
from services.worker.metrics import energy_read_from
from tests.helm.conftest import Render, profile
from tests.support.certificates import Authority
from tests.support.house import House, chest_with_ball
from tests.support.peers import free_port
from tests.support.promql import selectors
from tests.support.worklist import MODEL, Ward, found

OF_TRITON = {"nv_inference_queue_duration_us", "nv_inference_request_duration_us", "nv_inference_request_success"}
OF_PROMETHEUS = {"namespace", "instance", "pod", "le"}


def groups(render: Render) -> list[list[dict]]:
    (rule,) = (one for one in render(profile("hospital")) if one["kind"] == "PrometheusRule")
    return [group["rules"] for group in rule["spec"]["groups"]]


def rules(render: Render) -> list[dict]:
    """The alerts."""
    return groups(render)[1]


def recorded(render: Render) -> dict[str, str]:
    """Name and query of what the recording rules make."""
    return {one["record"]: one["expr"] for one in groups(render)[0]}


def dashboards() -> dict[str, dict]:
    return {path.name: json.loads(path.read_text()) for path in sorted((CHART / "files" / "dashboards").iterdir())}


def dashboard_queries() -> list[str]:
    return [
        target["expr"].replace("$namespace", "radiology")
        for board in dashboards().values()
        for panel in board["panels"]
        for target in panel["targets"]
    ]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Label names of every series that a gateway exports of which everything was used once."""
    ward = Ward(tmp_path_factory.mktemp("ward"))
    ward.analysed(1, found(Flag.URGENT, (0.9, 12.0)))
    for number in range(11, 17):  # enough for the observatory
        ward.analysed(number, found(Flag.ROUTINE, (0.7, 5.0)))
    ward.arrive(2)
    version, nothing = VersionKey(study_instance_uid=ward.uid(2), number=1), Reason(code="out_of_scope", text="x")
    told = {"priority": OrderPriority.ROUTINE, "seen": 3, "said": Reason(code="pacs_agrees", text="x")}
    assert ward.store.complete(version, Plan(jobs=(), out_of_scope=nothing), now=ward.now, **told)
    ward.store.count_message("A08", AdtOutcome.REFUSED)
    request = CommitmentRequest(transaction_uid="2.25.1", calling_ae_title="CT1", objects=(("1.2", "1.3"),))
    ward.store.requests.enter(request, now=ward.now)
    claim = ward.store.reconciliations.claim("archive", now=ward.now, duration=timedelta(minutes=1))
    assert claim
    ward.store.reconciliations.finish(claim, Reconciled(studies=3, missing=1, incomplete=1, fetched=0), now=ward.now)
    keep = {"rules": KEEP_EVERYTHING, "space": lambda: (1, 2), "interval": timedelta(hours=1)}
    assert Keeper(store=ward.store, files=FolderStudyFiles(ward.folder), **keep).run()
    ward.now += timedelta(days=1)
    assert turn(ward.store, Settings(data=ward.folder, observatory_minimum=5), now=ward.now)
    ward.store.switches.switch_off(ModelScope(model_name=MODEL.name), reason="x", actor="x", now=ward.now)
    scrubbing = Scrubbing(ward.store, ward.files, files_per_s=20, stop=threading.Event())
    for minutes in range(2):
        scrubbing.turn(ward.now + timedelta(minutes=minutes))
    client = ward.client(**speaking_tls(tmp_path_factory.mktemp("tls")))
    client.get("/healthz")
    told = [client.get("/metrics").text, work_and_deliver(tmp_path_factory.mktemp("house"))]
    names: dict[str, set[str]] = {}
    for line in "\n".join(told).splitlines():
        if series := re.match(r"([a-z_]+)(?:\{(.*?)\})? ", line):
            names.setdefault(series[1], set()).update(re.findall(r'(\w+)="', series[2] or ""))
    return names


def speaking_tls(folder: Path) -> dict[str, str]:
    """Settings of a DICOM listener by TLS, whose clients' authority has a list of revoked certificates."""
    authority = Authority(folder / "authority")
    ours, ca = authority.certificate("door.example"), folder / "clients.pem"
    ca.write_bytes(authority.ca.read_bytes() + authority.revocation_list())
    files = {"dicom_tls_certificate": ours.certificate, "dicom_tls_key": ours.key, "dicom_tls_ca": ca}
    return {"dicom_tls": "127.0.0.1:2762", **{name: str(path) for name, path in files.items()}}


def work_and_deliver(folder: Path) -> str:
    """One study analysed and delivered; answers what desk, worker and deliver then export of it."""
    house = House(data=folder / "data", send_to=(str(folder / "out"),))
    settings = house.settings.model_copy(update={"metrics": f"127.0.0.1:{free_port()}"})
    expose(settings, house.store, part="worker", tls=[of_broker(settings)])
    house.freeze(chest_with_ball())
    energy_read_from({"cpu": "rapl", "gpu": "nvml"})
    (route,) = routes(settings)
    sending = Sending(
        store=house.store,
        destination=route.destination,
        claim_s=60,
        retry_s=1,
        retry_max_s=1,
        stop=threading.Event(),
        files=house.files,
        sender=sender_for(route, settings),
    )
    assert sending.turn() == 0
    desk = create_app(settings, store=house.store, files=house.files, role=Role.DESK)
    of_desk = TestClient(desk, base_url="http://127.0.0.1:8000").get("/metrics").text
    return of_desk + httpx.get(f"http://{settings.metrics}/metrics").text


def test_alerts_and_recording_rules_ask_for_what_is_exported(render: Render, exported: dict[str, set[str]]):
    made = recorded(render)
    known = exported | {key: {"namespace"} for key in made}
    queries = {rule["alert"]: rule["expr"] for rule in rules(render)} | made
    assert len(queries) >= 40
    for name, query in queries.items():
        asked = selectors(query)
        assert asked, name
        for metric, labels in asked:
            assert metric in known, name
            assert labels <= known[metric] | OF_PROMETHEUS, name
            assert "namespace" in labels, name


def test_the_dashboards_ask_for_what_is_exported(render: Render, exported: dict[str, set[str]]):
    known = exported | {key: {"namespace"} for key in recorded(render)}
    assert len(dashboards()) == 5
    for query in dashboard_queries():
        for metric, labels in selectors(query):
            assert metric in known or metric in OF_TRITON, query
            assert labels <= known.get(metric, set()) | OF_PROMETHEUS, query


def test_the_chart_brings_every_dashboard_whole(render: Render):
    (found,) = (one for one in render(profile("hospital")) if one["metadata"]["name"] == "vigie-dashboard")
    loaded = {name.removeprefix("vigie-"): json.loads(text) for name, text in found["data"].items()}
    assert loaded == dashboards()
    assert len({board["uid"] for board in loaded.values()}) == len(loaded)
    for board in loaded.values():
        assert len({panel["title"] for panel in board["panels"]}) == len(board["panels"])
        assert all(panel["description"] for panel in board["panels"])


def test_every_metric_that_is_exported_is_in_the_page_of_metrics_with_its_labels(exported: dict[str, set[str]]):
    told = {one.name: set(one.labels) for one in (*of_gateway(), *of_process("worker"), *of_process("deliver"))}
    page = PAGE.read_text()
    for metric, labels in exported.items():
        if not metric.startswith("vigie_") or metric.endswith("_created"):
            continue
        name = re.sub(r"_(bucket|count|sum)$", "", metric) if metric not in told else metric
        assert name in told, metric
        assert labels - {"le"} == told[name], metric
        assert f"`{name}`" in page


def test_the_page_of_metrics_is_as_the_metrics_are():
    assert PAGE.read_text() == document(), "python -m deploy.metrics"


def test_metrics_are_named_as_prometheus_wants_them():
    for one in (*of_gateway(), *of_process("worker"), *of_process("deliver")):
        assert re.fullmatch(r"vigie_[a-z]+(_[a-z]+)*", one.name)
        assert (one.kind == "counter") == one.name.endswith("_total"), one.name
        assert set(one.labels) <= set(LABELS), one.name
        for wrong in ("_ms", "_minutes", "_mb", "_percent"):
            assert wrong not in one.name


def test_an_alert_brings_its_section_of_the_runbook_and_a_link_where_the_site_has_one(render: Render):
    """At night there may be no way to a page: what to do is in the message, of the version that runs."""
    told = {rule["alert"]: rule["annotations"]["description"] for rule in rules(render)}
    assert told["VigieDatabaseAway"].startswith("Look at the database's server, its disk and its connections.")
    assert "a revocation list that is over (docs/security.md)" in told["VigieCallersRefused"]
    for alert, text in told.items():
        assert len(text) > 100, alert
        assert "](" not in text, alert
        assert "{{" not in text, f"{alert}: Prometheus would read it as a template"
        for page in re.findall(r"\((docs/[^)]+|deploy/[^)]+)\)", text):
            assert (RUNBOOK.parents[1] / page).exists(), alert
    linked = profile("hospital") | {"monitoring": {"rules": True, "runbookUrl": "https://wiki.example/vigie#"}}
    (rule,) = (one for one in render(linked) if one["kind"] == "PrometheusRule")
    for one in rule["spec"]["groups"][1]["rules"]:
        assert one["annotations"]["runbook_url"] == "https://wiki.example/vigie#" + one["alert"].lower()


def test_an_alert_says_what_to_do_and_has_a_section_in_the_runbook(render: Render):
    sections = re.findall(r"^## (.*)$", RUNBOOK.read_text(), re.MULTILINE)
    assert sorted(sections) == sorted(rule["alert"] for rule in rules(render))
    for rule in rules(render):
        assert rule["annotations"]["action"]
        assert "runbook_url" not in rule["annotations"]
        assert rule["labels"]["severity"] in {"warning", "critical"}


@pytest.mark.parametrize("name", ["hospital", "region"])
def test_all_files_that_fit_are_looked_for_before_an_alert_says_that_they_are_not(render: Render, name: str):
    """Files of the usual mix, on average; retention keeps a share of the claim free."""
    values, usual = profile(name), estimate(Question.usual())
    mb = usual.received_gb_per_day * 1000 / (usual.instances_per_hour * CONSTANTS["day_hours"].value)
    claimed_mb = int(values["data"]["size"].removesuffix("Ti")) * 2**40 / 1e6
    files = claimed_mb * (1 - values["settings"]["retention_free_percent"] / 100) / mb
    (query,) = (rule["expr"] for rule in rules(render) if rule["alert"] == "VigieScrubStale")
    days = re.search(r"> (\d+) \* 86400", query)
    assert days
    default = Settings.model_fields["scrub_files_per_s"].default
    a_second = values["settings"].get("scrub_files_per_s", default)
    assert a_second * int(days[1]) * 86400 > files
