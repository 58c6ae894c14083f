"""The page of a study whose AI result is withheld, in a real browser: its keys, and what changes while it is open."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
from playwright.sync_api import Page, expect

from services.triage.blind import BlindPolicy, BlindRule
from services.triage.finding import Flag
from services.triage.person import EVERY_ROLE, Person
from tests.support.chromium import new_page
from tests.support.person import as_person
from tests.support.served import served
from tests.support.worklist import Ward, found

pytestmark = pytest.mark.system

SOON_MS = 20_000


@dataclass
class Desk:
    ward: Ward
    page: Page


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """A study that is still being analysed, and its page."""
    ward = Ward(tmp_path, blind=BlindPolicy(rules=(BlindRule(share=1.0),), key="a key of sixteen"))
    ward.arrive(1)
    ward.complete(1)
    with served(as_person(ward.app(), Person(name="Dr A", roles=EVERY_ROLE))) as root, new_page() as (page, _):
        page.goto(f"{root}/studies/{ward.uid(1)}")
        yield Desk(ward, page)


def test_with_single_keys_off_no_letter_answers(desk: Desk) -> None:
    page, answer = desk.page, desk.page.locator("input[name=answer]:checked")
    desk.ward.freeze(1, found(Flag.URGENT, (0.93, 17.2)))
    for choice, key, checked in (("Off", "p", 0), ("On", "b", 1)):
        page.locator("#open-display").click()
        with page.expect_event("domcontentloaded"):  # the page's scripts have run
            page.get_by_role("group", name="Single-key shortcuts").get_by_role("button", name=choice).click()
        page.keyboard.press(key)
        expect(answer).to_have_count(checked)
        expect(page.locator(".blind label kbd").first).to_be_visible(visible=bool(checked))


def test_a_hold_that_begins_or_ends_while_the_page_is_open_is_told_there_and_what_is_typed_stays(desk: Desk) -> None:
    ward, page = desk.ward, desk.page
    desk.ward.freeze(1, found(Flag.URGENT, (0.93, 17.2)))
    expect(page.get_by_role("heading", name="Your assessment first")).to_be_visible(timeout=SOON_MS)
    page.keyboard.press("p")
    page.get_by_label("Location").fill("right upper lobe")
    over = page.get_by_text("This is no longer asked")
    page.wait_for_timeout(6000)  # a refresh
    expect(over).to_be_hidden()
    result_id = page.locator(".blind input[name=result_id]").input_value()
    given = {"result_id": result_id, "verdict_id": uuid4().hex, "answer": "absent"}
    answer = ward.client().post(f"/studies/{ward.uid(1)}/assessment", data=given, follow_redirects=False)
    assert answer.status_code == 303
    expect(over).to_be_visible(timeout=SOON_MS)
    expect(page.locator("#live")).to_contain_text("had given an assessment of their own")
    expect(page.get_by_label("Location")).to_have_value("right upper lobe")
    expect(page.get_by_label("Lesion present")).to_be_checked()
