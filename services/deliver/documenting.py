"""Readers' verdicts as DICOM documents: written when a reader has finished or is quiet, frozen once, then delivered.

The database is the truth: a row says whose verdicts are in no document yet, and goes in the transaction that freezes
one. A kill before it leaves a file that nothing names; the document is then written anew, under new UIDs.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog

from services.backends.image_header import header_of
from services.backends.store import SqlStudyStore
from services.backends.store.board import ObjectRow, ResultRow, StudyDetail
from services.backends.verdict_report import Assessed, Reference, Subject, Verification, write_verdicts
from services.deliver.lane import STORE_PAUSE_S, utc_now
from services.logs import Conditions, where
from services.triage.errors import TransientError
from services.triage.ports import StudyFiles
from services.triage.result import Destination, ObjectKind, kind_of
from services.triage.study import VersionKey
from services.triage.verdict import Verdict, standing
from services.triage.verdict_document import OwedDocument, VerdictDocument

log = structlog.get_logger(__name__)

POLL_S = 0.5
PAUSE = timedelta(seconds=60)  # before a document that could not be written is tried again

# what one odd study may raise where nobody foresaw it; it must not hold up the others
_FAULTS = (ArithmeticError, AttributeError, LookupError, OSError, TypeError, ValueError)


@dataclass(frozen=True, kw_only=True)
class Documenting:
    """Takes turns. destinations: those in force. organization: that of readers who verify; "": none does."""

    store: SqlStudyStore
    files: StudyFiles
    destinations: Sequence[Destination]
    quiet_s: float
    organization: str
    stop: threading.Event
    _conditions: Conditions = field(default_factory=lambda: Conditions(log), init=False)
    _set_aside: dict[tuple[str, str], datetime] = field(default_factory=dict, init=False)

    def run(self) -> None:
        """Take turns until a stop is asked."""
        while not self.stop.is_set():
            pause_s = POLL_S
            try:
                self.turn(utc_now())
            except TransientError as error:
                self._conditions.begins("verdict_documents_postponed", error=type(error).__name__)
                pause_s = STORE_PAUSE_S
            else:
                self._conditions.ends("verdict_documents_postponed")
            self.stop.wait(pause_s)

    def turn(self, now: datetime) -> int:
        """Write what is due; answers how many documents were frozen. Raises StoreUnavailable, OutOfResources."""
        done = 0
        for owed in self.store.verdict_documents.due(now=now, quiet=timedelta(seconds=self.quiet_s)):
            key = owed.study_instance_uid, owed.reader
            if self._set_aside.get(key, now) > now:
                continue
            try:
                done += self._write(owed, now)
            except _FAULTS as error:
                log.error(  # noqa: TRY400 - no values, which may be patient data
                    "verdict_document_postponed", study_instance_uid=owed.study_instance_uid, **where(error)
                )
                self._set_aside[key] = now + PAUSE
        return done

    def _write(self, owed: OwedDocument, now: datetime) -> bool:
        given = [one for one in self.store.verdicts.of_study(owed.study_instance_uid) if one.reader == owed.reader]
        subject = self._subject(owed, given, now)
        written = write_verdicts(subject)
        frozen = self.store.verdict_documents.freeze(
            VerdictDocument(
                study_instance_uid=owed.study_instance_uid,
                reader=owed.reader,
                verdicts=len(given),
                written_at=now,
                verified=subject.verification is not None,
                sop_class_uid=written.sop_class_uid,
                series_instance_uid=written.series_instance_uid,
                sop_instance_uid=written.sop_instance_uid,
                sha256=self.files.keep_result(written.content),
                size_bytes=len(written.content),
            ),
            self.destinations,
            actor="deliver",
        )
        if frozen:
            log.info("verdict_document", study_instance_uid=owed.study_instance_uid, verdicts=len(given))
        return frozen

    def _subject(self, owed: OwedDocument, given: Sequence[Verdict], now: datetime) -> Subject:
        uid = owed.study_instance_uid
        detail = self.store.board.study(uid)
        if detail is None or not detail.versions:
            raise LookupError("a study without images")
        image = self.store.instances(VersionKey(study_instance_uid=uid, number=detail.versions[0].number))[0]
        stored = self.store.archive.instances(uid)
        earlier = [one for one in self.store.verdict_documents.of_study(uid) if one.reader == owed.reader]
        stands = standing(given)
        return Subject(
            header=header_of(image, self.files.path),
            reader=owed.reader,
            verdicts=stands,
            assessed=_assessed(detail, stands),
            stored={
                one.sop_instance_uid: Reference(
                    sop_class_uid=one.sop_class_uid,
                    sop_instance_uid=one.sop_instance_uid,
                    series_instance_uid=one.series_instance_uid,
                )
                for one in stored
            },
            now=now,
            predecessor=_reference(earlier[-1]) if earlier else None,
            verification=Verification(at=owed.verified_at, organization=self.organization)
            if owed.verified_at is not None and self.organization
            else None,
        )


def _assessed(detail: StudyDetail, verdicts: Sequence[Verdict]) -> dict[str, Assessed]:
    asked = {one.result_id for one in verdicts if one.result_id is not None}
    return {result_id: _of_result(detail.as_it_is_now(result_id)) for result_id in asked}


def _of_result(result: ResultRow) -> Assessed:
    objects = [one for one in result.objects if not one.note]
    reports = [one for one in objects if kind_of(one.sop_class_uid) is ObjectKind.SR]
    # of two reports on the same lesions that which names the segments
    report = next((one for one in reports if one.names is ObjectKind.SEG), reports[0] if reports else None)
    segmentation = next((one for one in objects if kind_of(one.sop_class_uid) is ObjectKind.SEG), None)
    return Assessed(
        model=result.model,
        lesions=result.lesions,
        report=_reference(report) if report else None,
        segmentation=_reference(segmentation) if segmentation else None,
    )


def _reference(one: ObjectRow | VerdictDocument) -> Reference:
    return Reference(
        sop_class_uid=one.sop_class_uid,
        sop_instance_uid=one.sop_instance_uid,
        series_instance_uid=one.series_instance_uid,
    )
