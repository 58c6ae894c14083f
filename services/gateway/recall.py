"""Recalling a result, as the desk and the command line do it."""

from datetime import datetime

from pydicom import dcmread

from services.backends.rejection_note import write_rejection_note
from services.triage.ports import StudyFiles, StudyStore
from services.triage.result import FrozenResult, Recall, ResultObject


def recall(
    store: StudyStore, files: StudyFiles, result_id: str, *, reason: str, actor: str, notes: bool, now: datetime
) -> Recall | None:
    """Recall a result, with a rejection note if `notes`; None: there is no such result.

    The note's bytes are kept before the one transaction that recalls; a kill in between leaves a file that nothing
    names. Raises StoreUnavailable, OutOfResources.
    """
    frozen = store.frozen_result(result_id)
    note = None
    if notes and frozen is not None and frozen.sha256s and frozen.recall is None:
        written = _note(frozen, files, reason=reason, now=now)
        note = written, files.keep_result(written.content)
    return store.recall(result_id, reason=reason, actor=actor, now=now, note=note)


def _note(frozen: FrozenResult, files: StudyFiles, *, reason: str, now: datetime) -> ResultObject:
    headers = [dcmread(files.result_path(sha256), stop_before_pixels=True) for sha256 in frozen.sha256s]
    return write_rejection_note(headers, model=frozen.model, reason=reason, now=now)
