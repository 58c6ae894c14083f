"""Answering to the AI: by the API as by the forms of the page, once, by our own pages alone."""

import re
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient
from pydicom import dcmread

from services.backends.headers import read_instance
from services.triage.finding import Flag
from services.triage.person import Person, PersonRole
from services.triage.verdict_document import OwedDocument
from tests.support.person import as_person
from tests.support.records import adt
from tests.support.worklist import MODEL, Ward, found, lesion, not_analysed

OHIF_LENGTH = Path(__file__).parents[1] / "support" / "ohif_length.dcm"
DR_B = Person(name="Dr B", roles=frozenset({PersonRole.READER}))
OPS = Person(name="Olga", roles=frozenset({PersonRole.OPS}))


@pytest.fixture
def ward(tmp_path: Path) -> Ward:
    ward = Ward(tmp_path)
    ward.analysed(1, found(Flag.URGENT, (0.93, 17.2), (0.7, 8.0)))
    return ward


@pytest.fixture
def client(ward: Ward) -> TestClient:
    return ward.client()


def of(client: TestClient, person: Person) -> TestClient:
    """The same desk, for somebody else."""
    return TestClient(as_person(client.app, person), base_url=str(client.base_url), raise_server_exceptions=False)


def verdicts(client: TestClient, number: int = 1) -> dict[str, Any]:
    return dict(client.get(f"/api/studies/{Ward.uid(number)}/verdicts").json())


def asked(client: TestClient, **told: Any) -> dict[str, Any]:
    """An acceptance of the first lesion, with changes."""
    (question,) = verdicts(client)["questions"]
    first = {
        "verdict_id": uuid4().hex,
        "answer": "accept",
        "result_id": question["result_id"],
        "tracking_uid": question["lesions"][0]["tracking_uid"],
    }
    return first | told


def give(client: TestClient, body: dict[str, Any], number: int = 1, **headers: str) -> Any:
    return client.post(f"/api/studies/{Ward.uid(number)}/verdicts", json=body, headers=headers)


def test_an_answer_is_kept_once_however_often_it_is_asked(client: TestClient) -> None:
    body = asked(client)
    first, second = give(client, body), give(client, body)
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json() == second.json()
    (kept,) = verdicts(client)["verdicts"]
    assert (kept["reader"], kept["stands"], kept["mine"]) == ("local", True, True)


def test_another_answer_under_a_known_id_is_refused_and_not_told_as_saved(client: TestClient, ward: Ward) -> None:
    ward.analysed(2, found(Flag.ROUTINE, (0.8, 9.0)))
    body = asked(client, answer="reject", reason="vessel")
    give(client, body)
    form = {name: str(value) for name, value in body.items()} | {"answer": "reject:artefact"}
    (of_another_study,) = verdicts(client, 2)["questions"]
    for refused in (
        give(client, body | {"reason": "artefact"}),
        give(client, body | {"result_id": of_another_study["result_id"]}, 2),
        client.post(f"/studies/{Ward.uid(1)}/verdicts", data=form),
    ):
        assert (refused.status_code, refused.json()["code"]) == (409, "other_answer")
    (kept,) = verdicts(client)["verdicts"]
    assert kept["reason"] == "vessel"
    assert verdicts(client, 2)["verdicts"] == []


def test_an_answer_that_was_kept_is_told_as_kept_whatever_came_since(client: TestClient, ward: Ward) -> None:
    body = asked(client)
    give(client, body)
    look_again(ward)
    assert give(client, body).status_code == 200
    take_back(client, body["result_id"], "recalled_result")
    assert give(client, body).status_code == 200


def test_every_kind_of_answer_can_be_given_and_undone(client: TestClient) -> None:
    kinds = [
        {},
        {"answer": "reject", "reason": "vessel"},
        {"answer": "modify", "lesion": {"finding": "nodule", "long_axis_mm": 12.5, "volume_ml": 1.1}},
        {"answer": "not_my_question", "tracking_uid": None},
        {"answer": "add", "tracking_uid": None, "lesion": {"long_axis_mm": 4}, "comment": "apex"},
    ]
    for told in kinds:
        body = asked(client, **told)
        given = give(client, body)
        assert given.status_code == 201, given.text
        taken_back = {"answer": "undo", "undoes": body["verdict_id"], "reason": None}
        undo = asked(client, tracking_uid=given.json()["tracking_uid"], **taken_back)
        assert give(client, undo).status_code == 201
    assert not any(one["stands"] for one in verdicts(client)["verdicts"])


