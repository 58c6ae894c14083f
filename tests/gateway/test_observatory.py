"""The observatory as those who answer for the AI use it: pages, CSV, JSON, metrics, report; each by their role."""

import csv
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from io import StringIO
from itertools import chain
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from services.cli import app as cli
from services.gateway.language import COOKIE as LANGUAGE_COOKIE
from services.gateway.observatory.observing import turn
from services.observatory.figures import Alarm
from services.settings import Settings
from services.triage.person import Person, PersonRole
from tests.support.chromium import new_page
from tests.support.histories import START, World, simulate
from tests.support.person import as_person
from tests.support.scraped import scrape
from tests.support.serving import serving_app
from tests.support.stored_histories import keep_history
from tests.support.worklist import Ward

NOW = START + timedelta(days=30, hours=9)
WINDOW = "from=2026-10-01&to=2026-10-30"
SCANNER = "=cmd|' /C calc'!A0"  # as hostile as a header may be


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Ward:
    """A month in which women are served worse and one scanner is new."""
    made = Ward(tmp_path_factory.mktemp("observatory"), now=NOW)
    before = simulate(World(studies_a_day=15), days=90, start=START - timedelta(days=90), seed=1)
    month = simulate(World(weak_sex="F", new_device=0.3), days=30, seed=2)
    hostile = (
        replace(one, traits=replace(one.traits, device=SCANNER)) if one.traits.device == "Novum X1" else one
        for one in month
    )
    keep_history(f"sqlite:///{made.folder / 'vigie.sqlite'}", chain(before, hostile))
    return made


def client_of(ward: Ward, *roles: PersonRole) -> TestClient:
    app = as_person(ward.app(), Person(name="A", roles=frozenset(roles)))
    return TestClient(app, base_url="http://127.0.0.1:8000", raise_server_exceptions=False)


@pytest.fixture(scope="module")
def client(ward: Ward) -> TestClient:
    return client_of(ward, PersonRole.LEAD)


def test_the_page_says_what_is_wrong_and_for_whom(client: TestClient) -> None:
    page = client.get(f"/observatory?{WINDOW}").text
    begin = page.index('<ul class="alarms">')
    alarms = page[begin : page.index("</ul>", begin)]
    assert "Sex female: Sensitivity, answered" in alarms
    assert "Scanner" in alarms
    assert " style=" not in page
    assert page.count("<svg") >= 8
    assert page.count("<table") > page.count("<svg")  # each plot has its numbers beside it


def test_json_csv_and_page_tell_the_same(client: TestClient) -> None:
    told = client.get(f"/api/observatory?{WINDOW}").json()["figures"]
    assert set(told["alarms"]) >= {Alarm.DISPARITY, Alarm.DRIFT}
    ppv = told["measures"]["ppv"]
    sheet = list(csv.DictReader(StringIO(client.get(f"/observatory.csv?{WINDOW}").text)))
    (line,) = [one for one in sheet if one["figure"] == "ppv" and not one["attribute"]]
    assert (float(line["value"]), int(line["count"]), int(line["n"])) == (ppv["value"], ppv["count"], ppv["n"])
    assert f"{100 * ppv['value']:.1f}%" in client.get(f"/observatory?{WINDOW}").text
    assert {one["group"] for one in sheet if one["attribute"] == "sex"} == {"F", "M"}


@pytest.mark.parametrize(("language", "words"), [("en", "too few slices"), ("fr", "trop peu de coupes")])
def test_why_studies_were_not_analysed_has_words_on_pages_and_its_code_for_programs(
    ward: Ward, language: str, words: str
) -> None:
    client = client_of(ward, PersonRole.LEAD)
    client.cookies.set(LANGUAGE_COOKIE, language)
    count = client.get(f"/api/observatory?{WINDOW}").json()["figures"]["reasons"]["too_few_slices"]
    told = f"{words} <code>too_few_slices</code>"
    page = client.get(f"/observatory?{WINDOW}").text
    assert f'<tr><th scope="row">{told}</th><td class="number">{count}</td></tr>' in page
    assert told in client.get(f"/observatory/studies?{WINDOW}&measure=analysed&part=rest").text


