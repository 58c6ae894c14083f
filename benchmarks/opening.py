"""How long a radiologist waits from the click on a study until its first image, and until its lesion with the overlay.

    .venv/bin/python -m benchmarks.opening [--studies N] [--slices N] [--write docs/measurements/opening.md]

Real Chromium, without a graphics card, on the running service, on one machine. Each study is opened once, so that none
of its images was seen before: by its key in the work list, behind which a viewer waits, or by its address, as a page of
its own, in a browser that has opened another study and keeps the viewer's scripts. The first image is there when a
viewport's canvas first holds more than one colour, for which the page itself looks.
"""

import argparse
import os
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from playwright.sync_api import Frame, Page
from rich.console import Console
from rich.progress import track
from scipy.ndimage import gaussian_filter

from services.backends.senders import CStoreSender
from services.triage.job import JobState
from tests.support.chromium import new_page, waiting_viewer
from tests.support.ct import ct_series, write_series
from tests.support.house import House
from tests.support.peers import listens, wait_until
from tests.support.standalone import standalone

ROWS = COLUMNS = 512
SPACING_MM = (1.25, 0.7, 0.7)
RADIUS_MM = 9.0
TARGET_S = 2.0
PATIENCE_MS = 120_000

PAGES = 3
"""Studies opened as a page of their own, for comparison."""

SELECTED_MS = 1000
"""So long a study is selected in the list before it is opened."""

# milliseconds since the epoch
WATCH = """
    const now = () => performance.timeOrigin + performance.now();
    const isDrawn = canvas => {
        if (!canvas.width || !canvas.height) return false;
        const small = new OffscreenCanvas(16, 16).getContext('2d');
        small.drawImage(canvas, 0, 0, 16, 16);
        const {data} = small.getImageData(0, 0, 16, 16);
        return data.some((value, at) => at % 4 < 3 && value !== data[at % 4]);
    };
    const look = () => {
        const drawn = [...document.querySelectorAll('.viewport-element canvas')].some(isDrawn);
        if (drawn && window.firstImage === undefined) window.firstImage = now();
        if (document.documentElement?.dataset.vigieResult === 'shown' && window.lesion === undefined)
            window.lesion = now();
        if (window.lesion === undefined || window.firstImage === undefined) requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
"""