def test_an_added_lesion_has_a_tracking_uid_that_a_repeated_request_has_too(client: TestClient) -> None:
    body = asked(client, answer="add", tracking_uid=None)
    first = give(client, body).json()["tracking_uid"]
    assert re.fullmatch(r"2\.25\.\d+", first)
    assert give(client, body).json()["tracking_uid"] == first


def test_what_cannot_be_answered_is_refused_by_its_code(client: TestClient, ward: Ward) -> None:
    ward.analysed(2, not_analysed())
    failed = verdicts(client, 2)["questions"][0]["result_id"]
    mine = asked(client)
    give(client, mine)
    give(client, asked(client, answer="undo", undoes=mine["verdict_id"]))
    cases = {
        "unknown_study": (404, 9, asked(client)),
        "unknown_result": (404, 1, asked(client, result_id="0" * 32)),
        "unknown_lesion": (404, 1, asked(client, tracking_uid="2.25.1")),
        "unknown_verdict": (404, 1, asked(client, answer="undo", undoes="0" * 32)),
        "unknown_object": (404, 1, asked(client, answer="modify", lesion={"object_sop_instance_uid": "2.25.1"})),
        "unknown_image": (404, 1, asked(client, answer="modify", lesion={"image_sop_instance_uid": "2.25.1"})),
        "already_undone": (409, 1, asked(client, answer="undo", undoes=mine["verdict_id"])),
        "invalid_verdict": (422, 1, asked(client, answer="reject")),
        "nothing_to_judge": (422, 2, asked(client, result_id=failed, tracking_uid=None)),
        "invalid_request": (422, 1, asked(client, verdict_id="no")),
    }
    for code, (status, number, body) in cases.items():
        answer = give(client, body, number)
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert answer.headers["content-type"] == "application/problem+json"
    assert give(client, asked(client, answer="present")).status_code == 422


def take_back(client: TestClient, result_id: str, code: str) -> None:
    """In the way that later answers are refused by."""
    if code == "recalled_result":
        client.post(f"/api/results/{result_id}/recall", json={"reason": "wrong lung"})
    else:
        client.post(f"/api/models/{MODEL.name}/switch-off", json={"reason": "wrong lung"})


@pytest.mark.parametrize("code", ["recalled_result", "model_switched_off"])
def test_a_result_that_counts_no_more_is_asked_about_no_more(client: TestClient, code: str) -> None:
    body = asked(client)
    first = asked(client, comment="as I see it")
    give(client, first)
    take_back(client, body["result_id"], code)
    assert verdicts(client)["questions"] == []
    for told in ({}, {"answer": "not_my_question"}, {"answer": "add", "tracking_uid": None}):
        refused = give(client, body | told)
        assert (refused.status_code, refused.json()["code"]) == (409, code)
    page = client.get(f"/studies/{Ward.uid(1)}").text
    assert set(re.findall('data-key="(.)"', page)) == {"f", "d"}
    assert "<q>as I see it</q>" in page
    undo = {"verdict_id": uuid4().hex, "answer": "undo", "undoes": first["verdict_id"], "result_id": body["result_id"]}
    assert give(client, undo).status_code == 201


@pytest.mark.parametrize("code", ["recalled_result", "model_switched_off"])
def test_a_lesion_that_a_result_missed_is_reported_when_it_counts_no_more(client: TestClient, code: str) -> None:
    take_back(client, asked(client)["result_id"], code)
    study = f"/studies/{Ward.uid(1)}"
    form = {"verdict_id": uuid4().hex, "answer": "add", "finding": "nodule", "long_axis_mm": "4.5"}
    assert client.post(f"{study}/verdicts", data=form).status_code == 200
    (kept,) = verdicts(client)["verdicts"]
    assert (kept["answer"], kept["result_id"], kept["stands"]) == ("add", None, True)
    page = client.get(study).text
    assert page.index("Answers without an AI result") < page.index("Added, missed by the AI (Nodule, 4.5 mm)")
    taken_back = {"verdict_id": uuid4().hex, "answer": "undo", "undoes": form["verdict_id"]}
    client.post(f"{study}/verdicts", data=taken_back)
    assert not any(one["stands"] for one in verdicts(client)["verdicts"])


def look_again(ward: Ward) -> None:
    """An image comes late, and what the model says then is urgent."""
    ward.now += timedelta(minutes=5)
    ward.arrive(1, series=(("CT", "Thorax 1.0 Br40", 1),), index_from=4)
    ward.complete(1)
    ward.freeze(1, found(Flag.URGENT, (0.97, 21.0)), content=b"newer")