def test_a_scanners_name_is_no_formula_of_a_spreadsheet(client: TestClient) -> None:
    sheet = csv.DictReader(StringIO(client.get(f"/observatory.csv?{WINDOW}").text))
    groups = {one["group"] for one in sheet if one["attribute"] == "device"}
    assert f"'{SCANNER}" in groups
    assert not any(one.startswith("=") for one in groups)


@pytest.mark.parametrize("measure", ["ppv", "sensitivity", "specificity_blind", "flagged", "analysed"])
@pytest.mark.parametrize("part", ["count", "among"])
def test_behind_each_number_stand_as_many_studies(client: TestClient, measure: str, part: str) -> None:
    told = client.get(f"/api/observatory?{WINDOW}").json()["figures"]["measures"][measure]
    listed, offset = 0, 0
    while offset is not None:
        page = client.get(f"/observatory/studies?{WINDOW}&measure={measure}&part={part}&offset={offset}").text
        listed += page.count('<th scope="row">')
        offset = offset + 100 if f"offset={offset + 100}" in page else None  # type: ignore[assignment]
    assert listed == told["count" if part == "count" else "n"]


def test_of_a_group_only_its_own_studies_are_listed(client: TestClient) -> None:
    figures = client.get(f"/api/observatory?{WINDOW}").json()["figures"]
    sexes = next(one for one in figures["groupings"] if one["attribute"] == "sex")
    female = next(one for one in sexes["groups"] if one["label"] == "F")["measures"]["sensitivity"]
    page = client.get(f"/observatory/studies?{WINDOW}&by=sex&group=F&measure=sensitivity&part=among").text
    assert page.count('<th scope="row">') == min(female["n"], 100)


def test_an_auditor_sees_results_and_no_patient(ward: Ward, client: TestClient) -> None:
    path = f"/observatory/studies?{WINDOW}&measure=ppv&part=count"
    assert "FAMILY" in client.get(path).text
    page = client_of(ward, PersonRole.AUDITOR).get(path).text
    for secret in ("FAMILY", "P-0", "2.25.", "/studies/"):
        assert secret not in page.split("<main")[1].replace("/observatory/studies", "")
    assert page.count('<th scope="row">') > 20


@pytest.mark.parametrize("path", ["/observatory", "/observatory/studies", "/observatory.csv", "/api/observatory"])
@pytest.mark.parametrize("role", [PersonRole.READER, PersonRole.OPS])
def test_others_do_not_see_it(ward: Ward, path: str, role: PersonRole) -> None:
    assert client_of(ward, role).get(path).status_code == 403


@pytest.mark.parametrize("query", ["from=2026-10-30&to=2026-10-01", "from=2020-01-01&to=2026-10-01", "by=hair"])
def test_a_window_that_is_none_is_refused(client: TestClient, query: str) -> None:
    assert client.get(f"/api/observatory?{query}").status_code == 422


def test_where_no_model_answered_that_is_said(client: TestClient) -> None:
    query = "from=2020-01-01&to=2020-01-30"
    assert "No model answered in this window." in client.get(f"/observatory?{query}").text
    assert client.get(f"/api/observatory?{query}").json()["figures"] is None
    assert len(client.get(f"/observatory.csv?{query}").text.splitlines()) == 1


