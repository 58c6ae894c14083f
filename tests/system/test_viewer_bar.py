"""That the bar in the viewer answers for what is on the screen, and for who answered; in a real browser, in OHIF."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pydicom
import pytest
from playwright.sync_api import Locator, Page, Request, Route, expect
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from services.backends.senders import CStoreSender
from tests.support.chromium import new_page
from tests.support.ct import write_series
from tests.support.peers import wait_until
from tests.support.viewed_site import ORIGIN_MM, SHAPE, SPACING_MM, Site, viewed_site

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(600)]

# as a reader's own segmentation comes to the viewport, which then is the one whose segments are chosen
DRAW = """async () => {
  const { displaySetService, segmentationService, viewportGridService } = window.services;
  const images = displaySetService.getActiveDisplaySets().find(one => one.Modality === 'CT');
  const segments = { 1: { label: 'Drawn', active: true } };
  const segmentationId = await segmentationService.createLabelmapForDisplaySet(images, { label: 'Drawn', segments });
  const viewport = viewportGridService.getActiveViewportId();
  await segmentationService.addSegmentationRepresentation(viewport, { segmentationId, type: 'Labelmap' });
  segmentationService.setActiveSegmentation(viewport, segmentationId);
  return segmentationService.getActiveSegment(viewport).segmentIndex;
}"""
REMOVE = """() => {
  const { segmentationService, viewportGridService } = window.services;
  const viewport = viewportGridService.getActiveViewportId();
  segmentationService.remove(segmentationService.getActiveSegmentation(viewport).segmentationId);
  const [ours] = segmentationService.getSegmentationRepresentations(viewport);
  segmentationService.setActiveSegmentation(viewport, ours.segmentationId);
}"""
TWO_LOOKS_MS = 1000
THREE_ASKS_MS = 9500


@dataclass
class Desk:
    site: Site
    page: Page
    folder: Path

    @property
    def api(self) -> str:
        return f"{self.site.root}/api/studies/{self.site.study}"

    @property
    def where(self) -> Locator:
        return self.page.locator("#vigie-bar .where")

    def lesion(self, number: int) -> Locator:
        """The row of it in the viewer's list; the pointer's tip over a row repeats its text."""
        return self.page.locator("[data-cy=data-row-title]", has_text=f"Lesion {number} (score")

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def says(self, words: str) -> None:
        expect(self.page.locator("#vigie-bar .said")).to_contain_text(words, timeout=30_000)

    def is_at(self, words: str) -> None:
        expect(self.where).to_contain_text(words, timeout=30_000)

    def told(self) -> dict[str, Any]:
        return dict(httpx.get(f"{self.api}/verdicts", timeout=30).json())

    def given(self) -> list[tuple[str, str]]:
        """Of each verdict the answer and the lesion, by the labels of the results."""
        labels = {one["tracking_uid"]: one["label"] for asked in self.told()["questions"] for one in asked["lesions"]}
        return [(one["answer"], labels.get(one["tracking_uid"], "")) for one in self.told()["verdicts"]]

    def images(self) -> list[Dataset]:
        found = [pydicom.dcmread(path) for path in (self.folder / "study").iterdir()]
        return sorted(found, key=lambda image: float(image.ImagePositionPatient[2]))

    def send(self, images: Sequence[Dataset], name: str) -> None:
        """Send images, and wait for the result of it."""
        before = self.told()["questions"][0]["result_id"]
        paths = write_series(images, self.folder / name)
        files = [(each.SOPClassUID, each.SOPInstanceUID, path) for each, path in zip(images, paths, strict=True)]
        CStoreSender(self.site.vigie.address, "CT1").send(files)
        wait_until(lambda: self.told()["questions"][0]["result_id"] != before, timeout_s=120, what="a newer result")

    def open(self) -> None:
        """The study's page, and from there the viewer."""
        self.page.goto(f"{self.site.root}/studies/{self.site.study}")
        self.page.get_by_role("link", name="Open in the viewer").first.click()
        self.page.wait_for_function("document.documentElement?.dataset.vigieResult === 'shown'", timeout=120_000)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("site")
    with viewed_site(folder, verdict_quiet_s=3600) as site, new_page(width=1400, height=800) as (page, _):
        desk = Desk(site, page, folder)
        desk.open()
        page.get_by_text("Confirm and hide").click()
        desk.is_at("Lesion 1 (1/3)")
        yield desk


@contextmanager
def drawn(page: Page) -> Iterator[None]:
    """With a segmentation of the reader's own, of one segment."""
    assert page.evaluate(DRAW) == 1
    try:
        yield
    finally:
        page.evaluate(REMOVE)


def test_a_segment_of_another_segmentation_is_not_taken_for_a_lesion(desk: Desk) -> None:
    desk.press("j")
    desk.is_at("Lesion 2")
    desk.page.wait_for_timeout(TWO_LOOKS_MS)
    with drawn(desk.page):
        desk.page.wait_for_timeout(TWO_LOOKS_MS)
        desk.press("a")
        desk.says("Accepted: Lesion")
    assert set(desk.given()) == {("accept", "Lesion 2")}


