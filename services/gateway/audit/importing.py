"""What one association or request brings, study by study: that it begins, and in the end what came.

That it begins is on disk before the first instance is: after a kill a record tells of every instance that was kept.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import structlog

from services.backends.audit_spool import AuditSpool
from services.logs import Conditions
from services.triage.audit import AuditActor, AuditEvent, AuditObject, AuditObjectKind, AuditOutcome, digest_over
from services.triage.audit_types import AuditType, audited
from services.triage.errors import OutOfResources
from services.triage.study import Instance

log = structlog.get_logger(__name__)

NOT_UNDERSTOOD = ""
"""The study of what could not be read."""


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass
class _Came:
    digests: list[str] = field(default_factory=list)
    sop_classes: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)


class Imports:
    """way: C-STORE, STOW-RS or C-GET. source: who sends."""

    def __init__(
        self,
        spool: AuditSpool,
        *,
        source: AuditActor,
        destination: str,
        way: str,
        clock: Callable[[], datetime] = _now,
    ) -> None:
        self._spool = spool
        self._actors = source, AuditActor(name=destination, requests=False)
        self._way = way
        self._clock = clock
        self._came: dict[str, _Came] = {}
        self._conditions = Conditions(log)

    def begins(self, instance: Instance) -> None:
        """An instance is about to be kept."""
        uid = instance.header.study_instance_uid
        if uid not in self._came:
            self._came[uid] = _Came()
            self._write(audited(AuditType.BEGIN_RECEIVING, *self._actors, objects=(self._study(uid),)))

    def kept(self, instance: Instance) -> None:
        """It is on disk."""
        came = self._came[instance.header.study_instance_uid]
        came.digests.append(instance.digest)
        came.sop_classes[instance.header.sop_class_uid] += 1

    def failed(self, instance: Instance | None, code: str) -> None:
        """It was refused; None: it could not be read."""
        uid = instance.header.study_instance_uid if instance else NOT_UNDERSTOOD
        self._came.setdefault(uid, _Came()).failed[code] += 1

    def end(self, *, whole: bool = True) -> None:
        """No more comes. whole: the sender ended it in order. The second call does nothing."""
        ended, self._came = self._came, {}
        for uid, came in ended.items():
            self._write(self._ended(uid, came, whole=whole))

    def _ended(self, uid: str, came: _Came, *, whole: bool) -> AuditEvent:
        told = {"instances": str(len(came.digests)), "failed": str(sum(came.failed.values()))}
        if came.digests:
            classes = " ".join(f"{name}={count}" for name, count in sorted(came.sop_classes.items()))
            told |= {"digest": digest_over(came.digests), "sop_classes": classes}
        outcome = AuditOutcome.SUCCESS
        if came.failed or not whole:
            outcome = AuditOutcome.MINOR_FAILURE if came.digests else AuditOutcome.SERIOUS_FAILURE
        reasons = [*sorted(came.failed), *([] if whole else ["cut_short"])]
        study = self._study(uid, **told)
        return audited(AuditType.RECEIVED, *self._actors, objects=(study,), outcome=outcome, reason=" ".join(reasons))

    def _study(self, uid: str, **told: str) -> AuditObject:
        details = {**told, "way": self._way}
        if uid == NOT_UNDERSTOOD:
            return AuditObject(kind=AuditObjectKind.ADDRESS, object_id="quarantine", details=details)
        return AuditObject(kind=AuditObjectKind.STUDY, object_id=uid, details=details)

    def _write(self, event: AuditEvent) -> None:
        """An instance is kept even where no event can be: the patient comes first, and it is said aloud."""
        try:
            self._spool.add(event, now=self._clock())
        except OutOfResources as error:
            self._conditions.begins("audit_event_lost", type=event.type, reason=str(error))
        else:
            self._conditions.ends("audit_event_lost")