def test_the_turn_of_one_desk_gives_all_their_alarms(ward: Ward, client: TestClient) -> None:
    settings = Settings(data=ward.folder)
    assert turn(ward.store, settings, now=NOW)
    assert not turn(ward.store, settings, now=NOW + timedelta(minutes=1))
    samples, text = scrape(client)
    model = ("model", "ct_lung_lesion"), ("version", "1.0.0")
    for kind, sounds in (("disparity", 1), ("drift", 1)):
        assert samples["vigie_observatory_alarm", (("kind", kind), *model)] == sounds
    figures = client.get(f"/api/observatory?{WINDOW}").json()["figures"]
    labels = (("measure", "ppv"), *model)
    assert samples["vigie_observatory_measure", tuple(sorted(labels))] == figures["measures"]["ppv"]["value"]
    assert samples["vigie_observatory_timestamp_seconds", model] == NOW.timestamp()
    energy = samples["vigie_energy_joules_total", (("model", "ct_lung_lesion"), ("source", "estimated"))]
    assert energy > figures["consumption"]["total_joules"] > 0
    assert "FAMILY" not in text


@pytest.mark.parametrize(("language", "words"), [("en", "oversight board"), ("fr", "comité de surveillance")])
def test_the_report_of_a_month_stands_alone(
    ward: Ward, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, language: str, words: str
) -> None:
    monkeypatch.setenv("VIGIE_DATA", str(ward.folder))
    file = tmp_path / "report.html"
    asked = ["observatory", "report", "--month", "2026-10", "--output", str(file), "--language", language]
    ended = CliRunner().invoke(cli, asked)
    assert ended.exit_code == 0, ended.output
    html = file.read_text()
    assert words in html
    assert not re.search(r'(href|src)="(?!#)', html)
    assert html.count("<svg") >= 20
    for secret in ("FAMILY", "P-0", "2.25."):
        assert secret not in html


@pytest.mark.parametrize("month", ["2026-13", "October", "2026"])
def test_a_month_that_is_none_is_wrong_usage(month: str, tmp_path: Path) -> None:
    asked = ["observatory", "report", "--month", month, "--output", str(tmp_path / "report.html")]
    assert CliRunner().invoke(cli, asked).exit_code == 2


@pytest.fixture(scope="module")
def address(ward: Ward) -> Iterator[str]:
    with serving_app(ward.app()) as url:
        yield url


def test_a_browser_finds_no_barrier_and_asks_nobody_else(address: str) -> None:
    with new_page(width=1300) as (page, asked):
        refused: list[str] = []
        page.on("console", lambda message: refused.append(message.text))
        page.goto(f"{address}/observatory?{WINDOW}")
        page.get_by_text("Table of groups", exact=True).click()
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]})
            assert found.violations_count == 0, found.generate_report()
        page.get_by_label("Group by").select_option("device")
        page.get_by_role("button", name="Show").press("Enter")
        page.get_by_role("heading", name="By group: Scanner").wait_for()
        page.get_by_role("region", name="Table of agreement").get_by_role("link").first.click()
        page.get_by_role("heading", name="PPV").wait_for()
        found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]})
        assert found.violations_count == 0, found.generate_report()
    assert refused == []
    assert all(url.startswith(address) for url in asked)


def test_no_name_of_a_plot_is_cut_off_in_french(address: str) -> None:
    cut = """() => [...document.querySelectorAll('svg.plot')].flatMap(plot => [...plot.querySelectorAll('text')]
        .filter(one => one.getBBox().x < 0 || one.getBBox().x + one.getBBox().width > plot.viewBox.baseVal.width)
        .map(one => one.textContent))"""
    with new_page(width=1300) as (page, _):
        page.context.add_cookies([{"name": LANGUAGE_COOKIE, "value": "fr", "url": address}])
        page.goto(f"{address}/observatory?{WINDOW}")
        assert page.get_by_text("Noyau de reconstruction").count() > 0
        assert page.evaluate(cut) == []


def test_on_paper_every_table_is_there(address: str) -> None:
    with new_page(width=718) as (page, _):
        page.goto(f"{address}/observatory?{WINDOW}")
        page.emulate_media(media="print")
        shown = page.locator("details table").evaluate_all("all => all.map(one => one.checkVisibility())")
        assert len(shown) > 3
        assert all(shown)
