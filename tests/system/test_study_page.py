"""The study's page as a reader sees it, on a phone too: in a real browser, against a running server."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, Route, expect

from services.triage.errors import Reason
from services.triage.finding import Flag
from services.triage.person import EVERY_ROLE, Person
from services.triage.reading import ReadingAction, ReadingStep
from services.triage.switch import ModelScope
from tests.support.chromium import new_page
from tests.support.person import as_person
from tests.support.served import served
from tests.support.worklist import MODEL, Ward, found, not_analysed

pytestmark = pytest.mark.system

WCAG = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}
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


def test_of_a_model_that_is_switched_off_no_key_answers_but_a_missed_lesion_is_reported(desk: Desk) -> None:
    page, store, uid = desk.open(1), desk.ward.store, Ward.uid(1)
    page.keyboard.press("1")
    page.keyboard.press("a")
    expect(page.locator("#said")).to_have_text("Saved: Accepted, Lesion 1")
    lung = ModelScope(model_name=MODEL.name)
    store.switches.switch_off(lung, reason="it marks the diaphragm", actor="Dr Lead", now=desk.ward.now)
    section = desk.open(1).locator("article.job")
    expect(section.locator(".saying, .caveat, .stands").first).to_have_text("Model switched off")
    expect(section.locator(".caveat").first).to_contain_text("2026-03-02")
    expect(section.locator(".caveat").first).to_contain_text("it marks the diaphragm. Do not rely on it.")
    expect(section.locator(".stands")).to_contain_text("Accepted")
    expect(section.locator(".saying-urgent")).to_have_count(0)
    for key in "1armnu":
        page.keyboard.press(key)
    expect(page.locator("#said")).to_have_text("That cannot be answered here")
    page.keyboard.press("d")
    page.keyboard.type("mass")
    page.keyboard.press("Tab")
    page.keyboard.type("9")
    page.keyboard.press("Enter")
    without = page.locator("section", has=page.locator("#without-result"))
    expect(without).to_contain_text("Added, missed by the AI (Mass, 9.0 mm)")
    assert {one.answer for one in store.verdicts.of_study(uid)} == {"accept", "add"}
    page.keyboard.press("u")
    expect(without).to_have_count(0)
    assert not Axe().run(page, options=WCAG).response["violations"]


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


def test_an_answer_that_arrives_leaves_the_panel_alone_that_was_opened_meanwhile(desk: Desk) -> None:
    page, held = desk.open(1), list[Route]()
    page.route("**/verdicts", lambda route: held.append(route))
    page.keyboard.press("1")
    page.keyboard.press("a")
    page.keyboard.press("2")
    page.keyboard.press("m")
    comment = page.locator("details[open] input[name=comment]")
    comment.fill("hilum")
    held[0].continue_()
    expect(page.locator("#said")).to_have_text("Saved: Accepted, Lesion 1")
    page.keyboard.type("au")
    expect(comment).to_have_value("hilumau")
    page.keyboard.press("Escape")
    expect(page.locator(".answer-accept")).to_be_visible(timeout=15_000)
    assert [one.answer for one in desk.ward.store.verdicts.of_study(Ward.uid(1))] == ["accept"]


def test_a_lost_answer_is_told_by_its_name_until_it_is_given_again_and_nobody_leaves_before(
    desk: Desk,
) -> None:
    page, failed = desk.open(1), desk.page.locator("#failed")
    page.route("**/verdicts", lambda route: route.abort())
    for key in "1a":
        page.keyboard.press(key)
    expect(failed).to_contain_text("Lesion 1 (")
    page.unroute("**/verdicts")
    for key in "2a":
        page.keyboard.press(key)
    expect(page.locator("#said")).to_have_text("Saved: Accepted, Lesion 2", timeout=15_000)
    expect(failed).to_contain_text("Lesion 1 (")
    page.keyboard.press("f")
    expect(page.locator("#said")).to_have_text("Not finished: an answer was not saved. Give it again first.")
    for key in "1a":
        page.keyboard.press(key)
    expect(failed).to_be_hidden()
    expect(page.locator("#said")).to_have_text("Saved: Accepted, Lesion 1", timeout=15_000)
    page.keyboard.press("f")
    page.wait_for_url(f"{desk.root}/")


def test_finished_waits_for_the_answer_under_way(desk: Desk) -> None:
    page, held, asked = desk.open(1), list[Route](), list[str]()
    page.route("**/verdicts", lambda route: held.append(route))
    page.on("request", lambda request: request.method == "POST" and asked.append(request.url.rpartition("/")[2]))
    for key in "1af":
        page.keyboard.press(key)
    page.wait_for_timeout(1000)
    assert asked == ["verdicts"]
    held[0].continue_()
    page.wait_for_url(f"{desk.root}/")
    assert asked == ["verdicts", "finished"]
    assert [one.answer for one in desk.ward.store.verdicts.of_study(Ward.uid(1))] == ["accept"]


def test_who_answers_to_the_result_of_earlier_images_is_told_that_the_study_stays_unread(desk: Desk) -> None:
    page, words = desk.open(1), "an answer for the whole study does not mark it as read."
    desk.ward.arrive(1, index_from=10)
    expect(page.locator("article .caveat", has_text=words)).to_be_visible(timeout=15_000)
    for key, said in (("1", "Lesion 1"), ("0", f"Whole study. Images came that this result is not of: {words}")):
        page.keyboard.press(key)
        page.keyboard.press("a")
        expect(page.locator("#said")).to_have_text(f"Saved: Accepted, {said}", timeout=15_000)


def test_where_the_chosen_lesion_is_gone_none_takes_its_place_and_the_page_says_so(desk: Desk) -> None:
    page, store, uid = desk.open(1), desk.ward.store, Ward.uid(1)
    page.keyboard.press("2")
    desk.ward.arrive(1, index_from=10)
    desk.ward.complete(1)
    desk.ward.freeze(1, found(Flag.URGENT, (0.95, 20.0), (0.9, 14.0)))
    expect(page.locator("#said")).to_have_text("What was chosen is no longer asked: choose again.", timeout=15_000)
    expect(page.locator(".target[data-chosen]")).to_have_count(0)
    page.keyboard.press("a")
    expect(page.locator("#said")).to_have_text("That cannot be answered here")
    page.keyboard.press("1")
    page.keyboard.press("a")
    expect(page.locator("#said")).to_have_text("Saved: Accepted, Lesion 1", timeout=15_000)
    (given,) = store.verdicts.of_study(uid)
    newest = store.board.study(uid)
    assert newest is not None
    assert given.result_id == newest.versions[0].jobs[0].result.result_id


def test_of_two_missed_lesions_one_that_is_taken_back_does_not_hand_its_place_to_the_other(desk: Desk) -> None:
    page = desk.open(1)
    for millimetres in ("7", "9"):
        page.keyboard.press("d")
        page.keyboard.press("Tab")
        page.keyboard.type(millimetres)
        page.keyboard.press("Enter")
        expect(page.get_by_text(f"Added, missed by the AI ({millimetres}.0 mm)").first).to_be_visible(timeout=15_000)
    added = page.locator(".target", has_text="Added, missed by the AI")
    added.first.focus()
    page.keyboard.press("u")
    expect(added).to_have_count(1, timeout=15_000)
    expect(page.locator(".target[data-chosen]")).to_have_count(0)


def test_a_key_that_is_held_down_answers_once(desk: Desk) -> None:
    page, said = desk.open(1), desk.page.locator("#said")
    page.keyboard.press("1")
    for key, words in (("a", "Saved: Accepted, Lesion 1"), ("n", "Saved: Not my question, Lesion 1")):
        page.keyboard.press(key)
        expect(said).to_have_text(words, timeout=15_000)
    page.keyboard.down("u")
    expect(said).to_have_text("Taken back: Lesion 1", timeout=15_000)
    page.keyboard.down("u")  # as a key repeats that is held down
    page.wait_for_timeout(1000)
    answers = sorted(one.answer for one in desk.ward.store.verdicts.of_study(Ward.uid(1)))
    assert answers == ["accept", "not_my_question", "undo"]


def test_what_an_open_panel_holds_up_is_said(desk: Desk) -> None:
    page, stale = desk.open(1), desk.page.locator("#stale")
    for key in "1m":
        page.keyboard.press(key)
    comment = page.locator("details[open] input[name=comment]")
    comment.fill("hilum")
    desk.ward.arrive(1, index_from=10)
    expect(stale).to_contain_text("New results wait while a form is open", timeout=25_000)
    expect(comment).to_have_value("hilum")
    page.keyboard.press("Escape")
    expect(page.get_by_role("heading", name="Version 2")).to_be_visible(timeout=15_000)
    expect(stale).to_be_hidden()


def test_where_an_earlier_answer_was_kept_the_page_says_so_and_another_try_is_a_verdict_of_its_own(desk: Desk) -> None:
    page, asked = desk.open(1), list[str]()
    other = json.dumps({"code": "other_answer", "detail": "this verdict_id came with another answer"})

    def refuse_the_first(route: Route) -> None:
        asked.append(route.request.post_data_json["verdict_id"])
        if len(asked) > 1:
            route.continue_()
        else:
            route.fulfill(status=409, content_type="application/problem+json", body=other)

    page.route("**/verdicts", refuse_the_first)
    for key in "1r2":
        page.keyboard.press(key)
    expect(page.locator("#failed")).to_contain_text("Lesion 1 (an earlier answer to it was kept; answer again")
    page.keyboard.press("4")
    expect(page.locator("#said")).to_have_text("Saved: Rejected, Lesion 1", timeout=15_000)
    expect(page.locator("#failed")).to_be_hidden()
    assert asked[0] != asked[1]
    (given,) = desk.ward.store.verdicts.of_study(Ward.uid(1))
    assert (given.verdict_id, given.reason) == (asked[1], "artefact")
