"""The page of a study whose AI result is withheld, in a real browser: its keys, and what changes while it is open."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

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
        page.get_by_role("group", name="Single-key shortcuts").get_by_role("button", name=choice).click()
        page.locator(f"body[data-keys={choice.lower()}]").wait_for()
        page.keyboard.press(key)
        expect(answer).to_have_count(checked)
        expect(page.locator(".blind label kbd").first).to_be_visible(visible=bool(checked))
