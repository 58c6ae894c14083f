"""Blind-first mode at the desk: no door shows what is withheld, and the reader's own assessment opens them all."""

import re
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient

from services.triage.blind import BlindPolicy, BlindRule
from services.triage.finding import Flag
from services.triage.verdict import Answer
from tests.support.house import House, chest_with_ball
from tests.support.live import told_once
from tests.support.worklist import Ward, failed, found, nothing_found

ALL_BLIND = BlindPolicy(rules=(BlindRule(share=1.0),), key="a key of sixteen")


@dataclass
class Held:
    """A study with real files and a real result. secrets: what of the result no answer may have in it, by name."""

    ward: Ward
    client: TestClient
    study: str
    result_id: str
    series: str
    secrets: dict[str, str]
    objects: list[tuple[str, str]]


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Held:
    house = House(data=tmp_path_factory.mktemp("held"), blind=ALL_BLIND)
    series = chest_with_ball(PatientName="Doe^Jane")
    study = house.freeze(series)
    (job,) = house.jobs(study)
    assert job.withheld is not None
    ward = Ward(house.data)
    ward.now = job.withheld.until
    (shown,) = ward.store.board.study(study).versions[0].jobs
    ward.now = job.withheld.until - timedelta(seconds=5)
    result = shown.result
    assert result is not None
    assert result.lesions
    lesion = result.lesions[0]
    secrets = {
        "score in words": f"score {result.score:.2f}",
        "score": f'"score":{result.score}',
        "volume": f'"volume_ml":{lesion.volume_ml}',
        "outcome": f'"outcome":"{result.outcome}"',
        "history": ">found<",
        "lesion": lesion.tracking_uid,
        **{f"{each.modality} object": each.sop_instance_uid for each in result.objects},
        **{f"{each.modality} series": each.series_instance_uid for each in result.objects},
        **{f"{each.modality} bytes": each.sha256 for each in result.objects},
    }
    objects = [(each.series_instance_uid, each.sop_instance_uid) for each in result.objects]
    return Held(
        ward=ward,
        client=TestClient(told_once(ward.app()), base_url="http://127.0.0.1:8000", raise_server_exceptions=False),
        study=study,
        result_id=result.result_id,
        series=str(series[0].SeriesInstanceUID),
        secrets=secrets,
        objects=objects,
    )


def addresses(held: Held) -> list[str]:
    """All that the running application answers to GET, for the study, its series, and each object of the result."""
    templates = {
        route.path
        for included in held.client.app.routes
        for route in getattr(included, "effective_route_contexts", lambda: ())()
        if "GET" in route.methods
    }
    task = held.client.get("/dicomweb/workitems").json()[0]["00080018"]["Value"][0]
    found: set[str] = set()
    for series, instance in ((held.series, "1.2.3"), *held.objects):
        told = {"uid": held.study, "study": held.study, "series": series, "instance": instance, "workitem": task}
        told |= {"sop_instance_uid": instance, "result_id": held.result_id, "place:path": "7FE00010"}
        found |= {re.sub(r"{([^}]+)}", lambda each, told=told: told.get(each[1], "1"), each) for each in templates}
    root = "/dicomweb"
    for level, key in (("studies", "ModalitiesInStudy"), ("series", "Modality"), ("instances", "Modality")):
        found |= {f"{root}/{level}?includefield=all{more}" for more in ("", f"&{key}=SEG", f"&{key}=SR")}
    found |= {f"{root}/studies/{held.study}/instances?includefield=all", f"{root}/workitems?includefield=all"}
    return sorted(found)


def test_no_endpoint_tells_what_is_withheld(held: Held) -> None:
    asked = addresses(held)
    for one in ("/", "/metrics", f"/studies/{held.study}", f"/api/results/{held.objects[0][1]}", "/dicomweb/studies"):
        assert one in asked
    answered = set()
    for address in asked:
        for accept in ("*/*", "text/html", "multipart/related; type=application/dicom; transfer-syntax=*"):
            answer = held.client.get(address, headers={"Accept": accept})
            content = answer.content.replace(address.encode(), b"")  # what was asked is no secret
            told = [name for name, secret in held.secrets.items() if secret.encode() in content]
            assert told == [], f"{address} tells {told}"
            assert answer.status_code != 500, address
            if answer.status_code == 200:
                answered.add(address)
    assert len(answered) > 20
    before, held.ward.now = held.ward.now, held.ward.now + timedelta(minutes=1)
    later = b"".join(held.client.get(each).content for each in asked)
    held.ward.now = before
    assert [name for name, secret in held.secrets.items() if secret.encode() not in later] == []  # they do tell it then
    assert not [each for each in answered for one in held.objects if one[1] in each]


