"""The pages as a radiologist would read them, parsed from their HTML."""

import re
from datetime import UTC, datetime, timedelta
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from services.gateway.wording import age_words, date_words, person_words, score_words, years_words
from services.triage.errors import Reason
from services.triage.finding import Flag, Outcome
from services.triage.job import SeriesRefusal
from services.triage.organ import NO_TUMOUR_CLASS
from services.triage.switch import ModelScope
from tests.support.worklist import MODEL, NOW, PACS, Ward, failed, found, not_analysed, nothing_found


class Rows(HTMLParser):
    """Text of each row of the first table's body, and its class."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.rows: list[tuple[str, str]] = []
        self.inside = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr" and dict(attrs).get("class"):
            self.inside = True
            self.rows.append(((dict(attrs)["class"] or "").split()[0], ""))

    def handle_endtag(self, tag: str) -> None:
        self.inside = self.inside and tag != "tr"

    def handle_data(self, data: str) -> None:
        if self.inside:
            kind, text = self.rows[-1]
            self.rows[-1] = (kind, " ".join(f"{text} {data}".split()))


@pytest.fixture
def ward(tmp_path: Path) -> Ward:
    return Ward(tmp_path)


@pytest.fixture
def client(ward: Ward) -> TestClient:
    return ward.client()


def only_row(client: TestClient, query: str = "") -> tuple[str, str]:
    (row,) = Rows(client.get(f"/{query}").text).rows
    return row


def test_a_row_says_patient_study_model_score_and_lesions(ward: Ward, client: TestClient) -> None:
    ward.analysed(1, found(Flag.URGENT, (0.93, 17.2), (0.6, 8.0)), at=NOW - timedelta(minutes=12))
    kind, text = only_row(client)
    assert kind == "row-urgent"
    for words in (
        "FAMILY1, Given",
        "P-0001",
        "CT · CT chest",
        "2026-03-02 08:45",
        "Urgent",
        "score 0.93 (not calibrated on patients)",
        "2 lesions",
        "largest 17 mm",
        "ct_lung_lesion version 1.0.0",
        "Analysed",
        "12 min",
        "AI after 12:00",
        "Take",
    ):
        assert words in text
    assert "probability" not in text


def test_ai_saw_nothing_never_looks_like_ai_did_not_look(ward: Ward, client: TestClient) -> None:
    ward.analysed(1, nothing_found(0.08), at=NOW - timedelta(minutes=3))
    ward.analysed(2, not_analysed(), at=NOW - timedelta(minutes=2))
    ward.analysed(3, failed(), at=NOW - timedelta(minutes=1))
    (looked, saw), (unseen, refused), (broken, broke) = Rows(client.get("/").text).rows
    assert (looked, unseen, broken) == ("row-nothing", "row-unseen", "row-unseen")
    assert "Nothing found" in saw
    assert "score 0.08" in saw
    assert "0 lesions" in saw
    for text in (refused, broke):
        assert "Nothing found" not in text
        assert "0 lesions" not in text
        assert "score" not in text
        assert "Read as usual." in text
    assert "AI did not look" in refused
    assert "9 slices; the model needs 16" in refused
    assert "The model ran out of memory" in broke


ORGANS_ONLY = not_analysed(NO_TUMOUR_CLASS.code, NO_TUMOUR_CLASS.text)


def test_a_model_that_measures_organs_only_looked_and_saw_no_lesions_nor_none(ward: Ward, client: TestClient) -> None:
    ward.analysed(1, found(Flag.URGENT, (0.93, 17.2)), at=NOW - timedelta(minutes=1))
    ward.analysed(2, not_analysed(), at=NOW - timedelta(minutes=3))
    ward.analysed(3, ORGANS_ONLY, at=NOW - timedelta(minutes=2))
    page = client.get("/").text
    (urgent, _), (_, unseen), (kind, text) = Rows(page).rows
    assert (urgent, kind) == ("row-urgent", "row-organs"), "below the flags, and by arrival"
    assert "AI measured organs only It did not look for tumours. Read as usual." in text
    for words in ("AI did not look", "Nothing found", "The model looked", "0 lesions", "score"):
        assert words not in text
    assert "AI did not look Read as usual." in unseen
    assert "AI measured organs only" in client.get(f"/studies/{ward.uid(3)}").text
    in_french = client.get("/", headers={"Accept-Language": "fr"}).text
    french = "L'IA n'a mesuré que des organes Elle n'a pas cherché de tumeur. Lire comme d'habitude."
    assert french in Rows(in_french).rows[2][1]
    for query, number in (("?ai=organs", 3), ("?ai=unseen", 2), ("?ai=nothing", None)):
        studies = client.get(f"/api/studies{query}").json()["studies"]
        assert [one["ai_says"] for one in studies] == ([query.partition("=")[2]] if number else [])
        assert [one["study"]["study_instance_uid"] for one in studies] == ([ward.uid(number)] if number else [])
    tally = " ".join(re.sub(r"<[^>]*>", " ", page.partition('class="tally"')[2].partition("</ul>")[0]).split())
    assert tally.endswith("1 the AI did not look at 1 with organs measured only")
    assert '<option value="organs">AI measured organs only</option>' in page
    assert 'href="/?ai=organs"' in page


def test_a_ward_without_a_model_that_measures_organs_only_is_told_of_none(ward: Ward, client: TestClient) -> None:
    ward.analysed(1, not_analysed())
    assert 'href="/?ai=organs"' not in client.get("/").text


def test_organs_that_a_model_measured_that_is_switched_off_do_not_count(ward: Ward, client: TestClient) -> None:
    ward.analysed(1, ORGANS_ONLY)
    scope = ModelScope(model_name=MODEL.name)
    ward.store.switches.switch_off(scope, reason="it is wrong", actor="Dr Lead", now=ward.now)
    kind, text = only_row(client, "?ai=unseen")
    assert (kind, "Model switched off Read as usual." in text) == ("row-unseen", True)
    assert "AI measured organs only" not in text


def test_a_model_that_measures_organs_only_gave_no_result_but_did_not_fail(ward: Ward, client: TestClient) -> None:
    ward.arrive(1)
    ward.complete(1, models=("ct_lung_lesion", "ct_organs"))
    ward.freeze(1, nothing_found())
    ward.freeze(1, ORGANS_ONLY)
    text = only_row(client)[1]
    assert "Nothing found" in text
    assert "Another model measured organs only." in text
    assert "Another model gave no result" not in text


@pytest.mark.parametrize("refused_first", [True, False])
def test_organs_do_not_hide_that_a_model_refused_the_study(
    ward: Ward, client: TestClient, *, refused_first: bool
) -> None:
    ward.arrive(1)
    ward.complete(1, models=("ct_lung_lesion", "ct_organs"))
    for finding in (not_analysed(), ORGANS_ONLY) if refused_first else (ORGANS_ONLY, not_analysed()):
        ward.freeze(1, finding)
        ward.now += timedelta(seconds=1)
    text = only_row(client)[1]
    assert "Not analysed 9 slices; the model needs 16" in text
    assert "AI did not look" in text
    assert only_row(client, "?ai=unseen")[1] == text


def test_a_study_on_its_way_shows_no_result_yet(ward: Ward, client: TestClient) -> None:
    ward.arrive(1)
    assert only_row(client)[0] == "row-waiting"
    assert "No AI result yet Images still arrive." in only_row(client)[1]
    ward.complete(1)
    assert "No AI result yet Waits for its analysis." in only_row(client)[1]
    ward.lease(1)
    assert "No AI result yet The model is looking now." in only_row(client)[1]


def test_a_result_older_than_the_newest_images_says_so(ward: Ward, client: TestClient) -> None:
    ward.analysed(1, nothing_found())
    assert "came since" not in only_row(client)[1]
    ward.arrive(1, index_from=50)
    kind, text = only_row(client)
    assert kind == "row-nothing"
    assert "Of version 1: what came since is not in it." in text


def test_a_model_that_failed_is_not_hidden_by_one_that_found_nothing(ward: Ward, client: TestClient) -> None:
    ward.arrive(1)
    ward.complete(1, models=("ct_lung_lesion", "ct_liver_lesion"))
    ward.freeze(1, nothing_found())
    ward.freeze(1, failed())
    text = only_row(client)[1]
    assert "Another model gave no result: see the state." in text
    assert "Failed The model ran out of memory" in text


def test_equivocal_counts_candidates_not_lesions(ward: Ward, client: TestClient) -> None:
    ward.analysed(1, found(Flag.ROUTINE, (0.31, 6.0), outcome=Outcome.EQUIVOCAL))
    text = only_row(client)[1]
    assert "Equivocal" in text
    assert "1 candidate" in text
    assert "lesion" not in text.replace("ct_lung_lesion", "")


def test_out_of_scope_takes_no_place_but_can_be_found(ward: Ward, client: TestClient) -> None:
    ward.arrive(1)
    ward.complete(1, out_of_scope=Reason(code="no_rule", text="No rule claims this study"))
    assert Rows(client.get("/").text).rows == []
    assert "No rule claims this study" in only_row(client, "?state=out_of_scope")[1]


def test_hostile_names_stay_text(ward: Ward, client: TestClient) -> None:
    hostile = "<script>alert(1)</script>^\"onload='x'"
    uid = ward.arrive(1, patient_name=hostile, study_description="<img src=x onerror=alert(1)>")
    for path in ("/", f"/studies/{uid}"):
        html = client.get(path).text
        assert "<script>alert" not in html
        assert "<img" not in html
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    searched = client.post("/", data={"search": '"><script>alert(2)</script>'}).text
    assert "<script>alert" not in searched


def test_a_search_leaves_no_name_in_any_url_of_the_page(ward: Ward, client: TestClient) -> None:
    ward.arrive(1)
    ward.arrive(2)
    html = client.post("/", data={"search": "family2"}).text
    (row,) = Rows(html).rows
    assert "FAMILY2, Given" in row[1]
    targets = [
        part.split('"')[0].lower() for word in ("href=", "action=", "src=") for part in html.split(f'{word}"')[1:]
    ]
    assert targets
    assert not any("family" in target for target in targets)


def test_pages_load_nothing_from_elsewhere_and_run_no_inline_script(ward: Ward, client: TestClient) -> None:
    ward.analysed(1, found(Flag.URGENT, (0.93, 17.2)))
    for path, script in (("/", "refresh"), (f"/studies/{ward.uid(1)}", "study")):
        html = client.get(path).text
        assert "http://" not in html
        assert "https://" not in html
        scripts = re.findall(r"<script([^>]*)>(.*?)</script>", html, re.DOTALL)
        assert f' src="/static/{script}.js" defer' in [attributes for attributes, _ in scripts]
        assert not any(code for _, code in scripts)
        assert "style=" not in html
        assert "Not a medical device; a person reads every study." in html
        for asset in ("/static/refresh.js", "/static/worklist.js", "/static/vigie.css", "/static/vigie.svg"):
            assert client.get(asset).status_code == 200


def test_the_table_is_one_for_a_screen_reader_too(ward: Ward, client: TestClient) -> None:
    ward.arrive(1)
    html = client.get("/").text
    assert "<caption>" in html
    assert html.count('scope="col"') == 10
    assert html.count('scope="row"') == 1


def test_the_study_page_shows_lesions_downloads_deliveries_and_histories(ward: Ward, client: TestClient) -> None:
    sop_instance_uid = ward.analysed(1, found(Flag.ELEVATED, (0.71, 17.2)))
    html = client.get(f"/studies/{ward.uid(1)}").text
    assert f'href="/api/results/{sop_instance_uid}"' in html
    for words in ("Elevated", "score 0.71 (not calibrated on patients)", "17.2", "PACS@10.0.0.5:11112", "pending"):
        assert words in html
    assert "Thorax 1.0 Br40" in html
    assert "History of the study" in html


def test_the_study_page_says_why_each_series_was_not_analysed(ward: Ward, client: TestClient) -> None:
    ward.arrive(1, series=(("CT", "Topogram", 1), ("CT", "Thorax 5.0", 9)))
    reason = Reason(code="too_few_slices", text="9 slices; the model needs 16")
    localizer = Reason(code="localizer", text="A localizer is never analysed")
    ward.complete(
        1,
        refusal=reason,
        refused_series=(
            SeriesRefusal(series_instance_uid=f"{ward.uid(1)}.1", reason=localizer),
            SeriesRefusal(series_instance_uid=f"{ward.uid(1)}.2", reason=reason),
        ),
    )
    ward.freeze(1, not_analysed())
    html = client.get(f"/studies/{ward.uid(1)}").text
    assert "1 Topogram" in html
    assert "A localizer is never analysed" in html
    assert "2 Thorax 5.0" in html


def test_an_unknown_study_is_a_page_of_its_own(client: TestClient) -> None:
    answer = client.get("/studies/1.2.3", headers={"Accept": "text/html,*/*"})
    assert answer.status_code == 404
    assert "Unknown study" in answer.text
    assert "Not a medical device" in answer.text


def test_the_next_page_is_linked_and_the_last_is_not(ward: Ward, client: TestClient) -> None:
    for number in range(1, 103):
        ward.arrive(number, at=NOW - timedelta(minutes=200 - number))
    first = client.get("/").text
    link = unescape(re.search(r'id="next" rel="next" href="([^"]+)"', first)[1])
    last = client.get(link).text
    assert (len(Rows(first).rows), len(Rows(last).rows)) == (100, 2)
    assert 'id="next"' not in last
    back = unescape(re.search(r'id="previous" rel="prev" href="([^"]+)"', last)[1])
    assert Rows(client.get(back).text).rows == Rows(first).rows
    searched = client.post("/", data={"search": "family"}).text
    assert 'id="next"' not in searched
    assert "More than 100 studies match" in searched


@pytest.mark.parametrize(
    ("seconds", "words"), [(40, "40 s"), (720, "12 min"), (11_100, "3 h 05 min"), (187_200, "2 d 4 h"), (-5, "0 s")]
)
def test_age_is_told_in_the_unit_that_matters(seconds: int, words: str) -> None:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    assert age_words(moment, moment + timedelta(seconds=seconds)) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("DOE^JANE", "DOE, JANE"),
        ("Yamada^Tarou=山田^太郎", "Yamada, Tarou · 山田, 太郎"),
        ("PHANTOM", "PHANTOM"),
        ("", "(no name)"),
        ("^^", "(no name)"),
    ],
)
def test_names_read_as_people_write_them(value: str, words: str) -> None:
    assert person_words(value) == words


def test_values_that_are_not_what_they_should_be_are_shown_as_they_came() -> None:
    assert (date_words("19610203"), date_words("1961.02.03")) == ("1961-02-03", "1961.02.03")
    assert (years_words("063Y"), years_words("6 weeks")) == ("63 y", "6 weeks")
    assert score_words(None, calibrated=False) == "no score"
    assert score_words(0.5, calibrated=True) == "score 0.50 (calibrated on patients)"


def test_the_same_id_of_two_issuers_is_two_patients_in_list_search_and_study(ward: Ward, client: TestClient) -> None:
    for number, issuer in ((1, "NORTH"), (2, "SOUTH")):
        ward.arrive(number, patient_id="4711", issuer_of_patient_id=issuer)
    for page in (client.get("/"), client.post("/", data={"search": "4711"})):
        rows = [text for _, text in Rows(page.text).rows]
        assert len(rows) == 2
        assert [issuer for issuer in ("NORTH", "SOUTH") for text in rows if f"4711 of {issuer}" in text] == [
            "NORTH",
            "SOUTH",
        ]
    assert "4711 of NORTH" in client.get(f"/studies/{ward.uid(1)}").text
    assert client.get(f"/api/studies/{ward.uid(2)}").json()["summary"]["study"]["issuer_of_patient_id"] == "SOUTH"


def test_a_study_of_two_patients_names_both_on_its_page(ward: Ward, client: TestClient) -> None:
    ward.arrive(1, patient_id="4711")
    page = f"/studies/{ward.uid(1)}"
    assert "patients" not in client.get(page).text
    ward.arrive(1, patient_id="4712", index_from=50)
    text = " ".join(client.get(page).text.split())
    assert "The images name 2 patients" in text
    assert ">4711<" in text
    assert ">4712<" in text


def test_a_study_that_was_reported_before_says_so_and_so_does_the_result_that_is_superseded(
    ward: Ward, client: TestClient
) -> None:
    ward.analysed(1, nothing_found())
    due = ward.store.claim_delivery(PACS.name, now=NOW, duration=timedelta(minutes=1))
    ward.store.delivered(due.delivery_id, now=NOW)
    ward.store.ask_analysis(ward.uid(1), actor="Dr Who", now=NOW)
    ward.complete(1)
    ward.freeze(1, found(Flag.URGENT, (0.93, 17.2)), content=b"other bytes")
    assert "Reported before: the study keeps the place that its first result gave it." in only_row(client)[1]
    assert client.get(f"/studies/{ward.uid(1)}").text.count("Superseded by a newer result.") == 1
