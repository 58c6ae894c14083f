"""From the study page to a verdict by keys alone: overlay, answer, undo, evidence; in a real browser, in OHIF."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from services.triage.verdict import Answer, Shown, Verdict
from tests.support.chromium import new_page
from tests.support.peers import wait_until
from tests.support.viewed_site import BALLS, Site, viewed_site

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(600)]

WCAG = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}


@dataclass
class Desk:
    """A reader before a browser, whose keystrokes are counted."""

    site: Site
    page: Page
    keystrokes: list[str] = field(default_factory=list)

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)
            self.keystrokes.append(key)

    def verdicts(self) -> list[dict[str, Any]]:
        return list(httpx.get(f"{self.site.root}/api/studies/{self.site.study}/verdicts").json()["verdicts"])

    def standing(self) -> list[tuple[str, str, str | None]]:
        return [(one["reader"], one["answer"], one["reason"]) for one in self.verdicts() if one["stands"]]

    def single_keys(self, choice: str) -> None:
        self.page.locator("#open-display").click()
        self.page.get_by_role("group", name="Single-key shortcuts").get_by_role("button", name=choice).click()
        self.page.locator(f"body[data-keys={choice.lower()}]").wait_for()

    def says(self, words: str) -> None:
        expect(self.page.locator("#vigie-bar .said")).to_contain_text(words, timeout=15_000)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with (
        viewed_site(tmp_path_factory.mktemp("site"), verdict_quiet_s=3600) as site,
        new_page(width=1400, height=800) as (page, _),
    ):
        page.goto(f"{site.root}/studies/{site.study}")
        yield Desk(site, page)


def test_the_study_page_answers_by_keys_and_says_so(desk: Desk) -> None:
    said = desk.page.locator("#said")
    desk.press("2", "r")
    desk.page.get_by_role("button", name="1 Vessel").wait_for()
    assert not Axe().run(desk.page, options=WCAG).response["violations"]
    desk.press("1")
    expect(said).to_have_text("Saved: Rejected, Lesion 2")
    assert desk.standing() == [("local", "reject", "vessel")]
    desk.press("u")
    expect(said).to_have_text("Taken back: Lesion 2")
    assert desk.standing() == []
    desk.press("ArrowUp", "n")
    expect(said).to_have_text("Saved: Not my question, Lesion 1")
    desk.press("m")
    desk.page.keyboard.type("nod")
    desk.press("Tab")
    desk.page.keyboard.type("12.5")
    desk.press("Enter")
    expect(desk.page.locator(".target .answer-modify")).to_contain_text("Modified (Nodule, 12.5 mm)")
    desk.press("1", "u")
    # the answer before it holds again, until it is taken back too
    wait_until(lambda: desk.standing() == [("local", "not_my_question", None)], what="the answer taken back")
    expect(said).to_have_text("Taken back: Lesion 1")
    desk.press("u")
    wait_until(lambda: desk.standing() == [], what="the answer before taken back")


def test_single_keys_can_be_switched_off(desk: Desk) -> None:
    desk.single_keys("Off")
    before = len(desk.verdicts())
    desk.press("1", "a", "v")
    assert len(desk.verdicts()) == before
    desk.single_keys("On")


def test_in_the_dark_and_with_answers_the_page_is_accessible(desk: Desk) -> None:
    for scheme in ("dark", "light"):
        desk.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        found = Axe().run(desk.page, options=WCAG)
        assert not found.response["violations"], found.generate_report()


def test_from_the_list_overlay_and_verdict_are_under_six_keystrokes_away(desk: Desk) -> None:
    desk.page.goto(f"{desk.site.root}/")
    desk.keystrokes.clear()
    desk.press("j", "v")
    desk.page.wait_for_function("document.documentElement.dataset.vigieResult === 'shown'", timeout=120_000)
    desk.page.get_by_text("Confirm and hide").click()
    expect(desk.page.locator("#vigie-bar .where")).to_contain_text(f"Lesion 1 (1/{len(BALLS)})")
    desk.press("a")
    desk.says("Accepted: Lesion 1")
    found = Axe().run(desk.page, context="#vigie-bar", options=WCAG)
    assert not found.response["violations"], found.generate_report()
    assert len(desk.keystrokes) < 6
    (given,) = [one for one in desk.verdicts() if one["stands"]]
    assert (given["answer"], given["mine"]) == ("accept", True)
    lesions = desk.site.house.result(desk.site.study).lesions
    assert given["tracking_uid"] == lesions[0].tracking_uid


def test_the_bar_answers_to_the_lesion_that_is_jumped_to(desk: Desk) -> None:
    desk.press("j")
    expect(desk.page.locator("#vigie-bar .where")).to_contain_text("Lesion 2 (2/")
    desk.press("r", "4")
    desk.says("Rejected: Lesion 2")
    desk.page.locator("[data-cy=data-row-title]", has_text="Lesion 3 (score").click()
    expect(desk.page.locator("#vigie-bar .where")).to_contain_text("Lesion 3 (3/")
    desk.press("n")
    desk.says("Not my question: Lesion 3")
    desk.press("u")
    desk.says("Taken back: Lesion 3")
    assert sorted(desk.standing()) == [("local", "accept", None), ("local", "reject", "artefact")]
    # the keys were ours alone: OHIF has turned nothing
    rotation = "window.services.cornerstoneViewportService.getCornerstoneViewport(window.services.viewportGridService"
    assert desk.page.evaluate(f"{rotation}.getActiveViewportId()).getViewPresentation().rotation") == 0


def test_another_readers_verdict_stands_beside_mine(desk: Desk) -> None:
    site = desk.site
    result = site.house.result(site.study)
    other = Verdict(
        verdict_id=uuid4().hex,
        study_instance_uid=site.study,
        result_id=result.result_id,
        answer=Answer.ACCEPT,
        reader="Dr B",
        given_at=datetime.now(UTC),
        shown=Shown(page="list"),
        tracking_uid=result.lesions[2].tracking_uid,
    )
    site.house.store.verdicts.give(other)
    expect(desk.page.locator("#vigie-bar .stands")).to_have_text("Dr B: Accepted", timeout=15_000)


def test_a_length_drawn_and_saved_in_the_viewer_is_evidence(desk: Desk) -> None:
    page = desk.page
    versions = len(desk.site.house.store.board.study(desk.site.study).versions)  # type: ignore[union-attr]
    page.locator('[data-cy="MeasurementTools-split-button-primary"]').click()
    box = page.locator('[data-cy="viewport-pane"]').bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x - 60, y)
    page.mouse.down()
    page.mouse.move(x, y + 10, steps=5)
    page.mouse.move(x + 60, y + 20, steps=5)
    page.mouse.up()
    page.locator('[data-cy="prompt-begin-tracking-yes-btn"]').click()
    page.locator('[data-cy="trackedMeasurements-btn"]').click()
    page.get_by_role("button", name="Create SR").click()
    page.get_by_role("dialog").get_by_role("button", name="Save").click()
    desk.says("Saved in the viewer: Length")
    desk.press("m", "1")
    desk.says("Modified: Lesion 3")
    marked = next(one["lesion"] for one in desk.verdicts() if one["answer"] == "modify" and one["stands"])
    drawn = page.locator('[data-cy="data-row-details-primary"]').first.inner_text()
    assert marked["long_axis_mm"] == pytest.approx(float(drawn.split()[0]), abs=0.06)
    assert marked["object_sop_instance_uid"]
    assert len(desk.site.house.store.board.study(desk.site.study).versions) == versions  # type: ignore[union-attr]


def test_what_the_server_does_not_take_is_kept_and_said_and_sent_again(desk: Desk) -> None:
    page, before = desk.page, len(desk.verdicts())
    page.route("**/api/**", lambda route: route.abort())
    desk.press("a")
    desk.says("Not saved yet, will be sent again: 1")
    page.unroute("**/api/**")
    wait_until(lambda: len(desk.verdicts()) == before + 1, timeout_s=20, what="the answer sent again")
    desk.says("Vigie answers again")


def test_who_has_finished_is_back_at_the_list_and_the_document_is_there(desk: Desk) -> None:
    desk.press("f")
    desk.page.wait_for_url(f"{desk.site.root}/")
    documents = desk.site.house.store.verdict_documents
    wait_until(lambda: documents.of_study(desk.site.study), what="the document")
    desk.page.goto(f"{desk.site.root}/studies/{desk.site.study}")
    expect(desk.page.locator("#documents ~ article")).to_contain_text("of local")
    expect(desk.page.locator(".stands", has_text="Dr B")).to_contain_text("Accepted")


def test_once_its_model_is_switched_off_the_viewer_asks_nothing_and_takes_a_missed_lesion(desk: Desk) -> None:
    bar, root = desk.page.locator("#vigie-bar"), desk.site.root
    desk.page.locator("a.open").first.click()
    expect(bar.locator(".where")).to_contain_text("Lesion 1", timeout=120_000)
    before = len(desk.verdicts())
    model = desk.site.house.result(desk.site.study).model.name
    assert httpx.post(f"{root}/api/models/{model}/switch-off", json={"reason": "wrong"}).status_code == 200
    expect(bar.locator(".where")).to_have_text("No AI result is asked about", timeout=15_000)
    desk.press("a")
    desk.says("That cannot be answered here")
    assert len(desk.verdicts()) == before
    desk.press("d")
    bar.get_by_role("button", name="Add this lesion").click()
    desk.says("Added, missed by the AI: Added lesion")
    added = desk.verdicts()[-1]
    assert (added["answer"], added["result_id"]) == ("add", None)
    desk.press("u")
    desk.says("Taken back")
