"""Content items of a structured report (PS3.3 C.17.3), as pydicom data sets."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from pydicom import Dataset

from services.backends.verdict_report.subject import Reference
from services.triage.model import Code

CONTAINS, CONTEXT, MODIFIER = "CONTAINS", "HAS OBS CONTEXT", "HAS CONCEPT MOD"
PROPERTY, INFERRED = "HAS PROPERTIES", "INFERRED FROM"


def coded(code: Code) -> Dataset:
    """A code (PS3.3 table 8.8-1)."""
    return data_set(CodeValue=code.value, CodingSchemeDesignator=code.scheme, CodeMeaning=code.meaning)


def container(name: Code, children: Iterable[Dataset], *, template: str = "") -> Dataset:
    """A CONTAINER. template: of the DCMR (PS3.16)."""
    made = _item(CONTAINS, "CONTAINER", name, children)
    made.ContinuityOfContent = "SEPARATE"
    if template:
        made.ContentTemplateSequence = [data_set(MappingResource="DCMR", TemplateIdentifier=template)]
    return made


def code(relationship: str, name: Code, value: Code, children: Iterable[Dataset] = ()) -> Dataset:
    """A CODE."""
    made = _item(relationship, "CODE", name, children)
    made.ConceptCodeSequence = [coded(value)]
    return made


def text(relationship: str, name: Code, value: str) -> Dataset:
    """A TEXT."""
    made = _item(relationship, "TEXT", name)
    made.TextValue = value
    return made


def uid(relationship: str, name: Code, value: str) -> Dataset:
    """A UIDREF."""
    made = _item(relationship, "UIDREF", name)
    made.UID = value
    return made


def person(relationship: str, name: Code, value: str) -> Dataset:
    """A PNAME."""
    made = _item(relationship, "PNAME", name)
    made.PersonName = value
    return made


def moment(relationship: str, name: Code, value: datetime) -> Dataset:
    """A DATETIME in the time zone of ContentTime; dcmtk takes none that tells its zone."""
    made = _item(relationship, "DATETIME", name)
    made.DateTime = value.astimezone().strftime("%Y%m%d%H%M%S")
    return made


def number(name: Code, value: float, unit: Code) -> Dataset:
    """A NUM that is contained, to two decimals."""
    made = _item(CONTAINS, "NUM", name)
    made.MeasuredValueSequence = [data_set(NumericValue=f"{value:.2f}", MeasurementUnitsCodeSequence=[coded(unit)])]
    return made


def reference(
    relationship: str, name: Code, to: Reference, *, is_image: bool = False, segment: int | None = None
) -> Dataset:
    """An IMAGE or a COMPOSITE. segment: of a Segmentation."""
    made = _item(relationship, "IMAGE" if is_image else "COMPOSITE", name)
    named = data_set(ReferencedSOPClassUID=to.sop_class_uid, ReferencedSOPInstanceUID=to.sop_instance_uid)
    if segment is not None:
        named.ReferencedSegmentNumber = segment
    made.ReferencedSOPSequence = [named]
    return made


def data_set(**attributes: Any) -> Dataset:
    """A data set with these attributes."""
    made = Dataset()
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


def _item(relationship: str, value_type: str, name: Code, children: Iterable[Dataset] = ()) -> Dataset:
    made = data_set(RelationshipType=relationship, ValueType=value_type, ConceptNameCodeSequence=[coded(name)])
    if content := list(children):
        made.ContentSequence = content
    return made
