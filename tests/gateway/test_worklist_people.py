"""The list for each kind of person: taking studies, saved views, preferences, and the list without patients."""

import re
from datetime import timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from services.triage.finding import Flag
from services.triage.job import OrderPriority
from services.triage.person import Person, PersonRole
from tests.support.person import as_person
from tests.support.worklist import NOW, Ward, failed, found, nothing_found

READER = Person(name="Dr A", roles=frozenset({PersonRole.READER}))
LEAD = Person(name="Dr L", roles=frozenset({PersonRole.LEAD}))
OPS = Person(name="Ops", roles=frozenset({PersonRole.OPS}))


@pytest.fixture
def ward(tmp_path: Path) -> Ward:
    ward = Ward(tmp_path)
    ward.analysed(1, found(Flag.URGENT, (0.93, 17.2)), at=NOW - timedelta(minutes=9), priority=OrderPriority.STAT)
    ward.analysed(2, failed(), at=NOW - timedelta(minutes=5))
    return ward


def client_of(ward: Ward, person: Person) -> TestClient:
    app = as_person(ward.app(), person)
    return TestClient(app, base_url="http://127.0.0.1:8000", follow_redirects=False, raise_server_exceptions=False)


def act(client: TestClient, ward: Ward, action: str, **form: str):
    return client.post(f"/studies/{ward.uid(1)}/reading", data={"action": action, **form})


def test_a_reader_takes_a_study_and_goes_back_to_the_list_as_it_was(ward: Ward) -> None:
    client = client_of(ward, READER)
    answer = act(client, ward, "take", back="ai=urgent&modality=CT&nonsense=1")
    assert (answer.status_code, answer.headers["location"]) == (303, "/?ai=urgent&modality=CT")
    row = client.get("/api/studies?assigned=me").json()["studies"][0]
    assert (row["reading"]["state"], row["reading"]["reader"]) == ("taken", "Dr A")


def test_one_whom_a_colleague_was_quicker_than_is_told_so(ward: Ward) -> None:
    act(client_of(ward, LEAD), ward, "take")
    answer = client_of(ward, READER).post(
        f"/studies/{ward.uid(1)}/reading", data={"action": "take"}, headers={"Accept": "text/html"}
    )
    assert answer.status_code == 409
    assert "Another reader has taken it meanwhile." in answer.text
    over = act(client_of(ward, READER), ward, "take", seen="Dr L")
    assert over.status_code == 303


def test_what_came_since_the_list_was_shown_is_not_marked_as_read_unseen(ward: Ward) -> None:
    client = client_of(ward, READER)

    def shown() -> str:
        row = client.get("/").text.partition(f'id="row-{ward.uid(1)}"')[2]
        told = re.search('name="shown" value="([^"]+)"', row)
        assert told is not None
        return told[1]

    def mark_read(as_shown: str) -> tuple[int, bool]:
        answer = act(client, ward, "read", shown=as_shown)
        return answer.status_code, "look at them first" in answer.text

    before_images = shown()
    ward.arrive(1, at=ward.now + timedelta(minutes=1), index_from=4)
    assert mark_read(before_images) == (409, True)
    before_result = shown()
    ward.now += timedelta(minutes=2)
    ward.complete(1)
    ward.freeze(1, found(Flag.URGENT, (0.97, 21.0)))
    assert mark_read(before_result) == (409, True)
    assert mark_read(shown()) == (303, False)


def test_read_studies_leave_the_list_and_are_found_by_filter_and_search(ward: Ward) -> None:
    client = client_of(ward, READER)
    body = {"action": "read", "seen": ""}
    assert client.post(f"/api/studies/{ward.uid(1)}/reading", json=body).json()["state"] == "read"

    def listed(query: str) -> list[str]:
        return [one["study"]["study_instance_uid"] for one in client.get(f"/api/studies{query}").json()["studies"]]

    assert listed("") == [ward.uid(2)]
    assert listed("?reading=read") == listed("?search=family1") == [ward.uid(1)]
    assert listed("?reading=all") == [ward.uid(1), ward.uid(2)]
    assert "Open again" in client.get("/?reading=read").text


