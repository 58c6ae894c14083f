"""Switching models off and on, and recalling a period: the page, the API and the command line."""

import re
from datetime import timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner, Result

from services.cli import app
from services.triage.finding import Flag
from services.triage.switch import EVERY, Kept, ModelScope
from tests.support.people import sign_in, write_people
from tests.support.worklist import MODEL, PACS, Ward, found, nothing_found

LUNG, WHY = MODEL.name, "it marks the diaphragm"


@pytest.fixture
def ward(tmp_path: Path) -> Ward:
    ward = Ward(tmp_path)
    ward.analysed(1, found(Flag.URGENT, (0.93, 17.2)))
    ward.analysed(2, nothing_found())
    ward.now += timedelta(minutes=1)
    return ward


@pytest.fixture
def client(ward: Ward) -> TestClient:
    return sign_in(ward.client(people=write_people(ward.folder)), "lead")


def test_a_lead_switches_off_and_the_list_the_study_and_the_metrics_say_so(ward: Ward, client: TestClient) -> None:
    page = client.post("/models/switch-off", data={"which": f"{LUNG}\t{EVERY}", "reason": WHY})
    assert page.status_code == 200
    for words in ("Switched off:", f"by lead: {WHY}", "2 results are kept back and not sent."):
        assert words in page.text
    listed = client.get("/").text
    for words in ("Model switched off", "It had said: Urgent. That does not count.", "It had said: Nothing found."):
        assert words in listed
    assert "row-urgent" not in listed
    for sign_of_a_look in ('class="score"', "no-image-looked", "key-image", "0 lesions", "1 lesion"):
        assert sign_of_a_look not in listed, sign_of_a_look
    study = client.get(f"/studies/{ward.uid(1)}").text
    for words in ("Model switched off", f": {WHY}. Do not rely on it.", "This result is not sent."):
        assert words in study
    assert "saying-urgent" not in study
    row = client.get(f"/api/studies/{ward.uid(1)}").json()
    assert (row["summary"]["switched_off"], row["versions"][0]["jobs"][0]["result"]["kept_back"]) == (True, True)
    metrics = client.get("/metrics").text
    assert f'vigie_model_switched_off{{model="{LUNG}",tenant="*",version="*"}} 1.0' in metrics
    assert "vigie_deliveries_kept_back 2.0" in metrics
    assert "vigie_oldest_pending_delivery_age_seconds 0.0" in metrics


def test_switched_on_again_what_was_kept_is_sent_or_recalled_as_the_lead_chooses(
    ward: Ward, client: TestClient
) -> None:
    for kept in Kept:
        client.post("/models/switch-off", data={"which": f"{LUNG}\t{EVERY}", "reason": WHY})
        told = {"which": f"{LUNG}\t{EVERY}", "reason": "mended", "kept": kept.value}
        assert client.post("/models/switch-on", data=told).status_code == 200
        assert ward.store.switches.off() == ()
        claimed = ward.store.claim_delivery(PACS.name, now=ward.now, duration=timedelta(minutes=1))
        assert (claimed is not None) == (kept is Kept.SEND)
        ward.now += timedelta(minutes=5)
    (campaign,) = client.get("/api/recalls").json()
    assert (campaign["left"], campaign["actor"], campaign["reason"]) == (2, "lead", "mended")
    assert "0 recalled, 2 to do" in client.get("/models").text


def test_a_period_is_counted_first_and_then_recalled(ward: Ward, client: TestClient) -> None:
    told = {"which": f"{LUNG}\t1.0.0", "reason": WHY, "since": "2026-03-01T00:00", "until": ""}
    counted = client.post("/models/recall", data=told)
    assert "2 results would be recalled." in counted.text
    assert ward.store.campaigns.unfinished() == 0
    form = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', counted.text))
    assert client.post("/models/recall", data=form).status_code == 200
    (campaign,) = ward.store.campaigns.listed()
    assert (campaign.left, campaign.scope.version, campaign.reason) == (2, "1.0.0", WHY)
    assert "2 to do" in client.get("/models").text


@pytest.mark.parametrize("since", ["yesterday", "2026-13-01T00:00"])
def test_what_is_no_moment_recalls_nothing(ward: Ward, client: TestClient, since: str) -> None:
    told = {"which": f"{LUNG}\t{EVERY}", "reason": WHY, "since": since}
    assert client.post("/models/recall", data=told).status_code == 422
    assert ward.store.campaigns.listed() == ()


def test_the_page_is_for_all_and_its_forms_for_leads(ward: Ward) -> None:
    client = ward.client(people=write_people(ward.folder))
    for name, forms in (("lead", True), ("reader", False), ("ops", False), ("auditor", False)):
        page = sign_in(client, name).get("/models").text
        assert LUNG in page
        assert ("/models/switch-off" in page) == forms
        client.post("/logout")