def test_the_page_says_that_it_is_withheld_and_links_to_the_images_alone(held: Held, tmp_path: Path) -> None:
    viewer = tmp_path / "ohif"
    viewer.mkdir()
    (viewer / "index.html").write_text("viewer")
    ward = Ward(tmp_path, blind=ALL_BLIND)
    ward.analysed(1, found(Flag.URGENT, (0.91, 14.0)))
    uid = ward.uid(1)
    client = ward.client(viewer=viewer)
    page = client.get(f"/studies/{uid}").text
    link = re.search(r'href="(/ohif/viewer[^"]+)"', page)
    assert link is not None
    assert "seg=" not in link[1]
    assert f"initialSeriesInstanceUID={uid}.1" in link[1]
    assert "AI result withheld" in client.get("/").text
    assert "0.91" not in page


def test_a_study_keeps_its_place_while_its_result_is_withheld(tmp_path: Path) -> None:
    ward = Ward(tmp_path)
    ward.analysed(1, nothing_found())
    ward.blind = ALL_BLIND
    ward.analysed(2, found(Flag.URGENT, (0.91, 14.0)))
    listed = ward.client().get("/api/studies").json()["studies"]
    assert [one["study"]["study_instance_uid"] for one in listed] == [ward.uid(2), ward.uid(1)]
    assert listed[0]["withheld_until"] is not None
    assert (listed[0]["score"], listed[0]["flag"], listed[0]["outcome"]) == (None, None, None)


def test_no_figure_of_today_counts_what_is_withheld(tmp_path: Path) -> None:
    ward = Ward(tmp_path, blind=ALL_BLIND)
    ward.analysed(1, found(Flag.URGENT, (0.91, 14.0)))
    client, today = ward.client(), f"to={ward.now.date()}"

    def told() -> tuple[bool, int, bool, dict[str, int]]:
        return (
            "FAMILY1" in client.get(f"/observatory/studies?{today}&measure=found&part=count").text,
            client.get(f"/api/observatory?{today}").json()["figures"]["studies"],
            "studies,1" in client.get(f"/observatory.csv?{today}").text.replace(",,", ""),
            client.get("/api/models").json()["models"][0]["outcomes"],
        )

    assert told() == (False, 0, False, {})
    ward.now += timedelta(hours=1)
    assert told() == (True, 1, True, {"found": 1})


def test_neither_list_nor_page_tells_that_it_flags_a_study_read_before(tmp_path: Path) -> None:
    ward = Ward(tmp_path, blind=ALL_BLIND)
    uid = ward.arrive(1)
    ward.complete(1)
    client = ward.client()
    assert client.post(f"/api/studies/{uid}/reading", json={"action": "read"}).status_code == 200
    ward.now += timedelta(seconds=30)
    ward.freeze(1, found(Flag.URGENT, (0.91, 14.0)))
    pages = ("/", f"/studies/{uid}", "/api/studies", f"/api/studies/{uid}")
    assert not [page for page in pages if re.search('"flagged"|AI flagged', client.get(page).text)]
    ward.now += timedelta(hours=1)
    assert "the AI flagged it since" in client.get("/").text
    assert client.get("/api/studies").json()["studies"][0]["reading"]["again"] == "flagged"


def test_that_an_analysis_failed_is_told_at_once(tmp_path: Path) -> None:
    ward = Ward(tmp_path, blind=ALL_BLIND)
    ward.analysed(1, failed())
    uid = ward.uid(1)
    assert "AI failed" in ward.client().get(f"/studies/{uid}").text


