"""A real Chromium that reaches nothing but this machine."""

from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Frame, Page, sync_playwright

PROGRAM = "/usr/bin/chromium"
_QUIET = ["--disable-background-networking", "--disable-component-update", "--disable-quic", "--disable-sync"]


@contextmanager
def new_page(*, width: int = 1400, height: int = 900) -> Iterator[tuple[Page, list[str]]]:
    """A page, and the addresses of all that it asks for."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=PROGRAM, args=["--no-sandbox", *_QUIET])
        page = browser.new_page(viewport={"width": width, "height": height})
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        try:
            yield page, asked
        finally:
            browser.close()


def waiting_viewer(page: Page) -> Frame:
    """The viewer that waits behind the work list, once it can open a study."""
    viewer = page.locator("#viewer").element_handle().content_frame()
    assert viewer is not None
    viewer.wait_for_function("Boolean(window.vigieOpen)", timeout=120_000)
    return viewer
