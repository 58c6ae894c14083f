"""Who is told of results, and who is asked about studies."""

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Protocol

from services.triage.notification import Notification
from services.triage.pacs import SeriesAtPacs, StudyAtPacs


class Notifier(Protocol):
    """Tells one receiver of results, in messages."""

    def notify(self, notification: Notification) -> None:
        """Returns when the receiver has said that it has it. Saying it again is harmless: it has the same identifier.

        Raises DestinationUnavailable (retry) or DestinationRefused (it answered that it will not take it, or it must
        not be said).
        """


class ResultSender(Protocol):
    """Brings the frozen objects of one result to one destination."""

    def send(self, files: Sequence[tuple[str, str, Path]]) -> None:
        """Send (SOP Class UID, SOP Instance UID, file) each; returns when the destination has said success to all.

        Sending again is harmless: the bytes are the same. Raises DestinationUnavailable (retry) or
        DestinationRefused (it answered that it will not take an object).
        """


class PacsQuestions(Protocol):
    """What a PACS is asked, by C-FIND or QIDO-RS. Each raises DestinationUnavailable or DestinationRefused."""

    def study(self, study_instance_uid: str) -> StudyAtPacs | None:
        """A study, None if the PACS does not have it."""

    def studies(self, day: date, modality: str) -> list[StudyAtPacs]:
        """The studies of a StudyDate with a series of a modality; with others too, where the PACS ignores that key."""

    def series(self, study_instance_uid: str) -> list[SeriesAtPacs]:
        """The series of a study; where the PACS does not count the instances of one, they were listed and counted."""

    def sop_classes(self, study_instance_uid: str, series_instance_uids: Sequence[str]) -> frozenset[str]:
        """The SOP Class UIDs of the instances of some series; empty where the PACS does not tell them."""
