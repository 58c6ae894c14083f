"""Blind-first mode and training, photographed in Chromium: `make pictures` writes docs/pictures.

    .venv/bin/python -m demo.blind_pictures [--output docs/pictures]

A phantom of dicom_samples goes through `vigie standalone` with its own model; a reader assesses it blind and accepts
what the AI found, and a learner reads it again.
"""

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

from playwright.sync_api import Browser, Page, sync_playwright
from pydicom import dcmread

from demo.service import Service, is_final, standalone, wait_until
from services.backends.store import open_store
from services.settings import Settings
from services.triage.verdict import Answer, Shown, Verdict

STUDY = Path("dicom_samples/phantom_positive")
CHROMIUM = "/usr/bin/chromium"
DEADLINE_S = 600
SLICES_DOWN = 24
RULE = 'key = "of the pictures in docs"\n[[hold]]\nshare = 1.0\n'


@contextmanager
def browser() -> Iterator[Browser]:
    """A real Chromium."""
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


def accept(data: Path, study: str) -> None:
    """A reader accepts what the AI found."""
    store = open_store(Settings(data=data).store_url())
    detail = store.board.study(study)
    result = detail and detail.versions[0].jobs[0].result
    assert result  # noqa: S101 - it was assessed, so it is shown
    store.verdicts.give(
        Verdict(
            verdict_id=uuid4().hex,
            study_instance_uid=study,
            result_id=result.result_id,
            answer=Answer.ACCEPT,
            reader="Dr A",
            given_at=datetime.now(UTC),
            shown=Shown(page="study"),
        )
    )
    store.close()


def photograph(page: Page, service: Service, data: Path, study: str, output: Path) -> None:
    """One picture of the list, the study, the viewer of a case, and its feedback."""
    page.goto(service.api)
    page.screenshot(path=output / "blind-list.png", clip={"x": 0, "y": 0, "width": 1280, "height": 275})
    page.goto(f"{service.api}/studies/{study}")
    page.keyboard.press("p")
    page.get_by_label("Lesions").fill("2")
    page.screenshot(path=output / "blind-study.png")
    page.get_by_role("button", name="Commit").click()
    page.get_by_text("had given an assessment of their own").wait_for()
    accept(data, study)
    page.goto(f"{service.api}/training")
    page.get_by_role("button", name="Begin").click()
    with page.context.expect_page() as opened:
        page.get_by_role("link", name="Open the images").click()
    viewer = opened.value
    viewer.wait_for_selector("canvas.cornerstone-canvas", timeout=120_000)
    viewer.get_by_role("button", name="Confirm and hide").click()
    for _ in range(SLICES_DOWN):
        viewer.keyboard.press("ArrowDown")
    viewer.wait_for_timeout(5000)  # the layout settles, the thumbnails come
    viewer.screenshot(path=output / "training-viewer.png")
    viewer.close()
    page.keyboard.press("p")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="You agree").wait_for()
    page.screenshot(path=output / "training-feedback.png")
    page.goto(f"{service.api}/training")
    page.screenshot(path=output / "training.png")


def main() -> None:
    """Send the phantom, and take the pictures of what follows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("docs/pictures"))
    output = parser.parse_args().output
    output.mkdir(parents=True, exist_ok=True)
    paths = sorted(STUDY.glob("*.dcm"))
    study = str(dcmread(paths[0], stop_before_pixels=True).StudyInstanceUID)
    with TemporaryDirectory() as folder:
        data, rules = Path(folder) / "data", Path(folder) / "blind.toml"
        rules.write_text(RULE)
        os.environ["VIGIE_BLIND"] = str(rules)
        with standalone(data=data, send_to=str(Path(folder) / "out"), log=Path(folder) / "log") as service:
            service.push(paths)
            wait_until(lambda: is_final(service.study(study)), deadline_s=DEADLINE_S, what="the result")
            with browser() as opened:
                photograph(opened.new_page(viewport={"width": 1280, "height": 800}), service, data, study, output)


if __name__ == "__main__":
    main()