@pytest.mark.parametrize("query", ["reading=lost", "ai=maybe", "after=here", "modality=" + "x" * 65])
def test_a_filter_that_is_none_is_refused(ward: Ward, query: str) -> None:
    assert client_of(ward, READER).get(f"/api/studies?{query}").status_code == 422


def test_what_a_form_left_empty_is_no_filter(ward: Ward) -> None:
    client = client_of(ward, READER)
    assert client.get("/api/studies?reading=&ai=&state=&assigned=&tenant=&model=").json()["next"] is None
    assert len(client.get("/api/studies?reading=&ai=").json()["studies"]) == 2


def test_ops_see_which_study_it_is_and_not_whose(ward: Ward) -> None:
    client = client_of(ward, OPS)
    page = client.get("/").text
    result_id = ward.store.board.study(ward.uid(1)).row.result_id
    assert re.search(r"Patient [A-Z2-7]{4}-[A-Z2-7]{4}", page)
    for secret in ("FAMILY1", "P-0001", "CT chest", ">A1", "key-image", 'value="take"'):
        assert secret not in page
    assert "FAMILY" not in client.get("/api/studies").text
    assert client.get("/api/studies?search=family1").json()["studies"] == []
    assert client.get(f"/studies/{ward.uid(1)}/key-image/{result_id}").status_code == 403
    assert act(client, ward, "take").status_code == 403
    assert client.post(f"/api/studies/{ward.uid(1)}/reading", json={"action": "read"}).status_code == 403


def test_a_view_for_everybody_is_a_leads_to_save(ward: Ward) -> None:
    reader, lead = client_of(ward, READER), client_of(ward, LEAD)
    view = {"name": "Not seen", "query": "ai=unseen&search=DOE", "shared": "true"}
    assert reader.post("/views", data=view).status_code == 403
    saved = lead.post("/views", data=view)
    assert (saved.status_code, saved.headers["location"]) == (303, "/?ai=unseen")
    assert 'href="/?ai=unseen"' in reader.get("/").text
    reader.post("/views/delete", data={"name": "Not seen"})
    assert "Not seen" in reader.get("/").text
    lead.post("/views/delete", data={"name": "Not seen"})
    assert "Not seen" not in reader.get("/").text


def test_language_theme_and_keys_are_remembered_and_lead_nowhere_else(ward: Ward) -> None:
    client = client_of(ward, READER)
    for choice in ({"language": "fr"}, {"theme": "dark"}, {"keys": "off"}):
        assert client.post("/preferences", data={**choice, "back": "/?ai=urgent"}).headers["location"] == "/?ai=urgent"
    page = client.get("/").text
    assert '<html lang="fr" data-theme="dark">' in page
    assert '<body data-keys="off"' in page
    assert "Liste de travail" in page
    for wrong in ({"language": "xx"}, {"theme": "pink"}, {"back": "//evil.example"}, {"back": "https://evil.example"}):
        assert client.post("/preferences", data=wrong).status_code == 422


def test_the_why_of_a_priority_and_the_clock_of_what_waits_are_told(ward: Ward) -> None:
    ward.arrive(3, at=NOW - timedelta(seconds=95))
    page = " ".join(client_of(ward, READER).get("/").text.split())
    assert 'data-clock="2026-03-02T08:58:25+00:00">1:35<' in page
    assert "AI after 9:00" in page


def test_without_source_or_segmentation_there_is_no_key_image_but_a_row(ward: Ward) -> None:
    client = client_of(ward, READER)
    result_id = ward.store.board.study(ward.uid(1)).row.result_id
    assert client.get(f"/studies/{ward.uid(1)}/key-image/{result_id}").json()["code"] == "no_key_image"
    assert client.get(f"/studies/{ward.uid(2)}/key-image/{result_id}").status_code == 404
    assert "Key slice of the most suspicious lesion" in client.get("/").text
    ward.analysed(4, nothing_found())
    assert "no-image-looked" in client.get("/").text
