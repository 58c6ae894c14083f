"""The work list with twelve varied studies, photographed in Chromium: `make pictures` writes docs/pictures.

    .venv/bin/python -m demo.desk_pictures [--output docs/pictures]

The patients are made up. The images are two real chest CTs and their mirror images; their reference masks stand for
what a model finds, the scores are made up. All else is Vigie's own: the pipeline that writes the results, the store,
the desk.
"""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
from playwright.sync_api import BrowserContext, sync_playwright
from pydicom import Dataset, dcmread
from rich.console import Console

from demo.studies import demo_studies
from services.backends.store.views import SavedView
from services.triage.errors import AnalysisFailed, Reason
from services.triage.job import JobPlan, OrderPriority
from services.triage.person import Person, PersonRole
from services.triage.reading import ReadingAction, ReadingStep
from tests.support.chromium import PROGRAM
from tests.support.ct import ct_series
from tests.support.painted import PaintedSegmenter, arrive, complete, freeze, lease
from tests.support.person import as_person
from tests.support.served import served
from tests.support.worklist import Ward

CONSOLE = Console(stderr=True)
READER = Person(name="Dr. L. Okafor", roles=frozenset({PersonRole.READER, PersonRole.LEAD}))
OTHER = "Dr. M. Brandt"
AROUND = 6  # slices on either side of the largest section
MODEL = "ct_lung_lesion"


@dataclass(frozen=True)
class Source:
    """A part of a CT in HU with its mask, [slice, row, column]."""

    voxels: npt.NDArray[np.int16]
    mask: npt.NDArray[np.bool_]
    spacing_mm: tuple[float, float, float]

    def mirrored(self) -> "Source":
        """Left for right: another patient to the eye."""
        return Source(self.voxels[:, :, ::-1], self.mask[:, :, ::-1], self.spacing_mm)


@dataclass(frozen=True, kw_only=True)
class Case:
    """One study of the picture. minutes: since it arrived. score: None: see `ends`."""

    name: str
    sex: str
    age: int
    minutes: float
    description: str = "CT chest"
    score: float | None = None
    ends: str = "analysed"
    source: int = 0
    priority: OrderPriority = OrderPriority.ROUTINE
    priority_from: str = ""
    flag_after_s: float = 95
    reading: tuple[tuple[ReadingAction, str, float], ...] = field(default=())


CASES = (
    Case(name="Amara^Chidi", sex="M", age=67, minutes=9, score=0.94, source=0, flag_after_s=88),
    Case(name="Lindqvist^Karin", sex="F", age=58, minutes=34, score=0.97, source=3, priority=OrderPriority.HIGH,
         priority_from="ae CT_ONCO", flag_after_s=102, reading=((ReadingAction.TAKEN, OTHER, 6),)),
    Case(name="Haddad^Youssef", sex="M", age=41, minutes=3, description="CT chest, trauma", ends="queued",
         priority=OrderPriority.STAT, priority_from="ae CT_ER", source=1),
    Case(name="Rossi^Giulia", sex="F", age=72, minutes=22, description="CT chest, trauma", score=0.05,
         priority=OrderPriority.STAT, priority_from="order", source=2, flag_after_s=76),
    Case(name="Nguyen^Thi Lan", sex="F", age=49, minutes=64, score=0.78, source=1, flag_after_s=131,
         reading=((ReadingAction.TAKEN, READER.name, 11),)),
    Case(name="O'Brien^Sean", sex="M", age=63, minutes=95, score=0.56, source=2, flag_after_s=90),
    Case(name="Kowalska^Ewa", sex="F", age=55, minutes=47, score=0.38, source=0, flag_after_s=85),
    Case(name="Müller^Zoë", sex="F", age=60, minutes=188, score=0.04, source=3, flag_after_s=97),
    Case(name="Fernandez^Lucia", sex="F", age=34, minutes=126, ends="refused", description="CT chest, low dose"),
    Case(name="Schmidt^Hans", sex="M", age=70, minutes=75, ends="failed", source=1),
    Case(name="Dupont^Marc", sex="M", age=52, minutes=0.4, ends="waiting", source=2),
    Case(name="Silva^Beatriz", sex="F", age=61, minutes=610, score=0.03, source=1, flag_after_s=93),
    Case(name="Read^Already", sex="F", age=66, minutes=300, score=0.91, source=0,
         reading=((ReadingAction.READ, OTHER, 30),)),
)  # fmt: skip