def test_a_page_that_was_open_when_a_newer_result_came_is_told_to_open_again(ward: Ward, client: TestClient) -> None:
    before = asked(client, tracking_uid=None)
    look_again(ward)
    for told in ({}, {"answer": "not_my_question"}, {"answer": "add", "lesion": {"long_axis_mm": 4}}):
        refused = give(client, before | told)
        assert (refused.status_code, refused.json()["code"]) == (409, "superseded_result")
        assert refused.json()["way_out"].startswith("Open the study again")
    form = {name: str(value) for name, value in before.items() if value is not None}
    french = {"Accept": "text/html", "Accept-Language": "fr"}
    page = client.post(f"/studies/{Ward.uid(1)}/verdicts", data=form, headers=french)
    assert page.status_code == 409
    assert "Rouvrez l'examen" in page.text
    assert client.get("/api/studies").json()["studies"][0]["reading"]["state"] == "unread"
    assert give(client, asked(client, tracking_uid=None)).status_code == 201


def test_an_answer_while_the_ai_looks_at_newer_images_is_kept_and_the_study_stays_unread(
    ward: Ward, client: TestClient
) -> None:
    of_study = asked(client, tracking_uid=None)
    assert not verdicts(client)["questions"][0]["newer_images"]
    ward.now += timedelta(minutes=5)
    ward.arrive(1, series=(("CT", "Thorax 1.0 Br40", 1),), index_from=4)
    ward.complete(1)
    assert give(client, of_study).status_code == 201
    assert verdicts(client)["questions"][0]["newer_images"]
    (row,) = client.get("/api/studies").json()["studies"]
    assert (row["reading"]["state"], row["reading"]["again"]) == ("unread", "new_images")
    for language, words in (("en", "does not mark it as read"), ("fr", "ne le marque pas comme lu")):
        page = client.get(f"/studies/{Ward.uid(1)}", headers={"Accept-Language": language}).text
        assert words in page
    ward.freeze(1, found(Flag.ROUTINE, (0.6, 9.0)), content=b"newer")
    assert give(client, asked(client, tracking_uid=None)).status_code == 201
    assert "does not mark it as read" not in client.get(f"/studies/{Ward.uid(1)}").text
    assert client.get("/api/studies").json()["studies"] == []


def test_two_readers_stand_side_by_side_and_neither_undoes_the_other(client: TestClient) -> None:
    mine = asked(client)
    give(client, mine)
    other = of(client, DR_B)
    assert give(other, asked(other, answer="reject", reason="artefact")).status_code == 201
    told = {one["reader"]: (one["answer"], one["stands"], one["mine"]) for one in verdicts(other)["verdicts"]}
    assert told == {"local": ("accept", True, False), "Dr B": ("reject", True, True)}
    undo = give(other, asked(other, answer="undo", undoes=mine["verdict_id"]))
    assert (undo.status_code, undo.json()["code"]) == (403, "not_yours")
    page = other.get(f"/studies/{Ward.uid(1)}").text
    assert "<strong>Accepted</strong>" in page
    assert "<strong>Rejected (Artefact)</strong>" in page


def test_who_does_not_read_gives_none(client: TestClient) -> None:
    body = asked(client)
    nobody = of(client, OPS)
    assert give(nobody, body).status_code == 403
    assert nobody.get(f"/api/studies/{Ward.uid(1)}/verdicts").status_code == 403
    assert 'data-key="' not in nobody.get(f"/studies/{Ward.uid(1)}").text


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "same-origin"}, 201),
        ({"Origin": "http://127.0.0.1:8000"}, 201),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "none"}, 201),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
    ],
)
def test_no_other_site_can_have_a_browser_answer(client: TestClient, headers: dict[str, str], status: int) -> None:
    body = asked(client)
    assert give(client, body, **headers).status_code == status
    if "Content-Type" not in headers:
        form = {**asked(client), "verdict_id": uuid4().hex}
        answer = client.post(f"/studies/{Ward.uid(1)}/verdicts", data=form, headers=headers, follow_redirects=False)
        assert answer.status_code == {201: 303}.get(status, status)
        finished = client.post(f"/api/studies/{Ward.uid(1)}/verdicts/finished", headers=headers)
        assert finished.status_code == {201: 200}.get(status, status)


