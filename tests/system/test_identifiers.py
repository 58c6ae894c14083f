"""No identifier of a patient is in any log line, metric, message, span, error text or problem, of any process.

A telling patient goes the whole way, and everything on it goes wrong once.
"""

import base64
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from tests.support import telling_patient as patient
from tests.support.ct import write_series
from tests.support.hl7 import adt_message, code, mllp_send
from tests.support.http_server import Server, serving
from tests.support.otlp import collector
from tests.support.pacs import pacs_file
from tests.support.peers import free_port, listens, wait_until
from tests.support.standalone import Running, standalone
from tests.support.telling import SECRET, credentials_file

VIGIE = str(Path(sys.executable).parent / "vigie")

pytestmark = pytest.mark.system

MULTIPART = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=b'}


def send(folder: Path, series, vigie: Running) -> str:
    write_series(series, folder)
    subprocess.run([VIGIE, "send", str(folder), vigie.address], check=False, capture_output=True)
    return str(series[0].StudyInstanceUID)


def stow(root: str, content: bytes) -> httpx.Response:
    body = b"--b\r\nContent-Type: application/dicom\r\n\r\n" + content + b"\r\n--b--\r\n"
    return httpx.post(f"{root}/dicomweb/studies", content=body, headers=MULTIPART, timeout=30)


