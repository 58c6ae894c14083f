"""Signing in, what each role is shown, and switching a model off: in a real browser, against a running server."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import pytest
import uvicorn
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from services.triage.finding import Flag
from tests.support.chromium import new_page
from tests.support.peers import free_port, wait_until
from tests.support.people import key_of, write_people
from tests.support.worklist import Ward, found, nothing_found

pytestmark = pytest.mark.system


@dataclass
class Desk:
    ward: Ward
    root: str
    page: Page


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    ward = Ward(tmp_path_factory.mktemp("ward"))
    ward.analysed(1, found(Flag.URGENT, (0.93, 17.2)))
    ward.analysed(2, nothing_found())
    ward.now += timedelta(minutes=1)
    port = free_port()
    app = ward.app(people=write_people(ward.folder))
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    wait_until(lambda: server.started)
    try:
        with new_page() as (page, _):
            yield Desk(ward=ward, root=f"http://127.0.0.1:{port}", page=page)
    finally:
        server.should_exit = True
        thread.join()


def sign_in(desk: Desk, name: str) -> None:
    desk.page.goto(f"{desk.root}/login")
    expect(desk.page.get_by_label("Name")).to_be_focused()
    desk.page.keyboard.type(name)
    desk.page.keyboard.press("Tab")
    desk.page.keyboard.type(key_of(name))
    desk.page.keyboard.press("Enter")
    desk.page.wait_for_url(f"{desk.root}/")


def violations(page: Page) -> list[str]:
    found = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        found += [f"{scheme}: {one['id']} {one['nodes'][0]['html']}" for one in Axe().run(page).response["violations"]]
    return found


def test_the_form_works_by_keyboard_says_what_is_wrong_and_leads_to_where_one_wanted(desk: Desk) -> None:
    page, wanted = desk.page, f"{desk.root}/studies/{desk.ward.uid(1)}"
    page.goto(wanted)
    expect(page).to_have_title("Sign in - Vigie")
    assert violations(page) == []
    page.get_by_label("Name").fill("reader")
    page.get_by_label("Key").fill("wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert").first).to_have_text("Name and key do not go together.")
    expect(page.get_by_label("Key")).to_be_focused()
    assert violations(page) == []
    page.keyboard.type(key_of("reader"))
    page.keyboard.press("Enter")
    page.wait_for_url(wanted)
    expect(page.get_by_role("heading", level=1)).to_have_text("FAMILY1, Given")
    page.get_by_role("button", name="Sign out").click()
    page.goto(wanted)
    expect(page).to_have_title("Sign in - Vigie")


def test_ops_see_a_pseudonym_and_no_way_to_switch(desk: Desk) -> None:
    sign_in(desk, "ops")
    page = desk.page
    expect(page.get_by_text("without patient identities")).to_be_visible()
    expect(page.locator("main")).not_to_contain_text("FAMILY1")
    expect(page.get_by_role("link", name="Patient ").first).to_be_visible()
    page.get_by_role("link", name="Models").click()
    expect(page.get_by_role("heading", name="Models")).to_be_visible()
    expect(page.get_by_role("button", name="Switch off")).to_have_count(0)
    page.get_by_role("button", name="Sign out").click()


@pytest.mark.parametrize("path", ["/", "/studies/{uid}"])
def test_a_page_that_outlives_its_session_says_so_and_is_whoevers_who_signs_in_next(desk: Desk, path: str) -> None:
    sign_in(desk, "reader")
    page = desk.page
    page.goto(desk.root + path.format(uid=desk.ward.uid(2)))
    title, asof = page.title(), page.locator("#asof").inner_text()
    for key in "0r":  # on the study's page a panel is open: that must not hold it up
        page.keyboard.press(key)
    page.context.clear_cookies()
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.locator("#stale")).to_contain_text("Signed out: sign in again.", timeout=25_000)
    assert (page.title(), page.locator("#asof").inner_text()) == (title, asof)
    with page.expect_popup() as opened:
        page.evaluate("void open('/login')")
    sign_in(Desk(ward=desk.ward, root=desk.root, page=opened.value), "lead")
    opened.value.close()
    expect(page.locator("header")).to_contain_text("lead", timeout=25_000)
    expect(page.locator("#stale")).to_be_hidden()
    page.context.clear_cookies()


def test_a_lead_switches_off_and_on_and_recalls_what_was_kept(desk: Desk) -> None:
    sign_in(desk, "lead")
    page = desk.page
    page.goto(f"{desk.root}/models")
    assert violations(page) == []
    form = page.get_by_role("region", name="Switch a model off")
    form.get_by_label("Model").select_option(label="ct_lung_lesion, every version")
    form.get_by_label("Why (no patient data)").fill("it marks the diaphragm")
    form.get_by_role("button", name="Switch off").click()
    expect(page.get_by_role("heading", name="Switched off:")).to_be_visible()
    expect(page.get_by_text("2 results are kept back and not sent.")).to_be_visible()
    assert violations(page) == []
    page.goto(f"{desk.root}/")
    expect(page.get_by_text("It had said: Urgent. That does not count.").first).to_be_visible()
    page.goto(f"{desk.root}/models")
    page.get_by_label("Recall it: it is never sent").check()
    page.locator("#on-1-reason").fill("mended in 1.0.1")
    page.get_by_role("button", name="Switch on again").click()
    expect(page.get_by_text("0 recalled, 2 to do")).to_be_visible()
    expect(page.get_by_role("heading", name="Switched off:")).to_have_count(0)
    page.get_by_role("region", name="Recall the results of a period").get_by_label("Why").fill("the whole week")
    page.get_by_role("button", name="Count them first").click()
    expect(page.get_by_text("would be recalled.")).to_be_visible()
    assert violations(page) == []


def test_an_auditor_finds_in_the_trail_who_opened_a_study(desk: Desk) -> None:
    page, uid = desk.page, desk.ward.uid(1)
    page.context.clear_cookies()
    sign_in(desk, "reader")
    page.goto(f"{desk.root}/studies/{uid}")
    page.context.clear_cookies()
    sign_in(desk, "auditor")
    page.get_by_role("link", name="Audit").click()
    page.get_by_label("Study Instance UID").fill(uid)
    page.get_by_label("What happened").select_option("Page of a study opened")
    page.get_by_role("button", name="Look").click()
    row = page.get_by_role("row").filter(has_text="Page of a study opened").filter(has_not_text="unknown")
    expect(row).to_contain_text("reader")
    expect(row.get_by_role("link")).to_have_attribute("href", f"/studies/{uid}")
    row.get_by_text("All of").click()
    assert violations(page) == []