def test_the_page_answers_by_its_forms_alone(client: TestClient) -> None:
    address = f"/studies/{Ward.uid(1)}"
    form = {name: str(value) for name, value in asked(client).items()}
    for told in (
        {"answer": "reject:vessel", "comment": "hilum"},
        {"answer": "modify", "finding": "cyst", "long_axis_mm": "7.5", "volume_ml": ""},
        {"answer": "add", "tracking_uid": "", "long_axis_mm": "5"},
    ):
        answer = client.post(f"{address}/verdicts", data={**form, "verdict_id": uuid4().hex, **told})
        assert answer.url.path == address, answer.text
    assert "Modified (Cyst, 7.5 mm)" in answer.text
    assert "Added, missed by the AI (5.0 mm)" in answer.text
    assert "<td>hilum</td>" in answer.text
    # else a browser on plain HTTP tells no origin with a form, and all of them are refused
    assert '<meta name="referrer" content="same-origin">' in answer.text
    bad = client.post(f"{address}/verdicts", data={**form, "answer": "reject"}, headers={"Accept": "text/html"})
    assert bad.status_code == 422
    assert "<h1>" in bad.text


def test_the_page_is_in_the_readers_language(client: TestClient) -> None:
    give(client, asked(client, answer="reject", reason="vessel"))
    page = client.get(f"/studies/{Ward.uid(1)}", headers={"Accept-Language": "fr"}).text
    for text in ("Rejeté (Vaisseau)", "Accepter", "Examen entier", "Réponses des lecteurs"):
        assert text in page
    assert "Accept <" not in page


def test_who_has_finished_is_owed_a_document(client: TestClient, ward: Ward) -> None:
    finish = f"/api/studies/{Ward.uid(1)}/verdicts/finished"
    assert client.post(finish).json() == {"owed": False}
    give(client, asked(client))
    assert client.post(finish).json() == {"owed": True}
    (owed,) = due(ward)
    # who is not known has verified nothing
    assert (owed.reader, owed.verified_at) == ("local", None)
    other = of(client, DR_B)
    give(other, asked(other))
    other.post(finish)
    assert {one.reader: one.verified_at for one in due(ward)}["Dr B"] == ward.now


def due(ward: Ward) -> list[OwedDocument]:
    return ward.store.verdict_documents.due(now=ward.now, quiet=timedelta(0))


def test_what_a_viewer_saved_is_evidence_for_its_own_study_alone(ward: Ward, client: TestClient) -> None:
    uid = Ward.uid(1)
    saved = dcmread(OHIF_LENGTH)
    saved.StudyInstanceUID = uid
    content = BytesIO()
    saved.save_as(content)
    before = len(ward.store.board.study(uid).versions)
    keep(ward, content.getvalue())
    keep(ward, OHIF_LENGTH.read_bytes())
    (one,) = client.get(f"/api/studies/{uid}/evidence").json()["objects"]
    assert [mark["long_axis_mm"] for mark in one["marks"]] == [26.9]
    body = asked(
        client, answer="modify", lesion={"object_sop_instance_uid": one["sop_instance_uid"], "long_axis_mm": 3}
    )
    given = give(client, body).json()["lesion"]
    # what is drawn holds over what is typed
    assert (given["long_axis_mm"], given["object_sop_instance_uid"]) == (26.9, one["sop_instance_uid"])
    assert len(ward.store.board.study(uid).versions) == before
    ours = ward.store.board.study(uid).results[0].objects[0].sop_instance_uid
    for uid_of, item, code in ((ours, None, "own_object"), (one["sop_instance_uid"], 2, "unknown_item")):
        lesion_of = {"object_sop_instance_uid": uid_of, "object_item": item}
        assert give(client, asked(client, answer="add", lesion=lesion_of)).json()["code"] == code


def keep(ward: Ward, content: bytes) -> None:
    """As door and dispatcher take in what STOW-RS brings."""
    instance = read_instance(content)
    ward.files.keep(content, digest=instance.digest, received_from="viewer")
    ward.store.record([(instance, "viewer")], now=ward.now)


def test_verdicts_of_a_result_that_was_written_again_are_shown_with_it(ward: Ward, client: TestClient) -> None:
    give(client, asked(client, tracking_uid=lesion(1, 0.9, 1).tracking_uid))
    ward.store.reconcile_patients(adt("P-0001", patient_name="CORRECTED^Name"), now=ward.now)
    ward.complete(1)
    ward.freeze(1, found(Flag.URGENT, (0.93, 17.2), (0.7, 8.0)), content=b"again")
    page = client.get(f"/studies/{Ward.uid(1)}").text
    newest = page[: page.index("Version 1")]
    assert "<strong>Accepted</strong>" in newest
