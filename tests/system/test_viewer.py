"""The way of a radiologist's eye: work list, study, viewer, the lesion; in a real browser, on what is really drawn."""

from collections.abc import Iterator
from itertools import pairwise

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from tests.support.chromium import new_page
from tests.support.drawn import settled
from tests.support.viewed_site import BALLS, Site, viewed_site

pytestmark = pytest.mark.system

JUMPS = 20


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with viewed_site(tmp_path_factory.mktemp("site")) as found:
        yield found


def open_viewer(page: Page, site: Site) -> None:
    page.goto(site.root)
    page.get_by_role("link", name="Phantom, Test").click()
    page.get_by_role("link", name="Open in the viewer").click()
    page.wait_for_function("document.documentElement.dataset.vigieResult === 'shown'", timeout=120_000)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_study_opens_on_its_lesion_and_image_and_overlay_follow_each_jump(site: Site):
    with new_page(width=1000, height=640) as (page, asked):
        open_viewer(page, site)
        page.get_by_text("Lesion 1 (score").first.wait_for()
        assert page.get_by_text("not calibrated on patients").count() >= len(BALLS)
        seen = []
        for jump in range(JUMPS):
            lesion = 1 + (jump * 2) % len(BALLS)
            page.get_by_text(f"Lesion {lesion} (score").click()
            now = settled(page)
            shown, like = now.slice_by_its_pixels(site.voxels)
            seen.append(shown)
            assert like > 0.9, f"jump {jump}: nothing like a slice is drawn"
            assert shown == now.said_slice, f"jump {jump}: the image stayed behind"
            in_lesion = site.voxels[shown][now.rows, now.columns] > 0
            assert in_lesion.any(), f"jump {jump}: no lesion on the slice that is drawn"
            assert now.is_coloured[in_lesion].mean() > 0.8
            assert now.is_coloured[~in_lesion].mean() < 0.02
        assert len(set(seen)) == len(BALLS)
        assert all(one != another for one, another in pairwise(seen))
        assert {url.split("/")[2] for url in asked if url.startswith("http")} == {site.root.removeprefix("http://")}


def test_the_report_is_read_as_text(site: Site):
    with new_page(width=1000, height=640) as (page, _):
        open_viewer(page, site)
        page.get_by_text("Vigie SR").dblclick()
        page.get_by_text("Imaging Measurement Report").wait_for()
        told = page.inner_text("body")
        for words in ("Tracking Identifier: Lesion 3", "Long axis: ", "with findings", "not for diagnosis"):
            assert words in told
        assert "not calibrated on patients" in told
        assert "is not supported" not in told


def test_list_and_study_are_accessible(site: Site):
    with new_page() as (page, _):
        for address in (site.root, f"{site.root}/studies/{site.study}"):
            page.goto(address)
            found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]})
            assert not found.response["violations"], found.generate_report()
            assert found.response["passes"]
