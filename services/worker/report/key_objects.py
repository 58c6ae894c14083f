"""A key object selection: the slices on which a reader should look first (PS3.3 A.35.4, PS3.16 TID 2010)."""

from highdicom.ko import KeyObjectSelection, KeyObjectSelectionDocument
from pydicom import Dataset

from services.worker.report import codes
from services.worker.report.marked import Marked
from services.worker.report.planes import planes_of
from services.worker.report.series import Kind, new_series
from services.worker.report.sr import observer
from services.worker.report.text import key_objects_text


def write_key_objects(marked: Marked) -> Dataset:
    """The key slices of the lesions, each once, in the order of the lesions, and in words why."""
    planes = planes_of(marked.volume, marked.key_slices, marked.headers)
    content = KeyObjectSelection(
        document_title=codes.OF_INTEREST,
        referenced_objects=planes.stand_ins,
        observer_device_context=observer(marked.model),
        description=key_objects_text(marked.finding, marked.model),
    )
    document = KeyObjectSelectionDocument(
        evidence=planes.stand_ins,
        content=content,
        **new_series(Kind.KOS, marked.model, planes.stand_ins[0], marked.now),
    )
    document.copy_patient_and_study_information(planes.stand_ins[0])
    for item in document.ContentSequence:
        if "ReferencedSOPSequence" in item:
            planes.restore(item.ReferencedSOPSequence[0])
            del item.ConceptNameCodeSequence  # TID 2010 gives its images no name
    (study,) = document.CurrentRequestedProcedureEvidenceSequence
    study.ReferencedSeriesSequence[0].ReferencedSOPSequence = planes.references()
    return document
