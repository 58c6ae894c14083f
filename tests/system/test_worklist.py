"""The work list in a real browser: its order, its life, its keys, its pictures, and that everybody can use it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from fastapi import FastAPI
from playwright.sync_api import Browser, Page, expect, sync_playwright

from services.triage.finding import Flag, Outcome
from services.triage.job import JobPlan, OrderPriority
from services.triage.organ import NO_TUMOUR_CLASS
from services.triage.person import Person, PersonRole
from services.triage.reading import ReadingAction, ReadingStep
from tests.support.chromium import PROGRAM
from tests.support.ct import ct_series
from tests.support.painted import PaintedSegmenter, arrive, complete, freeze
from tests.support.peers import free_port, listens, wait_until
from tests.support.person import as_person
from tests.support.served import served
from tests.support.standalone import standalone
from tests.support.worklist import Ward, failed, found, not_analysed, nothing_found

pytestmark = pytest.mark.system

READER = Person(name="Dr A", roles=frozenset({PersonRole.READER, PersonRole.LEAD}))
Does = Callable[[Page, Ward, str], None]
SOON_MS = 8000  # a change is on the page by then, on a machine that does four other things
WCAG = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}}


@dataclass
class Desk:
    ward: Ward
    app: FastAPI
    browser: Browser
    address: str

    def page(self, *, width: int = 1440, height: int = 900, **context: object) -> Page:
        page = self.browser.new_context(viewport={"width": width, "height": height}, **context).new_page()
        page.set_default_timeout(20_000)
        page.goto(self.address)
        return page


def order(page: Page) -> list[int]:
    """The studies of the page, by their small numbers."""
    return [int(uid.rpartition(".")[2]) for uid in page.locator("tr[data-uid]").evaluate_all(
        "rows => rows.map(row => row.dataset.uid)")]  # fmt: skip


def selected(page: Page) -> int:
    return int(page.locator("tr.selected").get_attribute("data-uid").rpartition(".")[2])


def row(page: Page, ward: Ward, number: int):
    return page.locator(f'tr[data-uid="{ward.uid(number)}"]')


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=PROGRAM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def desk(browser: Browser, tmp_path: Path) -> Iterator[Desk]:
    """Six studies of which each stands for a kind."""
    ward = Ward(tmp_path, now=datetime.now(UTC))
    ago = [ward.now - timedelta(minutes=minutes) for minutes in range(60)]
    ward.analysed(1, nothing_found(), at=ago[50])
    ward.analysed(2, found(Flag.ELEVATED, (0.78, 9.0)), at=ago[30])
    ward.analysed(3, failed(), at=ago[40])
    ward.analysed(4, not_analysed(), at=ago[20])
    ward.analysed(5, found(Flag.ROUTINE, (0.4, 6.0), outcome=Outcome.EQUIVOCAL), at=ago[10])
    ward.arrive(6, at=ago[1])
    ward.complete(6)
    app = ward.app()
    with served(as_person(app, READER)) as address:
        yield Desk(ward=ward, app=app, browser=browser, address=address)
        for context in browser.contexts:
            context.close()


def test_an_urgent_finding_comes_to_the_top_within_two_seconds_and_disturbs_nobody(desk: Desk):
    page = desk.page(height=500)
    page.locator("html[data-live=on]").wait_for(state="attached")
    assert order(page) == [2, 1, 3, 4, 5, 6]
    page.locator("#open-save-view").click()
    name = row(page, desk.ward, 5).locator("a.open")
    name.focus()
    page.evaluate("scrollTo(0, 90)")
    before = name.bounding_box()["y"]
    desk.ward.freeze(6, found(Flag.URGENT, (0.97, 21.0)))
    expect(page.locator("tr[data-uid]").first).to_have_attribute("data-ai", "urgent", timeout=SOON_MS)
    assert order(page) == [6, 2, 1, 3, 4, 5]
    assert page.evaluate("document.activeElement.id") == f"study-{desk.ward.uid(5)}"
    assert abs(name.bounding_box()["y"] - before) <= 2
    assert page.locator("#save-view").get_attribute("open") is not None
    expect(page.locator("#news")).to_have_text("New urgent study: FAMILY6, Given")
    assert page.title().startswith("(1)")
    expect(page.locator(".tally-urgent")).to_have_text("1 urgent by the AI")


def test_a_lost_connection_is_said_and_so_is_its_return_not(browser: Browser, tmp_path: Path):
    ward, port = Ward(tmp_path, now=datetime.now(UTC)), free_port()
    ward.arrive(1)
    with served(ward.app(), port=port) as address:
        page = browser.new_context().new_page()
        page.goto(address)
        page.locator("html[data-live=on]").wait_for(state="attached")
        assert page.locator("#stale").is_hidden()
    stale = page.locator("#stale")
    expect(stale).to_contain_text("may be out of date", timeout=4000)
    expect(stale).to_contain_text("Read as usual.")
    ward.arrive(2)
    with served(ward.app(), port=port):
        expect(stale).to_be_hidden(timeout=12_000)
        assert set(order(page)) == {1, 2}
        page.close()


def test_the_list_is_worked_by_keys_alone(desk: Desk):
    page, ward = desk.page(), desk.ward
    press = page.keyboard.press
    press("j")
    press("ArrowDown")
    press("j")
    press("k")
    assert selected(page) == 1
    press("t")
    expect(row(page, ward, 1).locator(".reader")).to_have_text("you", timeout=SOON_MS)
    press("t")
    expect(row(page, ward, 1).locator(".reader")).to_have_count(0, timeout=SOON_MS)
    press("r")
    expect(row(page, ward, 1)).to_have_count(0, timeout=SOON_MS)
    assert selected(page) == 3
    press("z")
    expect(row(page, ward, 1)).to_have_count(1, timeout=SOON_MS)
    press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    press("Escape")
    press("/")
    page.keyboard.type("family4")
    with page.expect_navigation():
        press("Enter")
    assert order(page) == [4]
    assert "family4" not in page.url.lower()
    press("j")
    press("Enter")
    page.wait_for_url(f"**/studies/{ward.uid(4)}")


def by_key(page: Page, ward: Ward, action: str) -> None:
    page.keyboard.press("j")
    page.keyboard.press({"Take over": "t", "Mark read": "r"}[action])


def by_mouse(page: Page, ward: Ward, action: str) -> None:
    row(page, ward, 2).get_by_role("button", name=action).click()


@pytest.mark.parametrize("does", [by_key, by_mouse])
def test_about_a_colleagues_study_key_and_mouse_are_asked_once_and_alike(desk: Desk, does: Does):
    ward = desk.ward
    ward.store.readings.enter(ward.uid(2), ReadingStep(action=ReadingAction.TAKEN, reader="Dr B", at=ward.now))
    page = desk.page()
    asked, reader = page.locator("#taken"), row(page, ward, 2).locator(".reader")
    for action, question in (
        ("Mark read", "Dr B has this study. Mark it as read?"),
        ("Take over", "Dr B has this study. Take it over?"),
    ):
        does(page, ward, action)
        expect(page.get_by_role("dialog", name=question)).to_be_visible()
        assert not Axe().run(page, options=WCAG).response["violations"]
        page.keyboard.press("Escape")
        expect(asked).to_be_hidden()
        expect(reader).to_have_text("Dr B")
        assert page.evaluate("document.activeElement.closest('tr').dataset.uid") == ward.uid(2)
        page.reload()
    does(page, ward, "Take over")
    page.keyboard.press("Enter")
    expect(reader).to_have_text("you", timeout=SOON_MS)
    expect(asked).to_be_hidden()


@pytest.mark.parametrize("menu", ["display", "save-view"])
def test_a_menu_closes_by_escape_and_by_a_click_beside_it_and_gives_the_focus_back(desk: Desk, menu: str):
    page = desk.page()
    button, form = page.locator(f"#open-{menu}"), page.locator(f"#{menu} form")
    button.press("Enter")
    page.keyboard.press("Tab")
    expect(form).to_be_visible()
    page.keyboard.press("Escape")
    expect(form).to_be_hidden()
    expect(button).to_be_focused()
    button.click()
    expect(form).to_be_visible()
    page.get_by_role("heading", level=1).click()
    expect(form).to_be_hidden()
    expect(button).to_be_focused()
    button.click()
    elsewhere = page.locator("select[name=reading]")
    elsewhere.click()
    expect(form).to_be_hidden()
    expect(elsewhere).to_be_focused()


def test_single_keys_can_be_switched_off_and_all_is_there_by_tab(desk: Desk):
    page = desk.page()
    page.locator("#open-display").click()
    with page.expect_event("domcontentloaded"):
        page.get_by_role("group", name="Single-key shortcuts").get_by_role("button", name="Off").click()
    page.keyboard.press("j")
    assert page.locator("tr.selected").count() == 0
    of_row = {f"{name}-{desk.ward.uid(2)}" for name in ("study", "act", "read")}
    wanted = {*of_row, "search", "help-button", "open-save-view"}
    reached = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id"))
    assert wanted <= reached


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(("locale", "title"), [("en-GB", "Work list"), ("fr-FR", "Liste de travail")])
def test_nobody_is_shut_out(desk: Desk, theme: str, locale: str, title: str):
    ward = desk.ward
    ward.freeze(6, found(Flag.URGENT, (0.97, 21.0)))
    ward.analysed(7, not_analysed(NO_TUMOUR_CLASS.code, NO_TUMOUR_CLASS.text))
    ward.store.readings.enter(ward.uid(1), ReadingStep(action=ReadingAction.TAKEN, reader="Dr B", at=ward.now))
    page = desk.page(color_scheme=theme, locale=locale)
    expect(page.get_by_role("heading", level=1)).to_have_text(title)
    page.keyboard.press("j")
    page.locator("#open-display").click()
    found_faults = Axe().run(page, options=WCAG)
    assert found_faults.violations_count == 0, found_faults.generate_report()
    page.keyboard.press("?")
    faults = Axe().run(page, options=WCAG)
    assert faults.violations_count == 0, faults.generate_report()


def test_without_scripts_the_list_filters_takes_and_keeps_views(desk: Desk):
    page = desk.page(java_script_enabled=False)
    page.get_by_label("AI result").select_option("unseen")
    page.get_by_role("button", name="Filter", exact=True).click()
    assert "ai=unseen" in page.url
    assert page.locator("tbody tr").count() == 2
    page.locator("#open-save-view").click()
    page.get_by_label("Name", exact=True).fill("Not seen")
    page.get_by_role("button", name="Save", exact=True).click()
    page.locator("tbody tr").first.get_by_role("button", name="Take").click()
    assert page.url.endswith("?ai=unseen")
    assert page.locator("tbody tr").first.locator(".reader").text_content() == "you"
    page.goto(desk.address)
    page.get_by_role("link", name="Not seen").click()
    assert page.locator("tbody tr").count() == 2


def test_the_worst_lesion_is_shown_where_it_is_and_a_recalled_one_is_not(desk: Desk):
    ward, at = desk.ward, desk.ward.now - timedelta(minutes=5)
    z, y, x = np.ogrid[:12, :64, :64]
    ball = ((z - 6) * 2.5) ** 2 + ((y - 20) * 0.8) ** 2 + ((x - 44) * 0.7) ** 2 < 8**2
    voxels = np.where(ball, 40, -850) + np.where(x > 55, 800, 0)
    series = ct_series(voxels)
    uid = arrive(ward, series, at=at)
    plan = JobPlan(model_name="ct_lung_lesion", series_instance_uid=series[0].SeriesInstanceUID)
    complete(ward, uid, plan, at=at, priority=OrderPriority.STAT, priority_from="order")
    result_id = freeze(ward, uid, PaintedSegmenter(ball, 0.95), at=at + timedelta(seconds=70))
    page = desk.page()
    picture = page.locator("img.key-image").first
    picture.scroll_into_view_if_needed()
    colours = picture.evaluate("""async image => {
        await image.decode();
        const canvas = new OffscreenCanvas(160, 160), context = canvas.getContext('2d');
        context.drawImage(image, 0, 0, 160, 160);
        return [[80, 80], [40, 80]].map(place => [...context.getImageData(...place, 1, 1).data.slice(0, 3)])
            .concat([[...context.getImageData(0, 0, 160, 160).data].filter((_, i, all) =>
                i % 4 === 0 && all[i] > 200 && all[i + 1] > 150 && all[i + 2] < 90)]);
    }""")
    (middle, beside, outline) = colours
    assert min(middle) > 150
    assert max(beside) < 110
    assert len(outline) > 100
    ward.store.recall(result_id, reason="wrong", actor="Dr B", now=ward.now)
    expect(page.locator(f'tr[data-uid="{uid}"] .saying')).to_have_text("AI result recalled", timeout=SOON_MS)
    assert page.locator(f'tr[data-uid="{uid}"] img').count() == 0
    assert httpx.get(f"{desk.address}/studies/{uid}/key-image/{result_id}").status_code == 404


def test_a_key_that_is_held_down_or_tapped_twice_marks_one_study_as_read(desk: Desk):
    page = desk.page()
    page.locator("html[data-live=on]").wait_for(state="attached")
    page.keyboard.press("j")
    first = row(page, desk.ward, selected(page))
    page.keyboard.down("r")
    expect(first).to_have_count(0, timeout=SOON_MS)
    page.keyboard.down("r")  # still held: it repeats
    page.keyboard.up("r")
    page.keyboard.press("r")
    page.wait_for_timeout(500)
    assert order(page) == [1, 3, 4, 5, 6]
    expect(page.locator("#toast")).to_contain_text(": Marked as read.")
    page.keyboard.press("z")
    expect(first).to_have_count(1, timeout=SOON_MS)


def test_who_undoes_a_take_over_is_told_that_nobody_has_the_study(desk: Desk):
    taken = ReadingStep(action=ReadingAction.TAKEN, reader="Dr. M. Brandt", at=desk.ward.now)
    desk.ward.store.readings.enter(desk.ward.uid(2), taken)
    page = desk.page()
    page.keyboard.press("j")
    page.keyboard.press("t")
    page.keyboard.press("Enter")
    expect(page.locator("#toast")).to_contain_text("You have taken this study.")
    page.keyboard.press("z")
    expect(page.locator("#toast")).to_contain_text("Nobody has this study now; Dr. M. Brandt had it.")


def test_on_a_narrow_screen_nothing_is_cut_off(desk: Desk):
    page = desk.page(width=400)
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    assert row(page, desk.ward, 2).get_by_role("button", name="Take").is_visible()


@pytest.mark.parametrize("locale", ["en-GB", "fr-FR"])
def test_on_a_phone_the_longest_title_is_not_cut_off(desk: Desk, locale: str):
    desk.ward.analysed(7, not_analysed(NO_TUMOUR_CLASS.code, NO_TUMOUR_CLASS.text))
    page = desk.page(width=390, locale=locale)
    title = row(page, desk.ward, 7).locator(".saying")
    title.scroll_into_view_if_needed()
    expect(title).to_be_in_viewport(ratio=1)
    assert page.evaluate("(table => table.scrollWidth - table.clientWidth)(document.querySelector('.scroll'))") == 0


@pytest.mark.parametrize("locale", ["en-GB", "fr-FR"])
def test_on_half_a_screen_every_column_is_in_sight(desk: Desk, locale: str):
    taken = ReadingStep(action=ReadingAction.TAKEN, reader="Dr. M. Brandt", at=desk.ward.now)
    desk.ward.store.readings.enter(desk.ward.uid(2), taken)
    page = desk.page(width=1000, locale=locale)
    assert page.evaluate("(table => table.scrollWidth - table.clientWidth)(document.querySelector('.scroll'))") == 0
    expect(row(page, desk.ward, 2).locator(".reader")).to_be_in_viewport(ratio=1)


@pytest.mark.parametrize("locale", ["en-GB", "fr-FR"])
def test_on_a_phone_the_order_hides_no_name_and_a_result_has_its_model(desk: Desk, locale: str):
    desk.ward.analysed(7, found(Flag.URGENT, (0.93, 17.2)), priority=OrderPriority.HIGH)
    page = desk.page(width=390, locale=locale)
    high = row(page, desk.ward, 7)
    order, name = (high.locator(each).bounding_box() for each in (".order", ".c-patient"))
    assert order["x"] + order["width"] <= name["x"]
    expect(high.get_by_text("ct_lung_lesion")).to_be_visible()


def test_a_standalone_with_an_open_page_stops_at_once(tmp_path: Path):
    with standalone(tmp_path / "data", fake_segmenter_s=0) as vigie:
        wait_until(lambda: listens(vigie.http_port))
        address = f"http://127.0.0.1:{vigie.http_port}/events"
        with httpx.stream("GET", address, timeout=10) as answer:
            assert next(answer.iter_lines()).startswith("event: newest")
            began = datetime.now(UTC)
            assert vigie.stop() == 0
        assert datetime.now(UTC) - began < timedelta(seconds=8)