@dataclass(frozen=True, kw_only=True)
class Opened:
    """Seconds from the key, or from asking for the page, to the first image, and to the lesion with its overlay."""

    first_image_s: float
    lesion_s: float


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and say whether the target is met. Exit code 1: it is not."""
    options = _options(argv)
    count = 1 + PAGES + options.studies
    with (
        TemporaryDirectory() as folder,
        _studies(Path(folder), count, options.slices) as root,
        new_page(width=1600, height=1000) as (page, _),
    ):
        page.add_init_script(WATCH)
        page.goto(root)
        links = [root + str(row.get_attribute("data-view")) for row in page.locator("tr[data-view]").all()]
        cold, *pages = [_open_page(page, link) for link in links[: 1 + PAGES]]
        page.goto(root)
        from_list = track(range(1 + PAGES, count), "opening studies", console=Console(stderr=True))
        warm = [_open_from_list(page, number) for number in from_list]
    table = _table(cold, pages, warm, options)
    Console().print(table, markup=False, highlight=False, soft_wrap=True)
    if options.write:
        options.write.write_text(table + "\n", encoding="utf-8")
    return int(_p95([one.first_image_s for one in warm]) > TARGET_S)


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.opening", description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=10, metavar="N", help="opened from the work list (10)")
    parser.add_argument("--slices", type=int, default=300, metavar="N", help="of each study, 512 x 512 (300)")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the table there, too")
    return parser.parse_args(argv)


@contextmanager
def _studies(folder: Path, count: int, slices: int) -> Iterator[str]:
    """The address of a service whose work list has so many studies, all analysed."""
    with standalone(folder / "data", fake_segmenter_s=0) as vigie:
        house = House(data=folder / "data")
        for number in track(range(count), "sending studies", console=Console(stderr=True)):
            series = ct_series(
                _chest(slices), spacing_mm=SPACING_MM, PatientID=f"PHANTOM-{number}", PatientName=f"Phantom^{number}"
            )
            paths = write_series(series, folder / "study")
            files = [(each.SOPClassUID, each.SOPInstanceUID, path) for each, path in zip(series, paths, strict=True)]
            CStoreSender(vigie.address, "CT1").send(files)
        wait_until(lambda: listens(vigie.http_port))
        rows = house.store.board.work_list
        wait_until(lambda: len(rows()) == count, what="the studies", timeout_s=120)
        uids = [row.study.study_instance_uid for row in rows()]
        wait_until(
            lambda: all({job.state for job in house.jobs(uid)} == {JobState.FROZEN} for uid in uids),
            what="the results",
            timeout_s=600,
        )
        yield f"http://127.0.0.1:{vigie.http_port}"


def _chest(slices: int) -> np.ndarray:
    """[slice, row, column] in HU: a texture and one bright ball in the middle."""
    noise = gaussian_filter(np.random.default_rng(7).normal(size=(slices, ROWS // 8, COLUMNS // 8)), (0.6, 2, 2))
    voxels = np.clip(-600 + noise / noise.std() * 150, -1000, -200).repeat(8, axis=1).repeat(8, axis=2)
    z, y, x = np.ogrid[:slices, :ROWS, :COLUMNS]
    away = [(axis - size // 2) * step for axis, size, step in zip((z, y, x), voxels.shape, SPACING_MM, strict=True)]
    voxels[sum(each**2 for each in away) < RADIUS_MM**2] = 60
    return voxels


def _open_page(page: Page, link: str) -> Opened:
    page.goto("about:blank")
    page.goto(link, wait_until="commit")
    return _opened(page.main_frame, page.evaluate("performance.timeOrigin"))


def _open_from_list(page: Page, number: int) -> Opened:
    viewer = waiting_viewer(page)
    page.locator("tr[data-view]").nth(number).locator("a.open").focus()
    page.wait_for_timeout(SELECTED_MS)
    begin = page.evaluate("performance.timeOrigin + performance.now()")
    page.keyboard.press("v")
    opened = _opened(viewer, begin)
    page.go_back()
    page.locator("html:not(.is-viewing)").wait_for()
    return opened


def _opened(viewer: Frame, begin_ms: float) -> Opened:
    viewer.wait_for_function("window.lesion !== undefined && window.firstImage !== undefined", timeout=PATIENCE_MS)
    first, lesion = ((at - begin_ms) / 1000 for at in viewer.evaluate("[window.firstImage, window.lesion]"))
    return Opened(first_image_s=first, lesion_s=lesion)


def _p95(values: Sequence[float]) -> float:
    return float(np.percentile(values, 95))


def _table(cold: Opened, pages: Sequence[Opened], warm: Sequence[Opened], options: argparse.Namespace) -> str:
    images, _ = _columns(warm)
    verdict = "met" if _p95(images) <= TARGET_S else "NOT met"
    lines = [
        "# Opening a study",
        "",
        "Made again by",
        f"`python -m benchmarks.opening --studies {options.studies} --slices {options.slices} "
        "--write docs/measurements/opening.md`,",
        f"on one machine of {os.cpu_count()} cores without a graphics card (load average {os.getloadavg()[0]:.1f} at "
        f"the end, {datetime.now(UTC):%Y-%m-%d}).",
        "",
        f"CT studies of {options.slices} slices of 512 x 512, uncompressed, with an overlay; service and browser on",
        "the same machine, the viewer drawn by the processor. From the key, or from asking for the page; each study",
        f"opened once. In the list it is selected {SELECTED_MS / 1000:.0f} s before.",
        "",
        "| seconds | first image | lesion with its overlay |",
        "| --- | ---: | ---: |",
        f"| page of its own, browser that never opened the viewer | {cold.first_image_s:.2f} | {cold.lesion_s:.2f} |",
        f"| page of its own, warm: median of {len(pages)} | {_cells(pages, statistics.median)} |",
        f"| from the work list, a viewer waiting: median of {len(warm)} | {_cells(warm, statistics.median)} |",
        f"| from the work list, a viewer waiting: 95th percentile | {_cells(warm, _p95)} |",
        "",
        f"- {verdict}: first image, from the work list, 95th percentile under {TARGET_S:.0f} s",
    ]
    return "\n".join(lines)


def _columns(opened: Sequence[Opened]) -> tuple[list[float], list[float]]:
    return [one.first_image_s for one in opened], [one.lesion_s for one in opened]


def _cells(opened: Sequence[Opened], of: Callable[[Sequence[float]], float]) -> str:
    return " | ".join(f"{of(column):.2f}" for column in _columns(opened))


if __name__ == "__main__":
    sys.exit(main())