def speak_nonsense(port: int) -> None:
    """What is no HTTP, no DICOM and no HL7 at all, but names the patient."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as peer:
        peer.sendall("\x0bPID|1||77120||Wörlitzsch^Änneliese\x1c\r\n\r\n".encode())
        peer.shutdown(socket.SHUT_WR)


def problems(root: str, uid: str) -> Iterator[httpx.Response]:
    """Requests that are refused, or find nothing, each naming the patient."""
    name, pid = patient.ATTRIBUTES["PatientName"], patient.ATTRIBUTES["PatientID"]
    with httpx.Client(base_url=root, timeout=30) as client:
        yield client.get(f"/api/studies/{pid}")
        yield client.get(f"/{name}/{pid}")
        yield client.get("/api/studies", params={"search": name, "limit": name})
        yield client.get("/dicomweb/studies", params={"PatientName": name, "limit": pid})
        yield client.get("/dicomweb/studies", params={"PatientBirthDate": "19430217-Wörlitzsch"})
        yield client.post(f"/api/studies/{uid}/verdicts", json={"answer": name, "verdict_id": pid})
        yield client.post(f"/api/studies/{uid}/verdicts", content=name.encode())
        yield client.post("/dicomweb/studies", content=name.encode(), headers={"Content-Type": f"text/{pid}"})
        yield client.request("PUT", f"/dicomweb/workitems/{pid}/state", json=[{"00100010": {"Value": [name]}}])


def texts_of_the_database(path: Path) -> Iterator[bytes]:
    """Every reason that was recorded, and every line of the histories."""
    with closing(sqlite3.connect(path)) as database:
        for table, columns in (
            ("delivery", "reason_text"),
            ("result", "reason_text"),
            ("board", "reason_text"),
            ("event", "what || cause || actor"),
        ):
            for (text,) in database.execute(f"SELECT {columns} FROM {table}"):
                yield str(text).encode()


def answer(root: str, uid: str, comment: str) -> httpx.Response:
    """An answer to the one result."""
    (version,) = study(root, uid)["versions"]
    result_id = version["jobs"][0]["result"]["result_id"]
    given = {"verdict_id": uuid4().hex, "answer": "accept", "comment": comment, "result_id": result_id}
    return httpx.post(f"{root}/api/studies/{uid}/verdicts", json=given, timeout=30)


def test_no_identifier_of_a_patient_leaves_by_logs_metrics_messages_spans_or_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook, hl7_port = Server(), free_port()
    hook.status, hook.body = 400, patient.ATTRIBUTES["PatientName"].encode()  # a receiver that quotes what it refuses
    notifications = tmp_path / "notifications.toml"
    away = f"PACS@127.0.0.1:{free_port()}"
    with collector() as spans, serving(hook) as url:
        for name, value in spans.settings().items():
            monkeypatch.setenv(name, value)
        notifications.write_text(f'[hook]\nkind = "webhook"\naddress = "{url}"\n')
        with standalone(
            tmp_path / "data",
            send_to=[str(tmp_path / "out"), away, f"{url}/refuses"],
            fake_segmenter_s=0,
            hl7=f"127.0.0.1:{hl7_port}",
            pacs=pacs_file(tmp_path / "pacs.toml", f"ARCHIVE@127.0.0.1:{free_port()}"),
            pacs_grace_s=1,
            notifications=notifications,
            notification_credentials=credentials_file(tmp_path, hook=f'secret = "{SECRET}"'),
            verdict_quiet_s=0.5,
            observatory_interval_s=1,
            log_level="DEBUG",
        ) as vigie:
            root = f"http://127.0.0.1:{vigie.http_port}"
            wait_until(lambda: listens(vigie.http_port) and listens(hl7_port), what="desk and HL7 listener")
            os.kill(vigie.pid_of("worker"), signal.SIGSTOP)
            uid = send(tmp_path / "study", patient.study(), vigie)
            wait_until(lambda: vigie.events("study_complete"))
            wait_until(lambda: list(queued(tmp_path / "data" / "vigie.sqlite")), what="the message")
            messages = list(queued(tmp_path / "data" / "vigie.sqlite"))
            os.kill(vigie.pid_of("worker"), signal.SIGCONT)
            wait_until(lambda: vigie.events("frozen"))
            wait_until(lambda: vigie.events("delivered") and vigie.events("delivery_failed"))
            wait_until(lambda: vigie.events("delivery_refused"))
            # before the other patient's image: there is nothing to accept of a study of two
            taken = answer(root, uid, "Frau Wörlitzsch, 17.02.1943")
            assert taken.is_success, taken.text
            wait_until(lambda: vigie.events("verdict_document"), what="the verdicts' document")

            # another patient's image under the same study, one damaged, one that is none
            mixed = patient.study(PatientID="77120-OTHER", StudyInstanceUID=uid)
            damaged = write_series(mixed, tmp_path / "mixed")[0].read_bytes()
            stow(root, damaged)
            stow(root, damaged[: len(damaged) // 2])
            stow(root, "".join(patient.ATTRIBUTES.values()).encode())
            for number, segment in enumerate(
                ("PID|1||PID-77120-QX^^^ST-ELSEWHERE||Wörlitzsch^Anne||19430217|F", "PID|1||||Wörlitzsch", "ZZZ|77120")
            ):
                code(mllp_send(hl7_port, adt_message(segment, control_id=str(number)), tmp_path))
            for port in (vigie.http_port, vigie.dicom_port, hl7_port):
                speak_nonsense(port)
            wait_until(lambda: len(list(vigie.events("frozen"))) > 1, what="the result of both patients' images")
            refused = list(problems(root, uid))
            metrics = httpx.get(f"{root}/metrics", timeout=30).content
            ready = httpx.get(f"{root}/readyz", timeout=30).content
            assert vigie.stop() == 0
    log = vigie.log.read_bytes()
    reasons = list(texts_of_the_database(tmp_path / "data" / "vigie.sqlite"))
    assert all(one.status_code < 500 for one in refused), [one.status_code for one in refused]
    assert messages
    assert spans.raw
    assert len(reasons) > 20
    for line in log.splitlines():
        # but for what the command itself says to the person who typed it
        assert line.startswith((b" ", b"Stopped")) or json.loads(line)["event"]
        assert patient.traces(line) == set(), line
    for what in (metrics, ready, *messages, *spans.raw, *reasons):
        assert patient.traces(what) == set(), what
    for one in refused:
        assert patient.traces(one.content + str(one.headers).encode()) == set(), (one.request.method, one.url.path)


def test_the_search_finds_an_identifier_in_each_form_that_it_may_have() -> None:
    for text in ("name=W\\u00f6rlitzsch", "/studies?n=W%C3%B6rlitzsch", "Frau W&ouml;rlitzsch, PID-77120-qx"):
        assert patient.traces(text.encode())
    assert patient.traces("Wörlitzsch".encode("utf-16-le"))
    assert patient.traces("Wörlitzsch".encode("latin-1"))
    for before in range(3):
        assert patient.traces(base64.b64encode(b"x" * before + "Wörlitzsch^Änneliese".encode() + b"^Dr"))
    assert not patient.traces(b'{"event": "frozen", "job": "9f2c", "trace_id": "4bf92f3577b34da6"}')


def queued(path: Path) -> Iterator[bytes]:
    """The bodies and headers of the messages that wait."""
    with closing(sqlite3.connect(path)) as database:
        for body, traceparent in database.execute("SELECT body, traceparent FROM queue_bell"):
            yield f"{body}{traceparent}".encode()


def study(root: str, uid: str) -> dict:
    return httpx.get(f"{root}/api/studies/{uid}", timeout=30).json()
