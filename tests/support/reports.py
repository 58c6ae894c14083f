"""Results written for a test, and what their content items say."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

from pydicom import Dataset, dcmread

from services.triage.errors import Reason
from services.triage.finding import Finding, Outcome
from services.triage.job import SeriesRefusal
from services.triage.result import FALLBACKS, ObjectKind, ResultObject
from services.triage.uncertainty import Spread, Uncertainty
from services.triage.volume import Volume
from services.worker.report import write_report
from tests.support.ct import ct_series
from tests.support.lesion_case import Labels, a_model, finding_of, volume_of_series

EVERY_FORM = (ObjectKind.SEG, ObjectKind.LABELMAP, None)
NOW = datetime(2024, 1, 2, 12, 0, tzinfo=UTC)
REFUSED = SeriesRefusal(series_instance_uid="2.25.7", reason=Reason(code="too_few_slices", text="3 slices"))


@dataclass(frozen=True, kw_only=True)
class Written:
    """A result on disk, with what it was made from."""

    paths: list[Path]
    finding: Finding
    volume: Volume
    labels: Labels

    @property
    def reports(self) -> list[Path]:
        return self.of("SR")

    def of(self, modality: str) -> list[Path]:
        return [path for path in self.paths if path.stem.endswith(f"_{modality}")]


def read(result: ResultObject) -> Dataset:
    return dcmread(BytesIO(result.content))


def reported(outcome: Outcome, *, calibrated: bool = False, now: datetime = NOW, **attributes: object) -> list[Dataset]:
    """The result of an outcome on a CT series with those attributes."""
    series = ct_series(slices=9, rows=32, columns=28, **attributes)
    volume = volume_of_series(series)
    finding, labels = finding_of(outcome, volume)
    model = a_model(calibrated=calibrated)
    return [
        read(each)
        for each in write_report(finding, model=model, headers=series, volume=volume, label_map=labels, now=now)
    ]


def written(
    outcome: Outcome,
    sources: Sequence[Path],
    folder: Path,
    *,
    predecessors: Sequence[Dataset] = (),
    segmentations: Sequence[ObjectKind | None] = (ObjectKind.SEG,),
    spread: Spread | None = None,
) -> Written:
    """A result of an outcome on a CT series of files, with every overlay, in files of a new folder.

    spread: of every score in it.
    """
    headers = [dcmread(path, stop_before_pixels=True) for path in sources]
    volume = volume_of_series([dcmread(path) for path in sources])
    finding, labels = finding_of(outcome, volume)
    if spread is not None:
        lesions = tuple(replace(one, spread=spread) for one in finding.lesions)
        finding = replace(finding, lesions=lesions, uncertainty=Uncertainty(spread=spread))
    objects = write_report(
        finding,
        model=a_model(),
        headers=headers,
        volume=volume if outcome.analysed else None,
        label_map=labels if outcome.analysed else None,
        refused_series=[REFUSED] if outcome is Outcome.NOT_ANALYSED else [],
        predecessors=predecessors,
        now=NOW,
        segmentations=segmentations,
        fallbacks=FALLBACKS,
    )
    return Written(paths=saved(objects, folder), finding=finding, volume=volume, labels=labels)


def saved(objects: Iterable[ResultObject], folder: Path) -> list[Path]:
    """In their order, as NUMBER_MODALITY.dcm in a new folder."""
    folder.mkdir(parents=True)
    paths = []
    for index, each in enumerate(objects):
        paths.append(folder / f"{index}_{each.modality}.dcm")
        paths[-1].write_bytes(each.content)
    return paths


def values(sr: Dataset, code: str) -> list[object]:
    """What the content items with that concept name say, anywhere in the tree."""
    found = []
    for item in sr.get("ContentSequence", []):
        if "ConceptNameCodeSequence" in item and item.ConceptNameCodeSequence[0].CodeValue == code:
            found.append(_value(item))
        found.extend(values(item, code))
    return found


def _value(item: Dataset) -> object:
    match item.ValueType:
        case "CODE":
            return item.ConceptCodeSequence[0].CodeValue
        case "NUM":
            return float(item.MeasuredValueSequence[0].NumericValue)
        case "TEXT":
            return item.TextValue
        case "UIDREF":
            return item.UID
    return item


def comment(sr: Dataset) -> str:
    (text,) = values(sr, "121106")
    assert isinstance(text, str)
    return text