def test_the_api_switches_recalls_and_tells(ward: Ward, client: TestClient) -> None:
    off = client.post(f"/api/models/{LUNG}/switch-off", json={"reason": WHY})
    assert off.json() == {"changed": True, "campaign": None}
    assert client.post(f"/api/models/{LUNG}/switch-off", json={"reason": "again"}).json()["changed"] is False
    told = client.get("/api/models").json()
    assert [(one["name"], one["version"], one["outcomes"]) for one in told["models"]] == [
        (LUNG, "1.0.0", {"found": 1, "nothing_found": 1})
    ]
    assert (told["off"][0]["actor"], told["off"][0]["reason"], len(told["history"])) == ("lead", WHY, 1)
    dry = client.post(f"/api/models/{LUNG}/recall", json={"reason": WHY, "dry_run": True})
    assert (dry.status_code, dry.json()) == (202, {"results": 2, "campaign": None})
    asked = client.post(f"/api/models/{LUNG}/recall", json={"reason": WHY, "since": "2026-03-01T00:00:00Z"}).json()
    assert (asked["results"], asked["campaign"]["left"]) == (2, 2)
    assert client.get("/api/recalls").json() == [asked["campaign"]]
    on = client.post(f"/api/models/{LUNG}/switch-on", json={"reason": "mended", "kept": "recall"}).json()
    assert (on["changed"], on["campaign"]["left"]) == (True, 2)


@pytest.mark.parametrize(
    ("name", "body", "status", "code"),
    [
        ("ct_lung", {"reason": WHY}, 404, "unknown_model"),
        (LUNG, {"reason": WHY, "version": "9"}, 404, "unknown_version"),
        (LUNG, {"reason": WHY, "tenant": "a"}, 404, "unknown_tenant"),
        (LUNG, {"reason": " "}, 422, "invalid_request"),
        (LUNG, {}, 422, "invalid_request"),
        (LUNG, {"reason": WHY, "versoin": "1.0.0"}, 422, "invalid_request"),
    ],
)
def test_a_mistyped_switch_is_refused_aloud(
    ward: Ward, client: TestClient, name: str, body: dict[str, str], status: int, code: str
) -> None:
    answer = client.post(f"/api/models/{name}/switch-off", json=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert ward.store.switches.off() == ()


@pytest.fixture
def at_shell(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> Ward:
    monkeypatch.setenv("VIGIE_DATA", str(ward.folder))
    return ward


def vigie(*words: str) -> Result:
    return CliRunner().invoke(app, ["models", *words])


def test_the_command_line_does_the_same(at_shell: Ward) -> None:
    assert vigie("switch-off", LUNG, "--reason", WHY).stdout == f"{LUNG} is switched off\n"
    (switch,) = at_shell.store.switches.off()
    assert (switch.scope, switch.reason) == (ModelScope(model_name=LUNG), WHY)
    assert WHY in vigie("off").stdout
    assert "nothing changed" in vigie("switch-off", LUNG, "--reason", WHY).stdout
    counted = vigie("recall", LUNG, "--reason", WHY, "--from", "2026-03-01", "--dry-run")
    assert counted.stdout == "2 results would be recalled\n"
    assert "0 recalled, 2 to do" in vigie("recall", LUNG, "--reason", WHY).stdout
    assert "2 to do" in vigie("switch-on", LUNG, "--reason", "mended", "--kept", "recall").stdout
    assert at_shell.store.switches.off() == ()


@pytest.mark.parametrize(
    "words",
    [
        ["switch-off", "ct_lung", "--reason", WHY],
        ["switch-off", LUNG, "--reason", " "],
        ["switch-off", LUNG],
        ["switch-off", LUNG, "--reason", WHY, "--tenant", "a"],
        ["switch-on", LUNG, "--reason", WHY, "--kept", "send"],
        ["switch-on", LUNG, "--reason", WHY],
        ["recall", LUNG, "--reason", WHY, "--from", "soon"],
    ],
)
def test_wrong_usage_switches_nothing(at_shell: Ward, words: list[str]) -> None:
    assert vigie(*words).exit_code == 2
    assert at_shell.store.switches.history() == ()


def test_a_body_that_is_no_text_is_an_invalid_request(ward: Ward):
    answer = ward.client().post(
        f"/api/models/{LUNG}/switch-off", content=b"\xff\xfe", headers={"Content-Type": "application/json"}
    )
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


@pytest.mark.parametrize("number", [0, 0.5, "0", "-1", "1e3"])
def test_a_number_is_no_moment(client: TestClient, number: object):
    asked = {"reason": WHY, "dry_run": True, "until": number}
    assert client.post(f"/api/models/{LUNG}/recall", json=asked).status_code == 422
    assert client.post(f"/api/models/{LUNG}/recall", json={**asked, "until": "2026-01-31T08:30:00Z"}).is_success
