"""A reader's verdicts on a study as a DICOM document: when one is owed, and what was written."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class VerdictDocument:
    """One document, frozen. sha256: its name in `StudyFiles.result_path`.

    verdicts: how many the reader had given when it was written, undone ones and undos too. verified: the reader had
    shown who they are, and said that they had finished.
    """

    study_instance_uid: str
    reader: str
    verdicts: int
    written_at: datetime
    verified: bool
    sop_class_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class OwedDocument:
    """A reader whose newest verdicts on a study are in no document yet, and who has finished or been quiet.

    verified_at: when they said that they had finished, having shown who they are; None where they did not.
    """

    study_instance_uid: str
    reader: str
    verified_at: datetime | None
