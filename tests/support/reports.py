"""Results written for a test, and what their content items say."""

from datetime import UTC, datetime
from io import BytesIO

from pydicom import Dataset, dcmread

from services.triage.finding import Outcome
from services.triage.result import ResultObject
from services.worker.report import write_report
from tests.support.ct import ct_series
from tests.support.lesion_case import a_model, finding_of, volume_of_series

NOW = datetime(2024, 1, 2, 12, 0, tzinfo=UTC)


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
