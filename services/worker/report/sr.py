"""The report: a Comprehensive 3D SR of template TID 1500 (PS3.16), for every outcome."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from highdicom.seg import Segmentation
from highdicom.sr import (
    AlgorithmIdentification,
    CodeContentItem,
    Comprehensive3DSR,
    ContainerContentItem,
    ContentSequence,
    DeviceObserverIdentifyingAttributes,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    RelationshipTypeValues,
    TextContentItem,
    VolumetricROIMeasurementsAndQualitativeEvaluations,
)
from pydicom import Dataset
from pydicom.sr.codedict import codes as dicom
from pydicom.sr.coding import Code

from services import __version__
from services.backends.image_header import as_ct_image, identity_of
from services.triage.completeness import OWN_MANUFACTURER
from services.triage.finding import Finding, Flag
from services.triage.inference import Inference
from services.triage.job import SeriesRefusal
from services.triage.model import Model
from services.triage.volume import Volume
from services.worker.report import codes
from services.worker.report.groups import exam_group, lesion_groups, line_groups
from services.worker.report.library import image_library
from services.worker.report.series import Kind, device_uid, new_series
from services.worker.report.text import comment

CONTAINS = RelationshipTypeValues.CONTAINS
Answer = tuple[Code, Code]
Group = VolumetricROIMeasurementsAndQualitativeEvaluations | MeasurementsAndQualitativeEvaluations


class _Report(Comprehensive3DSR):
    """A report on images of any SOP class."""

    def copy_patient_and_study_information(self, dataset: Dataset) -> None:
        """See `as_ct_image`."""
        super().copy_patient_and_study_information(as_ct_image(dataset))


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What reports are about. headers: of the images looked at, or of any of the study; all others: see `write`."""

    finding: Finding
    model: Model
    headers: Sequence[Dataset]
    refused_series: Sequence[SeriesRefusal]
    predecessors: Sequence[Dataset]
    now: datetime
    further_headers: Sequence[Dataset] = ()
    inference: Inference | None = None


def write_sr(subject: Subject, *, volume: Volume | None, seg: Segmentation | None) -> Comprehensive3DSR:
    """What the model says of the study, or why it says nothing. volume: where there are lesions.

    Each lesion refers to its segment in `seg` (TID 1411). Without one its long axis is a line on the key slice (TID
    1501), for who takes no Segmentation: PixelMed's reading of TID 1500 does not allow both in one document.
    """
    finding, model = subject.finding, subject.model
    algorithm = _algorithm(model, subject.inference)
    groups: Sequence[Group]
    if volume is None or not finding.lesions:
        groups = [exam_group(finding, model)]
    elif seg is None:
        groups = line_groups(finding, model, volume)
    else:
        groups = lesion_groups(finding, model, volume, seg)
    images = [identity_of(subject.headers[0]), *subject.headers[1:], *subject.further_headers]
    report = MeasurementReport(
        observation_context=ObservationContext(observer_device_context=observer(model)),
        procedure_reported=codes.procedure(images[0].Modality),
        imaging_measurements=groups,
        title=codes.REPORT,
    )
    root = report[0].ContentSequence
    measurements = root.pop()  # until the end, for highdicom copies the tree that it is given, and searches it twice
    document = _Report(
        evidence=[*images, *([seg] if seg is not None else [])],
        content=report,
        is_complete=True,
        is_final=False,
        is_verified=False,
        previous_versions=list(subject.predecessors) or None,
        **new_series(Kind.SR, subject.model, images[0], subject.now),
    )
    # What highdicom's tree lacks: a slim library, the algorithm (TID 4019), and evaluations of the whole exam.
    root.append(image_library(images))
    measurements.ContentSequence = ContentSequence([*algorithm, *measurements.ContentSequence])
    root.append(measurements)
    words = comment(finding, model, subject.refused_series, replaces=bool(subject.predecessors))
    root.append(_evaluations(_answers(finding), words))
    _separate(document)
    return document


def _separate(container: Dataset) -> None:
    """Single statements (PS3.3 C.17.3), not the flowing text that highdicom makes of them, which nobody could read."""
    container.ContinuityOfContent = "SEPARATE"
    for item in container.ContentSequence:
        if item.ValueType == "CONTAINER":
            _separate(item)


def _answers(finding: Finding) -> list[Answer]:
    outcome = finding.outcome
    answers = [
        (codes.FINDINGS_SUMMARY, codes.FINDINGS_SUMMARIES[outcome]),
        (codes.SUMMARY_OF_ANALYSES, codes.ANALYSES[outcome]),
    ]
    if outcome in codes.LESION_PRESENCE:
        answers.append((codes.LESION, codes.LESION_PRESENCE[outcome]))
    if finding.flag is Flag.URGENT:
        answers.append((codes.PRIORITY, codes.URGENT))
    return answers


def _evaluations(answers: Sequence[Answer], comment_text: str) -> ContainerContentItem:
    container = ContainerContentItem(name=codes.QUALITATIVE_EVALUATIONS, relationship_type=CONTAINS)
    container.ContentSequence = ContentSequence(
        [
            *(CodeContentItem(name=name, value=value, relationship_type=CONTAINS) for name, value in answers),
            TextContentItem(name=codes.COMMENT, value=comment_text, relationship_type=CONTAINS),
        ]
    )
    return container


def _algorithm(model: Model, inference: Inference | None) -> AlgorithmIdentification:
    parameters = [f"weights SHA-256 {model.identity.weights_sha256}", f"Vigie {__version__}"]
    if inference is not None:
        parameters.append(f"inference {inference}")
    return AlgorithmIdentification(
        name=model.identity.name,
        version=model.identity.version,
        parameters=parameters,
        family=codes.ARTIFICIAL_INTELLIGENCE,
        manufacturer=OWN_MANUFACTURER,
    )


def observer(model: Model) -> ObserverContext:
    """Who observed: a device, this software with this model and these weights (TID 1004)."""
    return ObserverContext(
        observer_type=dicom.DCM.Device,
        observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
            uid=device_uid(model),
            name=OWN_MANUFACTURER,
            manufacturer_name=OWN_MANUFACTURER,
            model_name=f"{model.identity.name} {model.identity.version}",
            serial_number=model.identity.weights_sha256,
        ),
    )
