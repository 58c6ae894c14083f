"""The structured reports of a real CT as a reader sees them in OHIF: `make pictures` writes docs/pictures.

    .venv/bin/python -m demo.report_pictures [--output docs/pictures]

sr.png: the report that comes with a SEG, as Vigie's own viewer opens it. sr_lines.png: the one that comes with a label
map, in an OHIF that knows nothing of Vigie. Each is shown by a Vigie that has been sent images and results, as any
other archive would be, and that analyses nothing itself.
"""

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, Route
from rich.console import Console

from demo.service import Service, is_final, standalone, wait_until
from demo.studies import DemoStudy, demo_studies
from tests.support.chromium import new_page

CONSOLE = Console(stderr=True)
RESULT_S = 600.0
WIDTH, HEIGHT = {True: 1200, False: 1000}, {True: 1320, False: 760}
# OHIF stumbles when it is told to show something else while it still loads the first image
DRAWN = """() => {
    const {viewportGridService, cornerstoneViewportService} = window.services ?? {};
    const id = viewportGridService?.getActiveViewportId();
    const viewport = id && cornerstoneViewportService.getCornerstoneViewport(id);
    return viewport?.viewportStatus === 'rendered' && Boolean(viewport.getImageData());
}"""
CLAIMS_NOTHING = '[[rule]]\nname = "none"\nmodel = "ct_lung_lesion"\nmodalities = ["none"]\n'


def analyse(study: DemoStudy, folder: Path) -> dict[str, list[Path]]:
    """What comes back of a study, by the form of its segmentation: with a SEG, with a label map."""
    forms = {"SEG": folder / "seg", "LABELMAP": folder / "labelmap"}
    tables = [f'[{form}]\naddress = "{to}"\nobjects = ["{form}", "SR"]\n' for form, to in forms.items()]
    (folder / "destinations.toml").write_text("\n".join(tables))
    with _vigie(folder / "analysing", destinations=folder / "destinations.toml") as vigie:
        vigie.push(study.paths)
        uid = study.study_instance_uid
        wait_until(lambda: is_final(vigie.study(uid)), deadline_s=RESULT_S, what="the result")
    return {form: sorted(to.rglob("*.dcm")) for form, to in forms.items()}


@contextmanager
def opened_report(study: DemoStudy, results: Sequence[Path], folder: Path, *, ours: bool) -> Iterator[Page]:
    """The report among `results`, opened in OHIF. ours: with Vigie's own way of opening its reports."""
    folder.mkdir()
    (folder / "routing.toml").write_text(CLAIMS_NOTHING)
    with (
        _vigie(folder / "showing", routing=folder / "routing.toml") as vigie,
        new_page(width=WIDTH[ours], height=HEIGHT[ours]) as (page, _),
    ):
        vigie.push([*study.paths, *results])
        uid = study.study_instance_uid
        wait_until(lambda: is_final(vigie.study(uid)), deadline_s=RESULT_S, what="the study")
        if not ours:
            page.route("**/app-config.js", _without_our_way)
        page.goto(f"{vigie.api}/ohif/viewer?StudyInstanceUIDs={uid}")
        page.get_by_text("Confirm and hide").click()
        page.wait_for_function(DRAWN)
        page.get_by_text("Vigie SR").first.dblclick()
        yield page


def _without_our_way(route: Route) -> None:
    text = route.fetch().text() + "\nwindow.config.extensions = [];\n"
    route.fulfill(body=text, content_type="text/javascript")


@contextmanager
def _vigie(folder: Path, **settings: Path) -> Iterator[Service]:
    folder.mkdir(parents=True)
    with standalone(data=folder / "data", send_to=str(folder / "sent"), log=folder / "log", **settings) as running:
        yield running


def main() -> None:
    """Analyse the first real CT and take pictures of its two reports."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("docs/pictures"))
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    study = next(one for one in demo_studies(cache=Path("build/demo"), console=CONSOLE) if one.reference)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        results = analyse(study, folder)
        with opened_report(study, results["SEG"], folder / "text", ours=True) as page:
            page.get_by_text("Imaging Measurement Report").wait_for()
            page.screenshot(path=options.output / "sr.png")
        with opened_report(study, results["LABELMAP"], folder / "lines", ours=False) as page:
            page.get_by_text("Long axis").wait_for()
            page.wait_for_timeout(2000)  # until the image is drawn at full resolution
            page.screenshot(path=options.output / "sr_lines.png")
    CONSOLE.print(f"{options.output}: sr.png, sr_lines.png")


if __name__ == "__main__":
    main()
