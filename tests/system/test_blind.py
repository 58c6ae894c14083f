"""A study read blind and a case of training, in a real browser: what is shown when, and to whom."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, Route

from services.backends.senders import CStoreSender
from services.triage.job import JobState
from services.triage.verdict import Answer, Shown, Verdict
from tests.support.chromium import new_page
from tests.support.ct import write_series
from tests.support.house import House, chest_with_ball
from tests.support.peers import listens, wait_until
from tests.support.standalone import standalone

pytestmark = pytest.mark.system

PATIENT = {
    "PatientName": "Dupont^Marguerite",
    "PatientID": "IPP-4711-0815",
    "PatientBirthDate": "19511224",
    "AccessionNumber": "ACC-99-1234",
    "StudyDescription": "CT thorax, Mme Dupont",
    "StudyID": "STUDYID77",
}
BLIND = """
key = "of this test and no other"
[[hold]]
share = 1.0
"""
_RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}


@dataclass
class Site:
    root: str
    house: House
    study: str
    identifiers: list[str]

    @property
    def page(self) -> str:
        return f"{self.root}/studies/{self.study}"


@dataclass
class Heard:
    """All that the browser gets from training on, but the viewer's own program: (address, text or bytes)."""

    answers: list[tuple[str, bytes]] = field(default_factory=list)

    def pass_on(self, route: Route) -> None:
        """Read on the way in: asked afterwards, Chromium has no longer the bytes of one frame in ten."""
        if route.request.method != "GET" or "/ohif/" in route.request.url:
            route.continue_()
            return
        answer = route.fetch(max_redirects=0)
        self.answers.append((answer.url, answer.body()))
        route.fulfill(response=answer)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    rules = tmp_path / "blind.toml"
    rules.write_text(BLIND)
    series = chest_with_ball(**PATIENT)
    with standalone(tmp_path / "data", fake_segmenter_s=0, blind=rules) as vigie:
        paths = write_series(series, tmp_path / "study")
        files = [(each.SOPClassUID, each.SOPInstanceUID, path) for each, path in zip(series, paths, strict=True)]
        CStoreSender(vigie.address, "CT1").send(files)
        house, uid = House(data=tmp_path / "data"), str(series[0].StudyInstanceUID)
        wait_until(lambda: {job.state for job in house.jobs(uid)} == {JobState.FROZEN}, what="the result")
        wait_until(lambda: listens(vigie.http_port))
        uids = [str(each.SOPInstanceUID) for each in series] + [uid, str(series[0].SeriesInstanceUID)]
        words = ["Dupont", "Marguerite", "IPP-4711", "19511224", "1951-12-24", "ACC-99", "STUDYID77"]
        yield Site(root=f"http://127.0.0.1:{vigie.http_port}", house=house, study=uid, identifiers=[*words, *uids])


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_read_blind_then_learned_from(site: Site) -> None:
    """One browser, one story: withheld, assessed, shown; then answered, and replayed to a learner."""
    with new_page(width=1300, height=900) as (page, _):
        _reads_blind(page, site)
        _answers_the_ai(site)
        heard = Heard()
        page.context.route("**", heard.pass_on)
        doms = list(_learns(page, site))
        for where, content in [*heard.answers, *doms]:
            told = [one for one in site.identifiers if one.encode() in content]
            assert told == [], f"{where} tells {told}"
        assert {"frames", "metadata"} <= {part for where, _ in heard.answers for part in where.split("/")}
        assert not [where for where, _ in heard.answers if where.startswith(f"{site.root}/dicomweb")]


def _reads_blind(page: Page, site: Site) -> None:
    page.goto(site.root)
    assert page.locator(".saying-withheld").is_visible()
    page.get_by_role("link", name="DUPONT, Marguerite").or_(page.get_by_role("link", name="Dupont, Marguerite")).click()
    page.get_by_role("heading", name="Your assessment first").wait_for()
    assert not Axe().run(page, options=_RULES).response["violations"]
    assert not page.get_by_text("score 0.").count()
    link = page.get_by_role("link", name="Open the images, without the AI")
    assert "seg=" not in str(link.get_attribute("href"))
    page.get_by_label("Location").fill("right upper lobe")
    page.get_by_label("Location").press("b")  # a letter in a field is no answer
    assert page.locator("input[name=answer]:checked").count() == 0
    page.get_by_label("Location").blur()
    page.keyboard.press("p")
    page.keyboard.press("Enter")
    page.get_by_text("had given an assessment of their own").wait_for()
    assert page.get_by_text("score 0.").count()
    assert page.get_by_role("heading", name="Your assessment first").count() == 0
    (kept,) = site.house.store.verdicts.of_study(site.study)
    assert (kept.answer, kept.shown.blind) == (Answer.PRESENT, True)
    assert kept.assessment is not None
    assert kept.assessment.location == "right upper lobeb"


def _answers_the_ai(site: Site) -> None:
    """The ordinary verdict follows."""
    given = Verdict(
        verdict_id=uuid4().hex,
        study_instance_uid=site.study,
        result_id=site.house.result(site.study).result_id,
        answer=Answer.ACCEPT,
        reader="Dr A",
        given_at=datetime.now(UTC),
        shown=Shown(page="study"),
    )
    assert site.house.store.verdicts.give(given)


def _learns(page: Page, site: Site) -> Iterator[tuple[str, bytes]]:
    """What stands in each page on the way, none of which has a fault in its script."""
    faults: list[object] = []
    page.on("pageerror", lambda error: faults.append(error))
    page.goto(f"{site.root}/training")
    assert not Axe().run(page, options=_RULES).response["violations"]
    page.get_by_role("button", name="Begin").click()
    page.get_by_role("heading", name="Case 1 of 1").wait_for()
    assert not Axe().run(page, options=_RULES).response["violations"]
    yield "case", page.content().encode()
    viewer = _opened(page, "Open the images")
    viewer.wait_for_function(_DRAWN, timeout=120_000)
    assert viewer.evaluate("document.documentElement.dataset.vigieResult") is None
    assert viewer.evaluate("window.services.segmentationService.getSegmentations().length") == 0
    assert viewer.get_by_text(re.compile("SEG")).count() == 0
    yield "viewer", viewer.content().encode()
    viewer.close()
    page.keyboard.press("p")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="You agree with the readers").wait_for()
    yield "feedback", page.content().encode()
    viewer = _opened(page, "Open the images with the AI's overlay")
    viewer.wait_for_function("document.documentElement.dataset.vigieResult === 'shown'", timeout=120_000)
    yield "viewer with overlay", viewer.content().encode()
    viewer.close()
    page.get_by_role("link", name="Go on").click()
    page.get_by_text("You agree with the readers in 1 of 1 cases.").wait_for()
    assert faults == []
    yield "round", page.content().encode()
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(f"{site.root}/training")
    page.get_by_text("100 %").first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") == 390


# before its services are there, they throw
_DRAWN = """() => {
    try {
        const {viewportGridService, cornerstoneViewportService} = window.services;
        const viewport = cornerstoneViewportService.getCornerstoneViewport(viewportGridService.getActiveViewportId());
        return viewport.viewportStatus === 'rendered' && Boolean(viewport.getImageData());
    } catch { return false; }
}"""


def _opened(page: Page, link: str) -> Page:
    with page.context.expect_page() as opened:
        page.get_by_role("link", name=link).click()
    return opened.value
