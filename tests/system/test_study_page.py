"""The study's page as a reader sees it, on a phone too: in a real browser, against a running server."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import pytest
from playwright.sync_api import Page, expect

from services.triage.errors import Reason
from services.triage.finding import Flag
from services.triage.person import EVERY_ROLE, Person
from services.triage.reading import ReadingAction, ReadingStep
from tests.support.chromium import new_page
from tests.support.person import as_person
from tests.support.served import served
from tests.support.worklist import Ward, found, not_analysed

pytestmark = pytest.mark.system

PHONE = {"width": 390, "height": 844}


@dataclass
class Desk:
    ward: Ward
    root: str
    page: Page

    def open(self, number: int) -> Page:
        self.page.goto(f"{self.root}/studies/{Ward.uid(number)}")
        return self.page


@pytest.fixture
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    ward = Ward(tmp_path_factory.mktemp("ward"))
    ward.analysed(1, found(Flag.URGENT, (0.93, 17.2), (0.8, 12.0), (0.7, 9.0)))
    ward.arrive(2)
    ward.complete(2, refusal=Reason(code="too_few_slices", text="9 slices; the model needs 16"))
    ward.freeze(2, not_analysed())
    taken = ReadingStep(action=ReadingAction.TAKEN, reader="Dr. M. Brandt", at=ward.now)
    ward.store.readings.enter(ward.uid(1), taken)
    ward.now += timedelta(minutes=1)
    me = Person(name="Dr. L. Okafor", roles=EVERY_ROLE)
    with served(as_person(ward.app(), me)) as root, new_page() as (page, _):
        yield Desk(ward, root, page)


def test_a_study_that_the_ai_did_not_look_at_is_hatched_here_as_in_the_list(desk: Desk) -> None:
    ground = "getComputedStyle(document.querySelector('.card')).backgroundImage"
    assert "repeating-linear-gradient" in desk.open(2).evaluate(ground)
    expect(desk.page.get_by_text("The AI says nothing of this study.")).to_be_visible()
    assert desk.open(1).evaluate(ground) == "none"


def test_the_page_says_who_has_the_study(desk: Desk) -> None:
    expect(desk.open(1).get_by_label("State")).to_contain_text("Dr. M. Brandt taken")


def test_nothing_of_the_page_stands_beyond_the_edge_of_a_phone(desk: Desk) -> None:
    desk.page.set_viewport_size(PHONE)
    for number in (1, 2):
        desk.open(number).keyboard.press("a")
        desk.page.wait_for_timeout(500)
        assert desk.page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]


def test_what_was_not_saved_is_seen_beside_the_lesion_and_so_is_a_page_that_is_out_of_date(desk: Desk) -> None:
    page = desk.open(1)
    page.set_viewport_size(PHONE)
    page.context.set_offline(offline=True)
    page.keyboard.press("3")
    page.keyboard.press("a")
    for alert in ("#failed", "#stale"):
        expect(page.locator(alert)).to_be_visible(timeout=15_000)
        page.evaluate("scrollTo(0, document.body.scrollHeight)")
        expect(page.locator(alert)).to_be_in_viewport(ratio=1)