def sources() -> list[Source]:
    """Both real CTs around their tumours, each also mirrored."""
    found = []
    for study in demo_studies(cache=Path("build/demo"), console=CONSOLE):
        if study.reference is None:
            continue
        slices = sorted(map(dcmread, study.paths), key=lambda one: one.ImagePositionPatient[2])
        voxels = np.stack([one.pixel_array * float(one.RescaleSlope) + float(one.RescaleIntercept) for one in slices])
        mask = study.reference.mask
        if float(study.reference.affine[2, 0]) < 0:
            mask = mask[::-1]
        middle = int(mask.sum(axis=(1, 2)).argmax())
        part = slice(max(0, middle - AROUND), middle + AROUND + 1)
        depth = float(slices[1].ImagePositionPatient[2] - slices[0].ImagePositionPatient[2])
        spacing = (depth, *(float(one) for one in slices[0].PixelSpacing))
        source = Source(voxels[part].astype(np.int16), mask[part], spacing)
        found += [source, source.mirrored()]
    if not found:
        raise SystemExit("the real CTs cannot be fetched: no picture without them")
    return found


def series_of(case: Case, number: int, source: Source, now: datetime) -> list[Dataset]:
    """The case's images."""
    taken = now - timedelta(minutes=case.minutes + 12)
    born = now.year - case.age
    return ct_series(
        source.voxels,
        spacing_mm=source.spacing_mm,
        PatientName=case.name,
        PatientID=f"{4711000 + number * 613}",
        PatientSex=case.sex,
        PatientAge=f"{case.age:03}Y",
        PatientBirthDate=f"{born}{1 + number % 12:02}{3 + number:02}",
        StudyDescription=case.description,
        AccessionNumber=f"26-{90210 + number * 7}",
        StudyDate=f"{taken:%Y%m%d}",
        StudyTime=f"{taken:%H%M%S}",
    )


def fill(ward: Ward, case: Case, number: int, source: Source) -> None:
    """Bring one case as far as it goes."""
    came = ward.now - timedelta(minutes=case.minutes)
    series = series_of(case, number, source, ward.now)
    uid = arrive(ward, series, at=came)
    if case.ends == "waiting":
        return
    refusal = Reason(code="too_few_slices", text="2 slices; the model needs 3") if case.ends == "refused" else None
    plan = JobPlan(
        model_name=MODEL, series_instance_uid=None if refusal else series[0].SeriesInstanceUID, refusal=refusal
    )
    given = {"priority": case.priority, "priority_from": case.priority_from}
    complete(ward, uid, plan, at=came + timedelta(seconds=20), **given)
    if case.ends == "queued":
        lease(ward, uid, at=came + timedelta(seconds=30))
        return
    broken = (
        AnalysisFailed("out_of_memory", "The model needs more memory than there is") if case.ends == "failed" else None
    )
    painted = source.mask if case.score is not None else np.zeros_like(source.mask)
    freeze(
        ward, uid, PaintedSegmenter(painted, case.score or 0.0, broken), at=came + timedelta(seconds=case.flag_after_s)
    )
    for action, reader, minutes_ago in case.reading:
        at = ward.now - timedelta(minutes=minutes_ago)
        ward.store.readings.enter(uid, ReadingStep(action=action, reader=reader, at=at))


@contextmanager
def desk() -> Iterator[str]:
    """A desk with all of them; answers its address."""
    with TemporaryDirectory() as folder:
        ward = Ward(Path(folder), now=datetime.now(UTC))
        shown = sources()
        for number, case in enumerate(CASES):
            fill(ward, case, number, shown[case.source % len(shown)])
        app = ward.app(viewer=Path("build/ohif"))
        ward.store.views.save(_view("My night shift", "assigned=me"), now=ward.now)
        ward.store.views.save(_view("CT, flagged", "ai=urgent&ai=elevated&modality=CT"), now=ward.now)
        with served(as_person(app, READER)) as address:
            yield address


def _view(name: str, query: str):

    return SavedView(owner=READER.name, name=name, query=query, shared=False)


def photograph(context: BrowserContext, address: str, path: Path, *, select: bool = False) -> None:
    """The whole page once its pictures are there."""
    page = context.new_page()
    page.goto(address)
    page.evaluate("Promise.all([...document.images].map(one => { one.loading = 'eager'; return one.decode(); }))")
    if select:
        page.keyboard.press("j")
    page.screenshot(path=path, full_page=True)
    page.close()
    CONSOLE.print(path)


def main() -> None:
    """Take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("docs/pictures"))
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    with desk() as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=PROGRAM, args=["--no-sandbox"])
        looks = {
            "worklist": {"color_scheme": "light"},
            "worklist_dark": {"color_scheme": "dark"},
            "worklist_fr": {"color_scheme": "light", "locale": "fr-FR"},
            "worklist_narrow": {"color_scheme": "light", "viewport": {"width": 420, "height": 900}},
        }
        for name, look in looks.items():
            context = browser.new_context(**{"viewport": {"width": 1440, "height": 900}, **look})
            photograph(context, address, options.output / f"{name}.png", select=name == "worklist_dark")
        browser.close()


if __name__ == "__main__":
    main()
