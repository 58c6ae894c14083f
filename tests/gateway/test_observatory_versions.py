"""The page of versions: who has which part, how a shadow compares with the answers, and the studies behind it."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from fastapi.testclient import TestClient

from services.triage.blind import BlindPolicy, BlindRule
from services.triage.errors import Reason
from services.triage.finding import Finding, Flag
from services.triage.inference import REFERENCE, Inference, InferenceMode
from services.triage.person import Person, PersonRole
from services.triage.rollout import Canary
from services.triage.shadow import Overlap, ShadowResult
from tests.support.chromium import new_page
from tests.support.person import as_person
from tests.support.scraped import scrape
from tests.support.serving import serving_app
from tests.support.worklist import MODEL, Ward, found, nothing_found

NEW = replace(MODEL, version="2.0.0")
FAST = Inference(mode=InferenceMode.FAST)
HELD_BACK = Inference(why=Reason(code="differs", text="the answers are further apart"))
LESION = found(Flag.URGENT, (0.93, 17.2))
WINDOW = "from=2026-02-20&to=2026-03-02"


def shadowed(
    ward: Ward, number: int, answer: Finding, said: Finding, overlap: Overlap, *, inference: Inference | None = None
) -> None:
    """A study that was answered in the reference mode, and what the shadow says of it."""
    ward.arrive(number)
    ward.complete(number)
    ward.freeze(number, answer, inference=REFERENCE)
    lease, _ = ward.store.shadows.lease(worker="w", now=ward.now, duration=timedelta(minutes=1))
    timings_s = {"segment": 12.0, "find": 0.1}
    result = ShadowResult(model=NEW, finding=said, timings_s=timings_s, overlap=overlap, inference=inference)
    ward.store.shadows.keep(lease, result, now=ward.now)


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Ward:
    """Ten studies that both versions flag, and two that the shadow does not."""
    ward = Ward(tmp_path_factory.mktemp("versions"))
    decided = {"standing": MODEL.version, "actor": "Dr Lead", "reason": "to be seen", "now": ward.now}
    ward.store.rollouts.shadow(MODEL.name, NEW.version, **decided)
    both = Overlap(dice=0.9, both=1, answer_only=0, shadow_only=0)
    missed = Overlap(dice=0.0, both=0, answer_only=1, shadow_only=0)
    for number in range(1, 11):
        shadowed(ward, number, LESION, LESION, both, inference=FAST)
    shadowed(ward, 11, LESION, nothing_found(), missed, inference=HELD_BACK)
    shadowed(ward, 12, LESION, nothing_found(), missed)
    ward.analysed(13, LESION)
    ward.store.rollouts.canary(MODEL.name, Canary(version="3.0.0", share=0.25), **decided)
    return ward


def client_of(ward: Ward, *roles: PersonRole, language: str = "en") -> TestClient:
    app = as_person(ward.app(observatory_minimum="5"), Person(name="A", roles=frozenset(roles)))
    return TestClient(app, base_url="http://127.0.0.1:8000", headers={"Accept-Language": language})


@pytest.fixture(scope="module")
def lead(ward: Ward) -> TestClient:
    return client_of(ward, PersonRole.LEAD)


def test_json_tells_parts_runs_and_the_comparison(lead: TestClient) -> None:
    told = lead.get(f"/api/observatory/versions?{WINDOW}").json()
    (rollout,) = told["rollouts"]
    assert (rollout["active"], rollout["canary"], rollout["canary_share"]) == (None, "3.0.0", 0.25)
    assert (rollout["shadow"], rollout["actor"], rollout["reason"]) == ("2.0.0", "Dr Lead", "to be seen")
    assert told["shadow_runs"] == {MODEL.name: {"kept": 12, "owed": 1}}
    (comparison,) = told["comparisons"]
    assert (comparison["answer"], comparison["shadow"]) == ("1.0.0", "2.0.0")
    assert (comparison["outcome"]["count"], comparison["outcome"]["n"]) == (10, 12)
    assert comparison["dice"]["median"]["value"] == 0.9
    assert {(one["answer"], one["shadow"], one["studies"]) for one in comparison["outcomes"]} == {
        ("found", "found", 10),
        ("found", "nothing_found", 2),
    }
    assert [(one["answer"], one["shadow"], one["studies"]) for one in comparison["inference"]] == [
        ("reference", "fast", 10),
        ("reference", "reference", 1),
        ("reference", None, 1),
    ]


def test_the_page_tells_the_same_and_each_number_leads_to_its_studies(lead: TestClient) -> None:
    page = lead.get(f"/observatory/versions?{WINDOW}").text
    for words in ("3.0.0, 25.0% of studies", "12 kept, 1 to come, 0 failed", "Dr Lead: to be seen", "83.3%"):
        assert words in page
    assert " style=" not in page
    cell = "&amp;answered=found&amp;said=nothing_found"
    assert cell in page
    path = page.partition(cell)[0].rpartition('href="')[2] + cell
    studies = lead.get(path.replace("&amp;", "&")).text
    assert studies.count('<th scope="row">') == 2
    agreeing = lead.get(
        f"/observatory/versions/studies?{WINDOW}&model={MODEL.name}&answer=1.0.0&shadow=2.0.0&agree=true"
    )
    assert agreeing.text.count('<th scope="row">') == 10


def test_the_pages_tell_how_the_networks_ran(lead: TestClient) -> None:
    page = lead.get(f"/observatory/versions?{WINDOW}").text
    rows = page.partition("by how the networks ran")[2].partition("</table>")[0]
    mode = "<td><code>reference</code></td>"
    for told, count in (("<td><code>fast</code></td>", 10), (mode, 1), ("<td>not told</td>", 1)):
        assert f'<tr>{mode}{told}<td class="number">{count}</td></tr>' in rows
    studies = lead.get(f"/observatory/versions/studies?{WINDOW}").text
    assert studies.count("<td>found 0.93 <code>fast</code></td>") == 10
    assert studies.count("<td>found 0.93 <code>reference</code></td>") == 12
    assert "<td>nothing found 0.08 <code>reference (differs)</code></td>" in studies
    assert "<td>nothing found 0.08</td>" in studies


@pytest.mark.parametrize(
    ("role", "page", "named"),
    [
        (PersonRole.LEAD, 200, True),
        (PersonRole.OPS, 403, False),
        (PersonRole.READER, 403, False),
    ],
)
def test_who_observes_sees_it_and_names_are_for_those_who_see_patients(ward, role, page, named) -> None:
    client = client_of(ward, role)
    assert client.get(f"/observatory/versions?{WINDOW}").status_code == page
    assert client.get(f"/api/observatory/versions?{WINDOW}").status_code == page
    studies = client.get(f"/observatory/versions/studies?{WINDOW}")
    assert ("FAMILY" in studies.text) == named


def test_it_is_in_french_too(ward: Ward) -> None:
    page = client_of(ward, PersonRole.LEAD, language="fr").get(f"/observatory/versions?{WINDOW}").text
    assert "Version fantôme et réponse" in page
    assert "exécution des réseaux</caption>" in page
    assert "12 gardées, 1 à venir, 0 en échec" in page
    studies = client_of(ward, PersonRole.LEAD, language="fr").get(f"/observatory/versions/studies?{WINDOW}").text
    assert "détection 0,93" in studies


def test_a_window_without_a_shadow_and_a_service_without_a_decision_say_so(lead: TestClient, tmp_path: Path) -> None:
    assert "No shadow has looked" in lead.get("/observatory/versions?from=2026-01-01&to=2026-01-02").text
    assert "Nothing was decided" in client_of(Ward(tmp_path), PersonRole.LEAD).get("/observatory/versions").text
    assert lead.get("/api/observatory/versions?from=2026-03-02&to=2026-03-01").status_code == 422


def test_what_is_withheld_is_not_told_by_a_figure_either(tmp_path: Path) -> None:
    rule = BlindRule(share=1, max_hold=timedelta(hours=1))
    ward = Ward(tmp_path, blind=BlindPolicy(rules=(rule,)))
    decided = {"standing": MODEL.version, "actor": "Dr Lead", "reason": "to be seen", "now": ward.now}
    ward.store.rollouts.shadow(MODEL.name, NEW.version, **decided)
    shadowed(ward, 1, LESION, LESION, Overlap(dice=0.9, both=1, answer_only=0, shadow_only=0))
    client = client_of(ward, PersonRole.LEAD)
    assert client.get(f"/api/observatory/versions?{WINDOW}").json()["comparisons"] == []
    ward.now += timedelta(hours=2)
    assert len(client.get(f"/api/observatory/versions?{WINDOW}").json()["comparisons"]) == 1


def test_metrics_tell_parts_and_runs(ward: Ward) -> None:
    samples, _ = scrape(ward.client())
    told = {name: samples[name] for name in samples if name[0] in ("vigie_model_part", "vigie_shadow_runs")}
    assert {tuple(dict(labels).values())[1:]: value for (_, labels), value in told.items()} == {
        ("active", "standing"): 0.75,
        ("canary", "3.0.0"): 0.25,
        ("shadow", "2.0.0"): 1,
        ("kept",): 12,
        ("owed",): 1,
    }


def test_a_browser_finds_no_barrier(ward: Ward) -> None:
    with serving_app(ward.app(observatory_minimum="5")) as address, new_page(width=1300) as (page, _):
        for path in (f"/observatory/versions?{WINDOW}", f"/observatory/versions/studies?{WINDOW}"):
            page.goto(f"{address}{path}")
            for scheme in ("light", "dark"):
                page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
                found_ = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]})
                assert found_.violations_count == 0, found_.generate_report()
        page.goto(f"{address}/observatory/versions?{WINDOW}")
        page.screenshot(path=str(ward.folder / "versions.png"), full_page=True)
