"""The JSON API over a real store in a temporary folder."""

import re
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from services.triage.errors import Reason
from services.triage.finding import Flag, Outcome
from services.triage.inference import Inference, InferenceMode
from services.triage.job import OrderPriority
from services.triage.organ import NO_TUMOUR_CLASS, Organ
from services.triage.uncertainty import TIME_LIMIT, Spread, Uncertainty
from tests.support.worklist import NOW, Ward, failed, found, not_analysed, nothing_found


@pytest.fixture
def ward(tmp_path: Path) -> Ward:
    return Ward(tmp_path)


@pytest.fixture
def client(ward: Ward) -> TestClient:
    return ward.client()


def listed(client: TestClient, query: str = "") -> list[str]:
    return [one["study"]["study_instance_uid"] for one in client.get(f"/api/studies{query}").json()["studies"]]


def test_the_order_comes_before_the_flag_and_the_flag_before_arrival(ward: Ward, client: TestClient) -> None:
    ago = [NOW - timedelta(minutes=minutes) for minutes in range(60)]
    ward.analysed(1, nothing_found(), at=ago[50])
    ward.analysed(2, found(Flag.ELEVATED, (0.7, 9.0)), at=ago[40])
    ward.analysed(3, found(Flag.URGENT, (0.95, 21.0)), at=ago[10])
    ward.analysed(4, failed(), at=ago[45])
    ward.analysed(5, nothing_found(), at=ago[5], priority=OrderPriority.STAT)
    ward.analysed(6, found(Flag.URGENT, (0.99, 30.0)), at=ago[2])
    ward.analysed(7, not_analysed(), at=ago[55])
    assert listed(client) == [ward.uid(number) for number in (5, 3, 6, 2, 7, 1, 4)]


def test_a_row_tells_order_priority_and_flag_apart(ward: Ward, client: TestClient) -> None:
    ward.analysed(1, found(Flag.URGENT, (0.93, 17.2), (0.6, 8.0)), priority=OrderPriority.HIGH)
    row = client.get("/api/studies").json()["studies"][0]
    assert (row["priority"], row["flag"], row["outcome"]) == ("high", "urgent", "found")
    assert (row["score"], row["calibrated"], row["lesion_count"]) == (0.93, False, 2)
    assert row["largest_long_axis_mm"] == 17.2
    assert row["model"] == {"name": "ct_lung_lesion", "version": "1.0.0", "weights_sha256": "ab" * 32}


def test_filters_by_state_and_searches_by_name(ward: Ward, client: TestClient) -> None:
    ward.analysed(1, failed())
    ward.analysed(2, nothing_found())
    ward.arrive(3, patient_name="Müller^Zoë")
    assert listed(client, "?state=failed") == [ward.uid(1)]
    assert set(listed(client, "?state=failed&state=receiving")) == {ward.uid(1), ward.uid(3)}
    assert listed(client, "?search=Müller") == [ward.uid(3)]


def test_how_scores_vary_is_told_by_the_api_and_by_the_page(ward: Ward, client: TestClient) -> None:
    spread = Spread(runs=4, sd=0.1, lowest=0.6, highest=0.95)
    finding = found(Flag.URGENT, (0.93, 17.2))
    lesions = tuple(replace(one, spread=spread) for one in finding.lesions)
    ward.analysed(1, replace(finding, lesions=lesions, uncertainty=Uncertainty(spread=spread)))
    ward.analysed(2, replace(nothing_found(), uncertainty=Uncertainty(reason=TIME_LIMIT)))
    ward.analysed(3, nothing_found())
    told = [
        client.get(f"/api/studies/{ward.uid(number)}").json()["versions"][0]["jobs"][0]["result"]
        for number in (1, 2, 3)
    ]
    spread_out = {"runs": 4, "sd": 0.1, "lowest": 0.6, "highest": 0.95}
    assert [one["spread"] for one in told[0]["lesions"]] == [spread_out]
    assert [one["uncertainty"] for one in told] == [
        {"spread": spread_out, "reason": None},
        {"spread": None, "reason": {"code": TIME_LIMIT.code, "text": TIME_LIMIT.text}},
        None,
    ]
    pages = [client.get(f"/studies/{ward.uid(number)}").text for number in (1, 2, 3)]
    assert pages[0].count("0.60 to 0.95 over 4 runs, SD 0.10") == 2  # of the study, and of its lesion
    why = f'<span lang="en">{TIME_LIMIT.text}</span> <code>{TIME_LIMIT.code}</code>'
    assert f"How the score varies is not known: {why}" in pages[1]
    assert "varies" not in pages[2]
    assert "runs, SD" not in pages[2]


