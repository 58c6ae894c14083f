"""The desk as a process of its own, over a real socket."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.support.peers import free_port
from tests.support.worklist import Ward

RUN = """
from services.gateway.app import run_http
from services.gateway.role import Role
from services.logs import configure_logging
from services.settings import Settings
from services.supervisor import run_part
configure_logging("INFO")  # as every command does
def part(settings):
    run_http(settings, Role.{role})
run_part(part, Settings())
"""

UPGRADE_BREAKS = """
from services.gateway import app
from services.triage.errors import SchemaRefused
def open_store(url):
    raise {error}
app.open_store = open_store
"""

BREAK = """
from services.backends.store.desk import Board
def study(self, uid):
    raise RuntimeError("FAMILY1^Given")
Board.study = study
"""


@contextmanager
def desk(folder: Path, port: int, *, first: str = "", role: str = "ALL") -> Iterator[tuple[subprocess.Popen[str], str]]:
    environment = {**os.environ, "VIGIE_DATA": str(folder), "VIGIE_HTTP": f"127.0.0.1:{port}"}
    process = subprocess.Popen(
        [sys.executable, "-c", f"{first}\n{RUN.format(role=role)}"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process, f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def wait_until_ready(process: subprocess.Popen[str], base: str) -> None:
    wait_until_answers(process, f"{base}/readyz")


def wait_until_answers(process: subprocess.Popen[str], url: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, process.stdout.read()
        try:
            if httpx.get(url).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    pytest.fail("not ready within 60 s")


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_exit_code_0_and_no_patient_data_in_its_log(tmp_path: Path, stop: signal.Signals) -> None:
    with desk(tmp_path, free_port()) as (process, base):
        wait_until_ready(process, base)
        ward = Ward(tmp_path)
        ward.arrive(1)
        assert "FAMILY1, Given" in httpx.get(base).text
        assert len(httpx.get(f"{base}/api/studies?search=FAMILY1").json()["studies"]) == 1
        assert httpx.get(f"{base}/studies/FAMILY1").status_code == 422
        process.send_signal(stop)
        log, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "FAMILY1" not in log


def test_an_address_in_use_ends_it_with_an_error_that_names_it(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with desk(tmp_path, port) as (process, _):
            log, _ = process.communicate(timeout=60)
    assert process.returncode not in (0, None)
    assert str(port) in log


def test_a_fault_is_logged_by_type_and_place_without_its_text(tmp_path: Path) -> None:
    with desk(tmp_path, free_port(), first=BREAK) as (process, base):
        wait_until_ready(process, base)
        assert httpx.get(f"{base}/api/studies/1.2.3").json()["code"] == "internal_error"
        process.send_signal(signal.SIGTERM)
        log, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "RuntimeError" in log
    assert "FAMILY1" not in log


@pytest.mark.parametrize("error", ['RuntimeError("FAMILY1^Given")', 'SchemaRefused("schema_too_new", "update it")'])
def test_a_desk_whose_upgrade_breaks_ends_so_that_it_is_started_again(tmp_path: Path, error: str) -> None:
    with desk(tmp_path, free_port(), first=UPGRADE_BREAKS.format(error=error)) as (process, _):
        log, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "part_broke" in log or "part_failed" in log
    assert "FAMILY1" not in log


def test_the_doors_side_goes_on_without_a_database_that_it_can_use(tmp_path: Path) -> None:
    first = UPGRADE_BREAKS.format(error='SchemaRefused("schema_too_new", "update it")')
    with desk(tmp_path, free_port(), first=first, role="DOOR") as (process, base):
        wait_until_answers(process, f"{base}/healthz")
        process.send_signal(signal.SIGTERM)
        log, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "schema_refused" in log
