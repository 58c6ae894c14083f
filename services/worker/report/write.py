"""The objects of one result, in the order in which they are sent."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from datetime import datetime

import numpy as np
import numpy.typing as npt
from pydicom import Dataset

from services.backends.freezing import freeze
from services.backends.image_header import name_patient
from services.triage.finding import Finding
from services.triage.inference import Inference
from services.triage.job import SeriesRefusal
from services.triage.model import Model
from services.triage.result import ObjectKind, ResultObject
from services.triage.volume import Volume
from services.worker.report.key_images import write_key_images
from services.worker.report.key_objects import write_key_objects
from services.worker.report.marked import Marked
from services.worker.report.naming import kin, named_by
from services.worker.report.presentation_state import write_presentation_states
from services.worker.report.seg import write_seg
from services.worker.report.sr import Subject, write_sr


def write_report(
    finding: Finding,
    *,
    model: Model,
    headers: Sequence[Dataset],
    volume: Volume | None,
    label_map: npt.NDArray[np.uint8] | npt.NDArray[np.uint16] | None,
    further_headers: Sequence[Dataset] = (),
    refused_series: Sequence[SeriesRefusal] = (),
    predecessors: Sequence[Dataset] = (),
    now: datetime,
    inference: Inference | None = None,
    segmentations: Sequence[ObjectKind | None] = (ObjectKind.SEG,),
    fallbacks: Collection[ObjectKind] = (),
) -> tuple[ResultObject, ...]:
    """Always a report; if there are lesions, what each form of `segmentations` stands for.

    SEG: a Segmentation and the report on it. LABELMAP: the same as a label map. None: a report that refers to no
    Segmentation. Last come the fallbacks that are asked for: presentation states, key images, key objects.

    headers: data sets without pixels of the analysed series in the volume's slice order (one for a multi-frame
    source), or of the study's images when none was analysed; at least one. further_headers: of the other
    series that the model looked at. label_map: value n is lesion n of the
    finding, and no other values. predecessors: reports of an earlier result that this one replaces. inference: None
    where no network has looked. All UIDs but those of the lesions are fresh.
    Raises ValueError when lesions come without volume or label map.
    """
    subject = Subject(
        finding=finding,
        model=model,
        headers=headers,
        further_headers=further_headers,
        refused_series=refused_series,
        predecessors=predecessors,
        now=now,
        inference=inference,
    )
    documents: list[Dataset] = []
    if not finding.lesions:
        documents.append(write_sr(subject, volume=volume, seg=None))
    elif volume is None or label_map is None:
        raise ValueError("lesions without a volume and a label map")
    else:
        marked = Marked(finding=finding, model=model, headers=headers, volume=volume, label_map=label_map, now=now)
        for form in segmentations:
            documents.extend(_segmented(form, marked, subject))
        documents.extend(_fallbacks(marked, fallbacks))
    return tuple(frozen(document, headers[0]) for document in documents)


def _segmented(form: ObjectKind | None, marked: Marked, subject: Subject) -> Iterator[Dataset]:
    """A Segmentation of that form, if it is one, and its report.

    None refers to a label map: dcmtk and dicom3tools take its SOP class for no Segmentation, and refuse a report that
    names a segment of it.
    """
    seg = None
    if form is not None:
        seg = write_seg(
            marked.finding,
            model=marked.model,
            headers=marked.headers,
            volume=marked.volume,
            label_map=marked.label_map,
            now=marked.now,
            form=form,
            further_headers=subject.further_headers,
            inference=subject.inference,
        )
        yield seg
    if form is not ObjectKind.LABELMAP:
        fitting = replace(subject, predecessors=kin(subject.predecessors, form))
        yield write_sr(fitting, volume=marked.volume, seg=seg)


def _fallbacks(marked: Marked, wanted: Collection[ObjectKind]) -> Iterator[Dataset]:
    if ObjectKind.GSPS in wanted:
        yield from write_presentation_states(marked)
    if ObjectKind.SC in wanted:
        yield from write_key_images(marked)
    if ObjectKind.KOS in wanted:
        yield write_key_objects(marked)


def frozen(data_set: Dataset, header: Dataset) -> ResultObject:
    """The bytes of a finished object, with the patient's name of an image header."""
    name_patient(data_set, header)
    return freeze(data_set, names=named_by(data_set) if data_set.Modality == "SR" else None)