def test_the_api_and_the_page_tell_how_the_network_ran(ward: Ward, client: TestClient) -> None:
    differs = Reason(code="differs", text="the answers differ by 2")
    ran = (Inference(mode=InferenceMode.FAST), Inference(why=differs), None)
    for number, inference in enumerate(ran, start=1):
        ward.arrive(number)
        ward.complete(number)
        ward.freeze(number, nothing_found(), inference=inference)
    told = [
        client.get(f"/api/studies/{ward.uid(number)}").json()["versions"][0]["jobs"][0]["result"]["inference"]
        for number in (1, 2, 3)
    ]
    assert told == [
        {"mode": "fast", "reason": None},
        {"mode": "reference", "reason": {"code": "differs", "text": differs.text}},
        None,
    ]
    pages = [client.get(f"/studies/{ward.uid(number)}").text for number in (1, 2, 3)]
    assert "Inference: <code>fast</code></p>" in pages[0]
    why = f'<span lang="en">{differs.text}</span> <code>differs</code>'
    assert f"Inference: <code>reference</code>; what kept it from <code>fast</code>: {why}</p>" in pages[1]
    assert "Inference" not in pages[2]
    in_french = client.get(f"/studies/{ward.uid(2)}", headers={"Accept-Language": "fr"}).text
    assert (
        f"Inférence\u00a0: <code>reference</code>\u00a0; ce qui a empêché <code>fast</code>\u00a0: {why}</p>"
        in in_french
    )


ORGANS = (
    Organ(label="liver", volume_ml=1409.87, cut_off=True),
    Organ(label="spleen", volume_ml=212.3, cut_off=False),
    Organ(label="pancreas", volume_ml=None, cut_off=False),
)


def cells(page: str, first: str) -> list[str]:
    """The words of the row that begins with this one."""
    (row,) = re.findall(rf"<tr><th scope=\"row\">{first}</th>(.*?)</tr>", page, re.DOTALL)
    return [re.sub("<[^>]+>", "", cell).strip() for cell in re.findall("<td.*?</td>", row, re.DOTALL)]


def test_the_api_and_the_page_tell_of_organs_below_the_lesions(ward: Ward, client: TestClient) -> None:
    ward.analysed(1, replace(found(Flag.URGENT, (0.93, 17.2)), organs=ORGANS))
    ward.analysed(2, nothing_found())
    told = [client.get(f"/api/studies/{ward.uid(number)}").json()["versions"][0]["jobs"][0] for number in (1, 2)]
    assert told[0]["result"]["organs"] == [
        {"label": "liver", "volume_ml": 1409.87, "cut_off": True},
        {"label": "spleen", "volume_ml": 212.3, "cut_off": False},
        {"label": "pancreas", "volume_ml": None, "cut_off": False},
    ]
    assert told[1]["result"]["organs"] == []
    page, other = (client.get(f"/studies/{ward.uid(number)}").text for number in (1, 2))
    assert page.index("Lesions by falling score.") < page.index("Organs that the model segmented.")
    assert cells(page, "liver") == ["1,409.9", "cut off by the image: of the visible part"]
    assert cells(page, "spleen") == ["212.3", ""]
    assert cells(page, "pancreas") == ["", "not found"]
    assert "The voxels of lesions in them are not included." in page
    assert "Organs" not in other
    in_french = client.get(f"/studies/{ward.uid(1)}", headers={"Accept-Language": "fr"}).text
    assert "Organes segmentés par le modèle." in in_french
    assert cells(in_french, "liver") == ["1\u202f409,9", "coupé par l'image\u00a0: partie visible"]
    assert cells(in_french, "pancreas") == ["", "non trouvé"]


