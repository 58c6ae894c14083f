"""One trace from the association to the committed result: real RabbitMQ, PostgreSQL and Triton, and a kill."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.support.archive import archive
from tests.support.bundle import bright_spot_bundle, routing_file
from tests.support.ct import write_series
from tests.support.house import House, chest_with_ball
from tests.support.otlp import Collector, Received, collector
from tests.support.peers import wait_until
from tests.support.postgres import Postgres
from tests.support.rabbitmq import RabbitMQ
from tests.support.standalone import Running, standalone
from tests.support.triton import triton_server

VIGIE = str(Path(sys.executable).parent / "vigie")

KILLED = "killed"
STAGES = {"load", "segment", "find", "report", "freeze", "triton infer"}

pytestmark = pytest.mark.system


def send(folder: Path, series, vigie: Running) -> str:
    write_series(series, folder)
    subprocess.run([VIGIE, "send", str(folder), vigie.address], check=True, capture_output=True)
    return str(series[0].StudyInstanceUID)


def study(vigie: Running, uid: str) -> dict:
    return httpx.get(f"http://127.0.0.1:{vigie.http_port}/api/studies/{uid}", timeout=30).json()


def parents(spans: list[Received]) -> dict[str, str]:
    """Name of each span -> that of its parent, '' for the root, KILLED for one that its process never ended."""
    by_id = {one.span_id: one.name for one in spans}
    return {one.name: by_id.get(one.parent_id, KILLED) if one.parent_id else "" for one in spans}


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch):
    with collector() as running:
        for name, value in running.settings().items():
            monkeypatch.setenv(name, value)
        yield running


def test_one_trace_leads_from_the_association_to_the_committed_result_though_a_worker_is_killed(
    tmp_path: Path, told: Collector, broker: RabbitMQ, postgresql: Postgres
) -> None:
    destinations = tmp_path / "destinations.toml"
    # slow enough to be killed in the midst of an analysis
    hook = "time.sleep(4) if inputs[0].max() > 0.4 else None"
    bright_spot_bundle(tmp_path / "models", level_hu=0.0, hook=hook)
    with (
        archive() as pacs,
        postgresql.database() as database,
        triton_server(tmp_path / "models", tmp_path) as triton,
    ):
        destinations.write_text(
            f'[pacs]\naddress = "{pacs.address}"\nstorage_commitment = true\ncommitment_wait_s = 5\n'
        )
        with standalone(
            tmp_path / "data",
            database_url=database,
            broker_url=broker.url,
            broker_prefix="traces",
            triton=triton.url,
            models=triton.models,
            routing=routing_file(tmp_path / "routing.toml"),
            destinations=destinations,
            lease_s=5,
        ) as vigie:
            uid = send(tmp_path / "study", chest_with_ball(), vigie)
            wait_until(lambda: [one for one in vigie.events("stage") if one["stage"] == "segment"])
            os.kill(vigie.pid_of("worker"), signal.SIGKILL)
            wait_until(lambda: told.named("commitment report"), timeout_s=90, what="the commitment")
            trace_id = study(vigie, uid)["versions"][0]["trace_id"]
            page = httpx.get(f"http://127.0.0.1:{vigie.http_port}/studies/{uid}", timeout=30).text
            assert vigie.stop() == 0
            logged = [line for name in ("frozen", "delivered", "study_complete") for line in vigie.events(name)]
    assert {one.trace_id for one in told.spans} == {trace_id}
    of_triton = [one for one in told.spans if one.service == "triton"]
    ours = [one for one in told.spans if one.service != "triton"]
    assert trace_id in page
    (frozen,) = (one for one in told.named("freeze") if not one.failed)
    analysed = next(one for one in told.named("analyse") if one.span_id == frozen.parent_id)
    # stages that the killed attempt had ended name it as their parent; it has no span itself
    assert parents([one for one in ours if one.start_ns >= analysed.start_ns or one.name not in STAGES]) == {
        "receive C-STORE": "",
        "record": "receive C-STORE",
        "complete": "receive C-STORE",
        "publish": "complete",
        "analyse": "complete",
        "load": "analyse",
        "segment": "analyse",
        "triton infer": "segment",
        "find": "analyse",
        "report": "analyse",
        "freeze": "analyse",
        "delivery": "freeze",
        "commitment": "freeze",
        "commitment report": "freeze",
    }
    asked = next(one for one in told.named("triton infer") if one.start_ns >= analysed.start_ns)
    assert asked.span_id in {one.parent_id for one in of_triton}
    (received,) = told.named("receive C-STORE")
    assert received.service == "vigie-door"
    assert received.attributes["vigie.instances"] == len(chest_with_ball())
    assert analysed.attributes["vigie.attempt"] >= 2
    assert {span_id for _, span_id in analysed.links} <= {one.span_id for one in told.named("publish")}
    assert {line["trace_id"] for line in logged} == {trace_id}
    assert len(logged) == 3


def test_images_that_come_later_have_a_trace_of_their_own_with_a_link_to_the_first(
    tmp_path: Path, told: Collector
) -> None:
    series = chest_with_ball()
    with standalone(tmp_path / "data", send_to=[str(tmp_path / "out")], fake_segmenter_s=0) as vigie:
        send(tmp_path / "first", series[:18], vigie)
        wait_until(lambda: len(told.named("delivery")) == 1)
        uid = send(tmp_path / "late", series[18:], vigie)
        wait_until(lambda: len(told.named("delivery")) == 2)
        second, first = (one["trace_id"] for one in study(vigie, uid)["versions"])
        assert vigie.stop() == 0
    assert {one.trace_id for one in told.spans} == {first, second}
    (complete,) = (one for one in told.named("complete") if one.trace_id == second)
    assert [trace_id for trace_id, _ in complete.links] == [first]
    assert not House(data=tmp_path / "data").store.board.counts().jobs.get("queued")


def test_without_a_collector_each_study_has_its_trace_id_all_the_same(tmp_path: Path) -> None:
    with standalone(tmp_path / "data", send_to=[str(tmp_path / "out")], fake_segmenter_s=0) as vigie:
        uid = send(tmp_path / "study", chest_with_ball(), vigie)
        wait_until(lambda: vigie.events("delivered"))
        trace_id = study(vigie, uid)["versions"][0]["trace_id"]
        assert vigie.stop() == 0
    logged = [line for name in ("frozen", "delivered", "study_complete", "stage") for line in vigie.events(name)]
    assert len(trace_id) == 32
    assert {line["trace_id"] for line in logged} == {trace_id}


def test_a_collector_that_is_away_stops_nobody_and_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    with standalone(tmp_path / "data", send_to=[str(tmp_path / "out")], fake_segmenter_s=0) as vigie:
        send(tmp_path / "study", chest_with_ball(), vigie)
        wait_until(lambda: vigie.events("delivered"))
        assert vigie.stop() == 0
    away = vigie.events("telemetry_unreachable")
    assert away
    assert all("127.0.0.1" not in str(line) for line in away)
