"""The reader's pages on a real CT, as Chromium shows them: `make pictures` writes docs/pictures.

    .venv/bin/python -m demo.reader_pictures [--output docs/pictures]

study.png: the study's page, with answers. viewer.png: OHIF with the bar in which a reader answers.
"""

import argparse
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright
from rich.console import Console

from demo.service import Service, is_final, standalone, wait_until
from demo.studies import demo_studies

CHROMIUM = "/usr/bin/chromium"
CONSOLE = Console(stderr=True)
ANALYSED_S = 900.0
VIEWER_MS = 180_000
SETTLED_MS = 3000


def main() -> None:
    """Analyse the first real CT, answer as a reader would, and take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("docs/pictures"))
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    study = next(one for one in demo_studies(cache=Path("build/demo"), console=CONSOLE) if one.reference)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        data, results, log = Path(folder, "data"), Path(folder, "results"), Path(folder, "log")
        results.mkdir()
        with standalone(data=data, send_to=str(results), log=log) as service:
            service.push(study.paths)
            uid = study.study_instance_uid
            wait_until(lambda: is_final(service.study(uid)), deadline_s=ANALYSED_S, what="the result")
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1400, "height": 900})
            answer(page, service, uid)
            page.screenshot(path=options.output / "study.png")
            look(page)
            page.screenshot(path=options.output / "viewer.png")
            browser.close()
    CONSOLE.print(f"{options.output}: study.png, viewer.png")


def answer(page: Page, service: Service, uid: str) -> None:
    """Accept the first lesion, open the reasons by which the next can be rejected."""
    page.goto(f"{service.api}/studies/{uid}")
    page.keyboard.press("a")
    page.locator("#said").get_by_text("Saved:").wait_for()
    page.keyboard.press("1")
    page.locator(".target[data-chosen]").scroll_into_view_if_needed()
    page.keyboard.press("r")


def look(page: Page) -> None:
    """Open the viewer on the lesion, without its notice."""
    page.keyboard.press("Escape")
    page.keyboard.press("v")
    page.wait_for_function("document.documentElement.dataset.vigieResult === 'shown'", timeout=VIEWER_MS)
    page.get_by_text("Confirm and hide").click()
    page.wait_for_timeout(SETTLED_MS)


if __name__ == "__main__":
    main()
