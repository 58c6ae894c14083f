"""Erasing studies with all that was derived from them: for a patient who asks (GDPR, article 17), or by retention.

A request is carried out whatever comes meanwhile; a rule gives way to it (`Erasure.expire`).
"""

import mmap
import re
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import structlog
from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from services.backends.files.pixels import UNREADABLE
from services.backends.headers import read_instance
from services.backends.store import SqlStudyStore
from services.triage.errors import ErasureRefused, InstanceRefused
from services.triage.patient import PatientKey
from services.triage.ports import KeptFile, StudyFiles
from services.triage.retention import Hold, Traces
from services.triage.study import StudyAttributes

log = structlog.get_logger(__name__)

TRIES = 5
SENT_AGAIN = "sent again"
_BUSY = {
    Hold.IN_WORK: "a worker analyses it at this moment",
    Hold.UNDELIVERED: "something of it is being sent at this moment",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """What is here of a patient. waiting: instances that were received and are not recorded yet.

    quarantined: refused files that tell one of the IDs or one of the studies. in_registry: IDs that HL7 ADT told of.
    """

    keys: tuple[PatientKey, ...]
    traces: Traces
    waiting: tuple[KeptFile, ...]
    quarantined: tuple[Path, ...]
    in_registry: int

    @property
    def is_nothing(self) -> bool:
        """Whether there is nothing to erase."""
        return not (self.traces.study_instance_uids or self.waiting or self.quarantined or self.in_registry)


@dataclass(frozen=True, kw_only=True)
class Erasure:
    """Make a new one for each command or pass.

    wait_s: so long what a process has in hand is waited for. confirm: raises where somebody else may delete or copy
    files by now; it is asked before any goes.
    """

    store: SqlStudyStore
    files: StudyFiles
    wait_s: float = 0.0
    confirm: Callable[[], None] = lambda: None
    _seen: dict[str, StudyAttributes] = field(default_factory=dict, init=False)  # by digest: what waits is read once

    def find(self, patient_id: str, issuer: str | None) -> Found:
        """All that is here of a patient. issuer: None: whoever gave the ID."""
        erasing = self.store.erasing
        keys = erasing.keys(patient_id, issuer)
        uids = erasing.studies(keys)
        return Found(
            keys=keys,
            traces=erasing.traces(uids, now=_now()),
            waiting=tuple(self._waiting(keys, uids)),
            quarantined=tuple(self._quarantined(keys, uids)),
            in_registry=erasing.in_registry(keys),
        )

    def erase_found(self, found: Found, *, actor: str, reason: str) -> Traces:
        """Erase it, and what has come of the patient meanwhile. Raises ErasureRefused (in_hand)."""
        keys, gone = found.keys, found.traces
        for _ in range(TRIES):
            if found.is_nothing:
                break
            gone = _both(gone, self.erase(found.traces.study_instance_uids, actor=actor, reason=reason))
            self._settled(found)
            self.confirm()
            self.files.erase_quarantined(found.quarantined)
            self.store.erasing.forget_patients(found.keys)
            # the registry has forgotten by now which of the IDs are one patient's
            again = [self.find(key.patient_id, key.issuer) for key in keys]
            found = next((one for one in again if not one.is_nothing), again[0])
        self.sweep(keys, gone.study_instance_uids)
        return gone

    def erase(self, study_instance_uids: Sequence[str], *, actor: str, reason: str) -> Traces:
        """Erase studies; answers what there was. Raises ErasureRefused (in_hand): nothing of them was erased."""
        deadline = time.monotonic() + self.wait_s
        while (found := self._begin(study_instance_uids, actor, reason)).busy:
            if time.monotonic() >= deadline:
                told = " and ".join(_BUSY[hold] for hold in sorted(found.busy))
                raise ErasureRefused("in_hand", f"{told}: try again in a minute, or when the process has ended")
            time.sleep(0.5)
        for uid in found.study_instance_uids:
            self.go_on(uid)
        return found

    def go_on(self, study_instance_uid: str) -> bool:
        """Erase a study that is marked so. False: it is in hand again, and stays marked."""
        for _ in range(TRIES):
            found = self.store.erasing.traces([study_instance_uid], now=_now())
            self.confirm()
            self.files.erase(found.images)
            self.files.erase_results(found.results)
            if self.store.erasing.end(study_instance_uid, found, now=_now()):
                self.files.disown(study_instance_uid)
                log.info("study_erased", study_instance_uid=study_instance_uid, images=len(found.images))
                return True
        log.warning("study_in_hand", study_instance_uid=study_instance_uid)
        return False

    def expire(self, study_instance_uid: str, *, untouched_since: datetime, reason: str) -> bool:
        """Erase a study by rule, unless it has come back; answers whether.

        No file that came since then is deleted. A kill after the rows are gone leaves files that nothing names: results
        go in a day, and what readers had saved is told by `vigie scrub --unknown`.
        """
        if any(self._waiting((), [study_instance_uid])):
            return False
        self.confirm()
        found = self.store.erasing.expire(
            study_instance_uid, untouched_since=untouched_since, reason=reason, now=_now()
        )
        if found is None:
            return False
        deleted = self.files.delete(found.images, not_newer_than=untouched_since)
        self.files.erase_results(found.results)
        # sent again after it was settled, which no row told
        self.files.unsettle(dict.fromkeys(deleted.came_again, study_instance_uid), received_from=SENT_AGAIN)
        self.files.disown(study_instance_uid)
        log.info("study_expired", study_instance_uid=study_instance_uid)
        return True

    def sweep(self, keys: Collection[PatientKey], study_instance_uids: Collection[str]) -> int:
        """Delete objects of results of these that nothing names: of a worker that died before it could freeze them."""
        names = list(self.files.results(not_newer_than=_now()))
        unnamed = self.store.retaining.unnamed(names)
        mine = [sha256 for sha256 in unnamed if self._tells(self.files.result_path(sha256), keys, study_instance_uids)]
        self.confirm()
        self.files.erase_results(mine)
        return len(mine)

    def _begin(self, uids: Sequence[str], actor: str, reason: str) -> Traces:
        return self.store.erasing.begin(uids, actor=actor, reason=reason, now=_now())

    def _settled(self, found: Found) -> None:
        """Have what was waiting recorded, by the dispatcher; where none runs, it goes as it is."""
        digests = {one.digest for one in found.waiting}
        deadline = time.monotonic() + self.wait_s
        while digests & {one.digest for one in self.files.pending()} and time.monotonic() < deadline:
            time.sleep(0.2)
        left = digests & {one.digest for one in self.files.pending()}
        self.confirm()
        self.files.erase(left)

    def _waiting(self, keys: Collection[PatientKey], uids: Collection[str]) -> Iterator[KeptFile]:
        ids = {key.patient_id for key in keys}
        for one in self.files.pending():
            try:
                told = self._read(one.digest)
            except (InstanceRefused, FileNotFoundError):
                continue
            if told.patient_id in ids or told.study_instance_uid in uids:
                yield one

    def _read(self, digest: str) -> StudyAttributes:
        if digest not in self._seen:
            self._seen[digest] = read_instance(self.files.path(digest)).study
        return self._seen[digest]

    def _quarantined(self, keys: Collection[PatientKey], uids: Collection[str]) -> Iterator[Path]:
        return (path for path in self.files.quarantined() if self._tells(path, keys, uids))

    @staticmethod
    def _tells(path: Path, keys: Collection[PatientKey], uids: Collection[str]) -> bool:
        """Whether a file is of one of these: as its data set says, or, where it has none, by its bytes."""
        try:
            header = dcmread(path, force=True, stop_before_pixels=True, specific_tags=["PatientID", "StudyInstanceUID"])
            told = str(header.get("PatientID") or ""), str(header.get("StudyInstanceUID") or "")
        except (*UNREADABLE, InvalidDicomError, OSError):
            told = "", ""
        if told[0] in {key.patient_id for key in keys} or told[1] in uids:
            return True
        return not any(told) and _contains(path, [*(key.patient_id for key in keys), *uids])


def _contains(path: Path, words: Collection[str]) -> bool:
    """Whether bytes hold one of the words, not as a part of a longer one."""
    found = b"|".join(re.escape(word.encode()) for word in words if word)
    if not found or not path.stat().st_size:
        return False
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return re.search(rb"(?<![A-Za-z0-9.])(?:" + found + rb")(?![A-Za-z0-9.])", content) is not None


def _both(one: Traces, other: Traces) -> Traces:
    return replace(
        one,
        study_instance_uids=tuple(dict.fromkeys((*one.study_instance_uids, *other.study_instance_uids))),
        images=tuple(dict.fromkeys((*one.images, *other.images))),
        results=tuple(dict.fromkeys((*one.results, *other.results))),
        sent=tuple(dict.fromkeys((*one.sent, *other.sent))),
    )


def _now() -> datetime:
    return datetime.now(UTC)
