"""Who sees no patients sees nothing by which one is known: every answer is searched for every identifier."""

import re
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from services.triage.finding import Flag
from services.triage.verdict import Answer, MarkedLesion, OwnAssessment, Shown, Verdict
from tests.support.people import shows_key, sign_in, write_people
from tests.support.worklist import Ward, found

IDENTIFIERS = {
    "patient_id": "PID-77120",
    "issuer_of_patient_id": "ST-ELSEWHERE",
    "patient_name": "Müller^Änne^Zoë",
    "patient_birth_date": "19430217",
    "patient_age": "083Y",
    "study_date": "20260217",
    "study_time": "084533",
    "study_description": "Thorax Frau Mueller",
    "study_id": "SID-4711",
    "accession_number": "ACC-90210",
}
SEARCHED = (
    "PID-77120",
    "PID-",
    "ELSEWHERE",
    "Müller",
    "MÜLLER",
    "Änne",
    "1943",
    "083Y",
    "83 y",
    "2026-02-17",
    "20260217",
)
SEARCHED += ("0845", "08:45", "Mueller", "SID-4711", "ACC-90210", "Knee of Mr Smith")
WRITTEN = ("as in Mrs Comment", "cyst of Mrs Finding", "lung of Mrs Location")
"""By readers, in words of their own."""


@pytest.fixture
def ward(tmp_path: Path) -> Ward:
    ward = Ward(tmp_path)
    ward.arrive(1, series=(("CT", "Knee of Mr Smith", 3),), **IDENTIFIERS)
    ward.arrive(1, index_from=20, **{**IDENTIFIERS, "patient_id": "PID-77121"})
    ward.complete(1)
    ward.freeze(1, found(Flag.URGENT, (0.93, 17.2)))
    for number, (answer, more) in enumerate(
        (
            (Answer.ADD, {"tracking_uid": "1.2.3", "lesion": MarkedLesion(finding=WRITTEN[1], long_axis_mm=7.3)}),
            (Answer.PRESENT, {"assessment": OwnAssessment(location=WRITTEN[2])}),
        )
    ):
        verdict = Verdict(
            verdict_id=f"{number:032x}",
            study_instance_uid=ward.uid(1),
            result_id=None,
            answer=answer,
            reader="reader",
            given_at=ward.now,
            shown=Shown(page="study"),
            comment=WRITTEN[0],
            **more,
        )
        ward.store.verdicts.give(verdict)
    return ward


def pages(ward: Ward) -> list[str]:
    uid = ward.uid(1)
    return ["/", "/models", f"/studies/{uid}", "/api/studies", f"/api/studies/{uid}", "/api/models", "/api/recalls"]


@pytest.fixture
def client(ward: Ward) -> TestClient:
    return ward.client(people=write_people(ward.folder))


def _stands_in(text: str, told: str) -> bool:
    """Digits: not in the midst of a UID or a digest, in which any four stand by chance."""
    return re.search(rf"(?<![0-9a-f.]){re.escape(text)}" if text.isdigit() else re.escape(text), told) is not None


@pytest.mark.parametrize("name", ["ops", "auditor"])
def test_no_answer_to_ops_and_auditors_names_the_patient(ward: Ward, client: TestClient, name: str) -> None:
    client = sign_in(client, name)
    everything = [client.get(path) for path in [*pages(ward), "/metrics", "/readyz", "/openapi.json", "/nothing"]]
    everything += [client.post("/", data={"search": ward.uid(1)}), client.get(f"/dicomweb/studies/{ward.uid(1)}")]
    assert [answer.status_code for answer in everything[: len(pages(ward))]] == [200] * len(pages(ward))
    for answer in everything:
        told = f"{answer.text}\n{answer.headers}"
        found = [text for text in SEARCHED + WRITTEN if _stands_in(text, told)]
        assert found == [], answer.url


def test_the_same_answers_to_a_reader_do_name_them(ward: Ward, client: TestClient) -> None:
    client = sign_in(client, "reader")
    told = "".join(client.get(path).text for path in pages(ward))
    named = ("PID-77120", "Änne", "ACC-90210", "Knee of Mr Smith", *WRITTEN[:2])
    assert [text for text in named if text not in told] == []


def test_a_patient_has_one_pseudonym_and_another_patient_another(ward: Ward, client: TestClient) -> None:
    ward.arrive(2, **{**IDENTIFIERS, "patient_id": "PID-77121", "patient_name": "Miller^A"})
    ward.arrive(3, patient_id="PID-77120", issuer_of_patient_id="OTHER")
    rows = client.get("/api/studies", headers=shows_key("ops")).json()["studies"]
    of = {row["study"]["study_instance_uid"]: row["pseudonym"] for row in rows}
    assert of[ward.uid(1)] == of[ward.uid(2)] != of[ward.uid(3)]
    assert {row["study"]["patient_name"] for row in rows} == {""}
    assert of[ward.uid(1)] in client.get("/", headers=shows_key("ops")).text


def test_a_name_that_is_hidden_cannot_be_guessed_by_searching(ward: Ward, client: TestClient) -> None:
    for search, count in ((ward.uid(1), 1), ("Müller", 0), ("PID-77120", 0), ("ACC-90210", 0), ("Thorax", 0)):
        rows = client.get("/api/studies", params={"search": search}, headers=shows_key("ops")).json()["studies"]
        assert len(rows) == count, search
    assert len(client.get("/api/studies", params={"search": "Müller"}, headers=shows_key("reader")).json()["studies"])


def test_there_is_no_link_to_what_is_refused(ward: Ward, client: TestClient) -> None:
    page = client.get(f"/studies/{ward.uid(1)}", headers=shows_key("ops")).text
    assert "/api/results/" not in page
    assert "/ohif/" not in page