def test_a_page_of_a_model_that_looks_for_no_lesions_never_says_nothing_found(ward: Ward, client: TestClient) -> None:
    ward.analysed(1, replace(not_analysed(NO_TUMOUR_CLASS.code, NO_TUMOUR_CLASS.text), organs=ORGANS))
    (row,) = client.get("/api/studies").json()["studies"]
    assert (row["state"], row["outcome"], row["score"]) == ("not_analysed", "not_analysed", None)
    assert row["reason"] == {"code": "no_tumour_class", "text": NO_TUMOUR_CLASS.text}
    page, listing = client.get(f"/studies/{ward.uid(1)}").text, client.get("/").text
    for shown in (page, listing):
        assert "Read as usual" in shown
        assert "The model looked. It can miss lesions." not in shown
    assert NO_TUMOUR_CLASS.text in page
    assert cells(page, "spleen") == ["212.3", ""]
    assert "Analysed series" in page
    assert "The voxels of lesions in them are not included." not in page


def test_a_caution_is_told_by_the_api_and_by_the_page_in_its_language(ward: Ward, client: TestClient) -> None:
    caution = Reason(code="unexpected_extent_mm", text="length covered 90 mm, expected at least 140")
    ward.analysed(1, replace(found(Flag.URGENT, (0.93, 17.2)), cautions=(caution,)))
    ward.analysed(2, nothing_found())
    told = [client.get(f"/api/studies/{ward.uid(number)}").json()["versions"][0]["jobs"][0] for number in (1, 2)]
    assert told[0]["result"]["cautions"] == [{"code": caution.code, "text": caution.text}]
    assert told[1]["result"]["cautions"] == []
    page = client.get(f"/studies/{ward.uid(1)}").text
    english = f'<span lang="en">{caution.text}</span> <code>{caution.code}</code>'
    assert f"Caution, unlike the images that the model was made for: {english}" in page
    assert "Caution" not in client.get(f"/studies/{ward.uid(2)}").text
    in_french = client.get(f"/studies/{ward.uid(1)}", headers={"Accept-Language": "fr"}).text
    french = f'longueur couverte inhabituelle pour le modèle <span lang="en">({caution.text})</span>'
    assert f"Prudence, images différentes de celles pour lesquelles le modèle est fait\u00a0: {french}" in in_french


def test_pages_join_without_gap_or_overlap(ward: Ward, client: TestClient) -> None:
    for number in range(1, 6):
        ward.arrive(number, at=NOW - timedelta(minutes=10 - number))
    first = client.get("/api/studies?limit=3").json()
    assert first["previous"] is None
    last = client.get("/api/studies", params={"limit": 3, "after": first["next"]}).json()
    assert last["next"] is None
    assert client.get("/api/studies", params={"limit": 3, "before": last["previous"]}).json() == first
    joined = [one["study"]["study_instance_uid"] for one in first["studies"] + last["studies"]]
    assert joined == [ward.uid(number) for number in range(1, 6)]


def test_a_study_shows_lesions_objects_deliveries_and_history(ward: Ward, client: TestClient) -> None:
    sop_instance_uid = ward.analysed(1, found(Flag.URGENT, (0.93, 17.2), (0.6, 8.0)))
    study = client.get(f"/api/studies/{ward.uid(1)}").json()
    (job,) = study["versions"][0]["jobs"]
    assert study["summary"]["state"] == "analysed"
    assert job["state"] == "frozen"
    assert [one["long_axis_mm"] for one in job["result"]["lesions"]] == [17.2, 8.0]
    assert job["result"]["objects"][0]["sop_instance_uid"] == sop_instance_uid
    assert job["result"]["deliveries"][0]["state"] == "pending"
    assert study["series"][0]["instance_count"] == 3
    assert study["events"]
    assert job["events"]


