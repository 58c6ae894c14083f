"""The way of a radiologist's eye: work list, study, viewer, the lesion; in a real browser, on what is really drawn."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from tests.support.chromium import new_page
from tests.support.viewed_site import BALLS, ORIGIN_MM, SHAPE, SPACING_MM, Site, viewed_site

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


@dataclass
class Drawn:
    """What the viewport shows: colours at points of the canvas, and the voxels (row, column) that lie there.

    said_slice: where the viewer says that it is.
    """

    said_slice: int
    rows: npt.NDArray[np.intp]
    columns: npt.NDArray[np.intp]
    rgb: npt.NDArray[np.float64]

    @property
    def is_coloured(self) -> npt.NDArray[np.bool_]:
        return self.rgb.max(axis=1) - self.rgb.min(axis=1) > 25

    def slice_by_its_pixels(self, voxels: npt.NDArray[np.float64]) -> tuple[int, float]:
        """The slice whose voxels are most like the grey that is drawn, and how like they are (correlation)."""
        grey = self.rgb.mean(axis=1)[~self.is_coloured]
        like = [
            np.corrcoef(grey, one[self.rows, self.columns][~self.is_coloured])[0, 1]
            for one in np.clip(voxels, -1250, 250)
        ]
        return int(np.argmax(like)), float(np.max(like))


READ = """() => {
    const {viewportGridService, cornerstoneViewportService} = window.services;
    const viewport = cornerstoneViewportService.getCornerstoneViewport(viewportGridService.getActiveViewportId());
    const canvas = viewport.getCanvas(), context = canvas.getContext('2d'), points = [];
    for (let y = 0.12; y < 0.72; y += 0.012)
        for (let x = 0.12; x < 0.72; x += 0.012) {
            const at = [Math.round(x * canvas.width), Math.round(y * canvas.height)];
            const rgb = context.getImageData(...at, 1, 1).data.slice(0, 3);
            points.push([...viewport.canvasToWorld(at.map(one => one / devicePixelRatio)), ...rgb]);
        }
    return points;
}"""


def drawn(page: Page) -> Drawn:
    points = np.asarray(page.evaluate(READ), float)
    columns, rows = np.rint((points[:, :2] - ORIGIN_MM[:2]) / SPACING_MM[:0:-1]).astype(int).T
    said = round((points[0, 2] - ORIGIN_MM[2]) / SPACING_MM[0])
    inside = (rows >= 0) & (rows < SHAPE[1]) & (columns >= 0) & (columns < SHAPE[2])
    return Drawn(said_slice=said, rows=rows[inside], columns=columns[inside], rgb=points[inside, 3:])


def settled(page: Page) -> Drawn:
    """What is drawn once nothing moves any more."""
    before, now = None, drawn(page)
    while before is None or not np.array_equal(before.rgb, now.rgb):
        page.wait_for_timeout(400)
        before, now = now, drawn(page)
    return now


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_study_opens_on_its_lesion_and_image_and_overlay_follow_each_jump(site: Site):
    with new_page(width=1000, height=640) as (page, asked):
        open_viewer(page, site)
        page.get_by_text("Lesion 1 (score").wait_for()
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
