"""The viewer that waits behind the work list: it opens a study at once, that one and no other, and goes away again."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Dialog, Frame, Page, expect

from services.backends.senders import CStoreSender
from services.gateway.language import COOKIE as LANGUAGE_COOKIE
from services.triage.job import JobState
from tests.support.chromium import new_page, waiting_viewer
from tests.support.ct import ct_series, write_series
from tests.support.drawn import settled
from tests.support.peers import wait_until
from tests.support.viewed_site import ORIGIN_MM, SPACING_MM, Site, chest, viewed_site

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

WCAG = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}


@dataclass(frozen=True)
class TwoStudies:
    """A service with two studies; voxels by Study Instance UID."""

    site: Site
    voxels: dict[str, npt.NDArray[np.float64]]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoStudies]:
    folder = tmp_path_factory.mktemp("site")
    with viewed_site(folder) as site:
        voxels = chest(seed=8)
        series = ct_series(voxels, spacing_mm=tuple(SPACING_MM), origin_mm=ORIGIN_MM, PatientName="Second^Test")
        paths = write_series(series, folder / "second")
        files = [(each.SOPClassUID, each.SOPInstanceUID, path) for each, path in zip(series, paths, strict=True)]
        CStoreSender(site.vigie.address, "CT1").send(files)
        uid = str(series[0].StudyInstanceUID)
        wait_until(lambda: {job.state for job in site.house.jobs(uid)} == {JobState.FROZEN}, what="the second result")
        yield TwoStudies(site, {site.study: site.voxels, uid: voxels})


@pytest.fixture
def page(two: TwoStudies) -> Iterator[Page]:
    with new_page(width=1000, height=640) as (page, _):
        page.goto(two.site.root)
        yield page


def open_by_key(page: Page, study: str) -> Frame:
    viewer = waiting_viewer(page)
    page.locator(f"#study-{study.replace('.', chr(92) + '.')}").focus()
    page.keyboard.press("v")
    viewer.wait_for_function("document.documentElement.dataset.vigieResult === 'shown'", timeout=120_000)
    return viewer


def is_on_the_list(page: Page) -> None:
    page.locator("html:not(.is-viewing)").wait_for()
    expect(page).to_have_title(re.compile("Work list - Vigie$"))


def test_each_study_is_shown_by_its_own_pixels_one_after_the_other(two: TwoStudies, page: Page):
    for study, leave in zip([*two.voxels] * 2, (page.go_back, None, None, page.go_back), strict=True):
        viewer = open_by_key(page, study)
        assert study in page.url
        shown = settled(viewer)
        like = {each: shown.slice_by_its_pixels(voxels) for each, voxels in two.voxels.items()}
        (_, own), other = like.pop(study), max(by for _, by in like.values())
        assert own > 0.9
        assert other < 0.6
        assert shown.is_coloured.any()
        if leave:
            leave()
        else:
            page.keyboard.press("q")
        is_on_the_list(page)
        assert page.url == f"{two.site.root}/"
        expect(page.locator(f"[id='study-{study}']")).to_be_focused()


def test_what_is_not_saved_yet_is_not_left_unasked(two: TwoStudies, page: Page):
    open_by_key(page, two.site.study)
    asked: list[str] = []

    def answer(dialog: Dialog) -> None:
        asked.append(dialog.message)
        if len(asked) == 1:
            dialog.dismiss()
        else:
            dialog.accept()

    page.on("dialog", answer)
    bar = page.frame_locator("#viewer").locator("#vigie-bar")
    expect(bar.locator(".where")).to_contain_text("Lesion 1", timeout=30_000)
    page.route("**/api/**", lambda route: route.abort())
    with page.expect_request(lambda request: request.method == "POST"):
        page.keyboard.press("a")
    expect(bar.locator(".said")).to_contain_text("Not saved yet, will be sent again: 1", timeout=15_000)
    page.keyboard.press("q")
    wait_until(lambda: page.evaluate("1") and len(asked) == 1, what="the question")
    expect(page.locator("html")).to_have_class("is-viewing")
    assert two.site.study in page.url
    page.keyboard.press("q")
    is_on_the_list(page)
    assert len(asked) == 2


def test_a_key_is_the_viewers_even_where_the_focus_has_left_it(two: TwoStudies, page: Page):
    open_by_key(page, two.site.study)
    expect(page.frame_locator("#viewer").locator("#vigie-bar .where")).to_contain_text("Lesion 1", timeout=30_000)
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("q")
    is_on_the_list(page)


def test_its_address_opens_the_same_study_in_a_page_of_its_own(two: TwoStudies, page: Page):
    open_by_key(page, two.site.study)
    page.reload()
    page.wait_for_function("document.documentElement.dataset.vigieResult === 'shown'", timeout=120_000)
    assert settled(page).slice_by_its_pixels(two.site.voxels)[1] > 0.9
    page.keyboard.press("q")
    is_on_the_list(page)


def test_its_bar_speaks_the_language_of_the_list(two: TwoStudies, page: Page):
    page.context.add_cookies([{"name": LANGUAGE_COOKIE, "value": "fr", "url": two.site.root}])
    page.goto(two.site.root)
    open_by_key(page, two.site.study)
    expect(page.frame_locator("#viewer").locator("#vigie-bar .where")).to_have_text(re.compile(r" \d+,\d mm$"))
    expect(page.frame_locator("#viewer").locator("#vigie-bar .keys")).to_contain_text("Accepter")
    expect(page.frame_locator("#viewer").get_by_text("Phantom, Test")).to_be_visible()


def test_a_list_with_a_viewer_behind_it_is_accessible(page: Page):
    waiting_viewer(page)
    found = Axe().run(page, options=WCAG)
    assert not found.response["violations"], found.generate_report()


def test_what_happened_meanwhile_stands_in_the_list_that_is_come_back_to(two: TwoStudies, page: Page):
    open_by_key(page, two.site.study)
    page.request.post(f"{two.site.root}/studies/{two.site.study}/reading", form={"action": "read", "seen": ""})
    page.keyboard.press("q")
    is_on_the_list(page)
    expect(page.locator("tr[data-uid]")).to_have_count(1)