def test_a_study_not_analysed_says_why_and_has_no_score(ward: Ward, client: TestClient) -> None:
    ward.analysed(1, not_analysed())
    row = client.get(f"/api/studies/{ward.uid(1)}").json()["summary"]
    assert (row["state"], row["outcome"], row["score"]) == ("not_analysed", Outcome.NOT_ANALYSED, None)
    assert row["reason"] == {"code": "too_few_slices", "text": "9 slices; the model needs 16"}


def test_completion_is_accepted_and_makes_the_version_due_at_once(ward: Ward, client: TestClient) -> None:
    uid = ward.arrive(1)
    answer = client.post(f"/api/studies/{uid}/complete")
    assert (answer.status_code, answer.json()) == (202, {"study_instance_uid": uid, "asked": True})
    due = ward.store.quiet_versions(now=NOW, quiet_period=timedelta(hours=1))
    assert [one.study_instance_uid for one in due] == [uid]


def test_completion_of_an_unknown_study_is_404_and_of_a_complete_one_409(ward: Ward, client: TestClient) -> None:
    ward.analysed(1, nothing_found())
    unknown = client.post("/api/studies/1.2.3/complete")
    done = client.post(f"/api/studies/{ward.uid(1)}/complete")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown_study")
    assert (done.status_code, done.json()["code"]) == (409, "nothing_receiving")
    for answer in (unknown, done):
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["detail"]
        assert answer.json()["way_out"]


def test_result_bytes_are_the_frozen_ones_under_a_strong_etag(ward: Ward, client: TestClient) -> None:
    content = bytes(range(256)) * 300
    uid = ward.arrive(1)
    ward.complete(1)
    uid = ward.freeze(1, nothing_found(), content=content)
    answer = client.get(f"/api/results/{uid}")
    assert answer.content == content
    assert answer.headers["content-type"] == "application/dicom"
    assert answer.headers["etag"] == f'"{sha256(content).hexdigest()}"'
    assert f"{uid}.dcm" in answer.headers["content-disposition"]
    again = client.get(f"/api/results/{uid}", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_an_unknown_result_is_404_and_a_lost_file_is_said_aloud(ward: Ward, client: TestClient) -> None:
    assert client.get("/api/results/1.2.3").json()["code"] == "unknown_result"
    uid = ward.analysed(1, nothing_found())
    ward.files.result_path(ward.store.board.result_object(uid)).unlink()
    answer = client.get(f"/api/results/{uid}")
    assert (answer.status_code, answer.json()["code"]) == (500, "result_file_missing")


@pytest.mark.parametrize("uid", ["abc", "1.2.3'--", "1" * 65])
def test_what_is_no_uid_is_a_problem_that_does_not_echo_it(client: TestClient, uid: str) -> None:
    answer = client.get(f"/api/studies/{uid}")
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert uid not in answer.text


def test_a_new_analysis_is_asked_for_once_and_queued_as_a_new_version(ward: Ward, client: TestClient) -> None:
    ward.analysed(1, nothing_found())
    path = f"/api/studies/{ward.uid(1)}/analyse"
    assert client.post(path).status_code == 202
    again = client.post(path)
    assert (again.status_code, again.json()["code"]) == (409, "analysis_ahead")
    assert client.post("/api/studies/1.2.3/analyse").status_code == 404
    ward.complete(1)
    ward.freeze(1, found(Flag.URGENT, (0.93, 17.2)))
    newer, older = client.get(f"/api/studies/{ward.uid(1)}").json()["versions"]
    assert older["jobs"][0]["result"]["superseded_by"] == newer["jobs"][0]["result"]["result_id"]