def test_an_open_panel_answers_for_the_lesion_that_it_was_opened_for(desk: Desk) -> None:
    desk.lesion(2).click()
    desk.is_at("Lesion 2")
    desk.press("r")
    desk.lesion(3).click()
    desk.page.wait_for_timeout(TWO_LOOKS_MS)
    desk.press("4")
    desk.says("Rejected: Lesion")
    desk.is_at("Lesion 3")
    assert desk.given()[-1] == ("reject", "Lesion 2")


def test_a_lesion_that_was_clicked_just_now_is_the_one_that_is_answered(desk: Desk) -> None:
    desk.lesion(3).click()
    desk.is_at("Lesion 3")
    # sooner after it than the bar looks
    key = "document.body.dispatchEvent(new KeyboardEvent('keydown', { key: 'n', bubbles: true }))"
    desk.lesion(1).evaluate(f"lesion => {{ lesion.click(); {key}; }}")
    desk.says("Not my question: Lesion")
    assert desk.given()[-1] == ("not_my_question", "Lesion 1")


def refuse(desk: Desk, status: int, code: str) -> None:
    """Let the next answers be refused."""
    problem = {"title": "No", "status": status, "code": code, "detail": f"refused as {code}"}
    body = json.dumps(problem)

    def answer(route: Route) -> None:
        if route.request.method == "POST":
            route.fulfill(status=status, content_type="application/problem+json", body=body)
        else:
            route.continue_()

    desk.page.route("**/api/**", answer)
    # once what the bar asks by itself comes this way
    with desk.page.expect_response(lambda told: "/api/" in told.url):
        pass


@pytest.mark.parametrize(("status", "code"), [(401, "not_signed_in"), (403, "not_your_part"), (429, "too_many")])
def test_an_answer_that_can_be_taken_later_is_kept_and_sent_again(desk: Desk, status: int, code: str) -> None:
    before = len(desk.given())
    refuse(desk, status, code)
    desk.press("n")
    why = "Sign in again, in another tab" if status == 401 else f"refused as {code}"
    desk.says(f"Not saved yet, will be sent again: 1 ({why})")
    assert desk.page.evaluate("!dispatchEvent(new Event('beforeunload', { cancelable: true }))")
    desk.page.unroute("**/api/**")
    desk.says("Not my question: Lesion")
    assert len(desk.given()) == before + 1


def test_what_is_kept_is_not_sent_in_the_name_of_who_signed_in_since(desk: Desk) -> None:
    def in_the_name_of_another(route: Route) -> None:
        if route.request.method == "POST":
            posted.append(route.request.url)
        told = route.fetch()
        route.fulfill(response=told, json={**told.json(), "reader": "Dr B"})

    before, posted = len(desk.given()), list[str]()
    refuse(desk, 401, "not_signed_in")
    desk.press("n")
    desk.says("Not saved yet, will be sent again: 1 (Sign in again, in another tab)")
    desk.page.route("**/api/studies/*/verdicts", lambda route: route.fulfill(status=401, json={}))
    desk.page.unroute("**/api/**")
    with desk.page.expect_response(lambda answer: answer.status == 401 and answer.request.method == "GET"):
        pass
    desk.page.unroute("**/api/studies/*/verdicts")
    desk.page.route("**/api/studies/*/verdicts", in_the_name_of_another)
    desk.page.wait_for_timeout(THREE_ASKS_MS)
    assert not posted
    desk.says("Not saved yet, will be sent again: 1 (Sign in again, in another tab)")
    desk.page.unroute("**/api/studies/*/verdicts")
    desk.says("Vigie answers again")
    assert len(desk.given()) == before + 1


def test_what_was_refused_is_still_said_and_nobody_is_sent_back_to_the_list(desk: Desk) -> None:
    refuse(desk, 409, "recalled_result")
    # both before the first is refused
    key = "document.body.dispatchEvent(new KeyboardEvent('keydown', {{ key: '{}', bubbles: true }}))"
    desk.page.evaluate(f"() => {{ {key.format('n')}; {key.format('f')}; }}")
    desk.says("Not saved: Lesion")
    desk.page.unroute("**/api/**")
    desk.page.wait_for_timeout(THREE_ASKS_MS)
    desk.says("refused as recalled_result")
    assert "/ohif/viewer" in desk.page.url
    assert not desk.told()["documents"]


def test_a_key_that_is_held_down_answers_once_and_still_goes_through_the_lesions(desk: Desk) -> None:
    before = len(desk.given())
    for _ in range(5):
        desk.page.keyboard.down("n")
    desk.page.keyboard.up("n")
    wait_until(lambda: len(desk.given()) > before, what="the answer")
    desk.page.wait_for_timeout(TWO_LOOKS_MS)
    assert len(desk.given()) == before + 1
    desk.lesion(1).click()
    desk.is_at("Lesion 1")
    desk.page.keyboard.down("j")
    desk.page.keyboard.down("j")
    desk.page.keyboard.up("j")
    desk.is_at("Lesion 3")