def form(page: str, **told: str) -> dict[str, str]:
    hidden = dict(re.findall(r'name="(result_id|verdict_id)" value="([0-9a-f]{32})"', page))
    return {**hidden, "answer": "present", **told}


def test_the_readers_assessment_is_kept_and_then_the_ai_is_shown(tmp_path: Path) -> None:
    ward = Ward(tmp_path, blind=ALL_BLIND)
    ward.analysed(1, found(Flag.URGENT, (0.91, 14.0)))
    uid = ward.uid(1)
    client = ward.client()
    page = client.get(f"/studies/{uid}").text
    sent = form(page, lesion_count="2", largest_mm="7,5", location=" RUL ", confidence="high")
    answer = client.post(f"/studies/{uid}/assessment", data=sent, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, f"/studies/{uid}")
    after = client.get(f"/studies/{uid}").text
    assert "0.91" in after
    assert "Your assessment first" not in after
    assert "Withheld until local had given an assessment of their own" in after
    (kept,) = ward.store.verdicts.of_study(uid)
    assert (kept.answer, kept.shown.blind, kept.reader) == (Answer.PRESENT, True, "local")
    told = kept.assessment
    assert told is not None
    assert (told.lesion_count, told.largest_mm, told.location, told.confidence) == (2, 7.5, "RUL", "high")
    assert client.post(f"/studies/{uid}/assessment", data=sent, follow_redirects=False).status_code == 303
    other = client.post(f"/studies/{uid}/assessment", data={**sent, "lesion_count": "3"})
    assert (other.status_code, other.json()["code"]) == (409, "other_answer")
    assert ward.store.verdicts.of_study(uid) == (kept,)
    assert 'vigie_blind_holds{state="read"} 1.0' in client.get("/metrics").text


@pytest.mark.parametrize(
    ("told", "status"),
    [
        ({"answer": "accept"}, 422),
        ({"answer": ""}, 422),
        ({"lesion_count": "-1"}, 422),
        ({"largest_mm": "nan"}, 422),
        ({"location": "x" * 65}, 422),
        ({"result_id": "0" * 32}, 409),
        ({"confidence": "", "lesion_count": "", "largest_mm": ""}, 303),
    ],
)
def test_what_cannot_be_an_assessment_changes_nothing(tmp_path: Path, told: dict[str, str], status: int) -> None:
    ward = Ward(tmp_path, blind=ALL_BLIND)
    ward.analysed(1, found(Flag.URGENT, (0.91, 14.0)))
    uid = ward.uid(1)
    client = ward.client()
    sent = form(client.get(f"/studies/{uid}").text, **told)
    assert client.post(f"/studies/{uid}/assessment", data=sent, follow_redirects=False).status_code == status
    assert len(ward.store.verdicts.of_study(uid)) == (status == 303)


def test_two_readers_the_second_sees_the_ai_and_is_not_kept_as_blind(tmp_path: Path) -> None:
    ward = Ward(tmp_path, blind=ALL_BLIND)
    ward.analysed(1, found(Flag.URGENT, (0.91, 14.0)))
    uid = ward.uid(1)
    client = ward.client()
    sent = form(client.get(f"/studies/{uid}").text)
    client.post(f"/studies/{uid}/assessment", data=sent)
    ward.now += timedelta(seconds=1)
    client.post(f"/studies/{uid}/assessment", data={**sent, "verdict_id": uuid4().hex, "answer": "absent"})
    assert [one.shown.blind for one in ward.store.verdicts.of_study(uid)] == [True, False]


def test_series_of_the_study_that_no_model_looked_at_are_not_withheld(held: Held) -> None:
    series = held.client.get(f"/dicomweb/studies/{held.study}/series").json()
    assert [one["0020000E"]["Value"][0] for one in series] == [held.series]


def test_the_dispatcher_ends_what_is_withheld_once_nobody_reads_blind(tmp_path: Path) -> None:
    house = House(data=tmp_path, blind=ALL_BLIND)
    uid = house.freeze(chest_with_ball())
    assert house.store.holds.counts()["held"] == 1
    house.dispatch()  # its settings name no file
    assert house.store.holds.counts()["switched_off"] == 1
    assert house.result(uid).lesions