def test_the_focus_stays_in_the_bar_and_the_lesion_is_read_out(desk: Desk) -> None:
    bar = desk.page.locator("#vigie-bar")
    desk.lesion(3).click()
    desk.is_at("Lesion 3")
    bar.get_by_role("button", name="Next").focus()
    desk.page.keyboard.press("Enter")
    desk.is_at("Lesion 1")
    expect(bar.get_by_role("button", name="Next")).to_be_focused()
    expect(bar.get_by_role("status").filter(has_text="Lesion 1 (1/3)")).to_be_visible()
    bar.get_by_role("button", name="Reject").click()
    bar.get_by_role("button", name="2 Normal anatomy").click()
    desk.says("Rejected: Lesion 1")
    expect(bar.get_by_role("button", name="Reject")).to_be_focused()
    desk.press("m", "Escape")
    expect(bar.get_by_role("button", name="Modify")).to_be_focused()


def test_of_a_newer_result_only_the_same_lesions_are_asked_about(desk: Desk) -> None:
    images, corrected = desk.images(), uuid4().hex
    for image in images:
        image.PatientID = corrected
    desk.send(images, "corrected")
    desk.page.locator("#vigie-bar .stands", has_text="Not answered yet").wait_for(timeout=30_000)
    desk.lesion(1).click()
    desk.press("a")
    desk.says("Accepted: Lesion 1")
    before = desk.told()
    assert before["verdicts"][-1]["result_id"] == before["questions"][0]["result_id"]

    desk.press("r")
    late = images[: SHAPE[0] // 2]
    for number, image in enumerate(late, start=SHAPE[0]):
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid(prefix=None)
        image.InstanceNumber = number + 1
        image.ImagePositionPatient = [*image.ImagePositionPatient[:2], ORIGIN_MM[2] + number * SPACING_MM[0]]
    desk.send(late, "late")
    desk.is_at("A newer AI result has come: open the study again")
    desk.press("4")
    desk.says("That cannot be answered here")
    desk.press("Escape", "a", "n", "j")
    desk.page.wait_for_timeout(TWO_LOOKS_MS)
    assert desk.told()["verdicts"] == before["verdicts"]

    desk.lesion(1).click()
    desk.is_at("Lesion 1")
    desk.press("u")
    desk.says("Taken back: Lesion 1")
    undone = desk.told()["verdicts"]
    assert undone[-1]["undoes"] == before["verdicts"][-1]["verdict_id"]
    desk.press("0", "u")
    desk.says("No answer of yours to this stands: there is nothing to undo")
    assert desk.told()["verdicts"] == undone


def test_who_answers_to_the_result_of_earlier_images_is_told_that_the_study_stays_unread(desk: Desk) -> None:
    def of_earlier_images(route: Route) -> None:
        told = route.fetch().json()
        for question in told["questions"] if route.request.method == "GET" else ():
            question["newer_images"] = True
        route.fulfill(json=told)

    desk.open()
    desk.page.route("**/api/studies/*/verdicts", of_earlier_images)
    desk.is_at("Lesion 1")
    desk.press("n")
    desk.says("Not my question: Lesion 1")
    expect(desk.page.locator("#vigie-bar .said")).not_to_contain_text("read")
    desk.press("0", "n")
    desk.says("Not my question: Whole study. Images came that this result is not of")
    desk.page.unroute_all(behavior="wait")


@contextmanager
def held(desk: Desk) -> Iterator[tuple[list[Route], list[str]]]:
    """What is answered is on its way until the route goes on; beside it, what was posted."""
    routes, posted = list[Route](), list[str]()

    def hold(route: Route) -> None:
        if route.request.method == "POST":
            routes.append(route)
        else:
            route.continue_()

    def note(request: Request) -> None:
        if request.method == "POST" and "/api/" in request.url:
            posted.append(request.url.rpartition("/")[2])

    desk.page.on("request", note)
    desk.page.route("**/api/studies/*/verdicts", hold)
    try:
        yield routes, posted
    finally:
        desk.page.remove_listener("request", note)


def test_finished_leaves_no_answer_behind_that_the_server_is_silent_about(desk: Desk) -> None:
    with held(desk) as (_, posted):
        desk.press("n", "f")
        desk.says("Not finished yet, your answers are still being saved: 1")
        desk.says("Not saved yet, will be sent again: 1 (signal timed out). Not finished: press f again")
        assert "finished" not in posted
    desk.page.unroute("**/api/studies/*/verdicts")
    desk.says("Not my question: ")
    desk.page.wait_for_timeout(TWO_LOOKS_MS)
    assert "/ohif/viewer" in desk.page.url
    assert not desk.told()["documents"]


def test_finished_waits_for_the_answer_on_its_way(desk: Desk) -> None:
    with held(desk) as (routes, posted):
        desk.press("n", "f")
        desk.says("Not finished yet, your answers are still being saved: 1")
        desk.page.wait_for_timeout(TWO_LOOKS_MS)
        assert posted == ["verdicts"]
        routes[0].continue_()
        desk.page.wait_for_url(f"{desk.site.root}/")
        assert posted == ["verdicts", "finished"]
