"""The one way in, for C-STORE and STOW-RS alike: understood and kept, or refused and put into quarantine."""

from collections.abc import Mapping
from dataclasses import dataclass

import structlog

from services import tracing
from services.backends.headers import read_instance
from services.gateway.reception import Reception
from services.logs import where
from services.triage.errors import InstanceRefused, OutOfResources
from services.triage.ports import StudyFiles
from services.triage.study import Instance
from services.triage.tenant import NO_TENANT, OTHER_TENANT

log = structlog.get_logger(__name__)

_ANNOUNCED = {
    "sop_class_uid": "SOP Class UID",
    "sop_instance_uid": "SOP Instance UID",
    "study_instance_uid": "Study Instance UID",
}


@dataclass(frozen=True, kw_only=True)
class Intake:
    """Takes Part 10 files; never touches the database: what is pending in `files` is recorded by the dispatcher."""

    files: StudyFiles
    max_instance_bytes: int

    def understand(self, content: bytes, *, received_from: str) -> Instance:
        """Read one instance's header. Raises InstanceRefused; the bytes are then in quarantine."""
        try:
            return self._read(content)
        except InstanceRefused as refusal:
            self._quarantine(content, refusal, received_from)
            raise

    def _read(self, content: bytes) -> Instance:
        if len(content) > self.max_instance_bytes:
            raise too_large(self.max_instance_bytes)
        try:
            return read_instance(content)
        except InstanceRefused:
            raise
        except Exception as error:  # the border: whatever a sender made, it is answered, and no byte of it is lost
            log.error("unforeseen_error", **where(error))  # noqa: TRY400 - no values
            text = "an error that nobody foresaw; the bytes are kept for a person"
            raise InstanceRefused("internal_error", text) from error

    def keep(
        self,
        content: bytes,
        instance: Instance,
        *,
        received_from: str,
        reception: Reception,
        tenant: str = NO_TENANT,
        sop_class_uid: str | None = None,
        sop_instance_uid: str | None = None,
        study_instance_uid: str | None = None,
    ) -> None:
        """Keep one instance; when this returns, it is on disk (fsync).

        The UIDs are those that the sender announced, if any. reception: tells the trace. Raises InstanceRefused
        (announced_otherwise, other_tenant), with the bytes in quarantine, or OutOfResources.
        """
        announced = {
            "sop_class_uid": sop_class_uid,
            "sop_instance_uid": sop_instance_uid,
            "study_instance_uid": study_instance_uid,
        }
        span = reception.of(instance.header.study_instance_uid, received_from=received_from)
        with tracing.within(span.context):
            self._check_and_claim(content, instance, received_from, tenant, announced)
            self.files.keep(
                content,
                digest=instance.digest,
                received_from=received_from,
                tenant=tenant,
                traceparent=span.traceparent,
            )

    def _check_and_claim(
        self, content: bytes, instance: Instance, received_from: str, tenant: str, announced: Mapping[str, str | None]
    ) -> None:
        try:
            for name, told in announced.items():
                _check(getattr(instance.header, name), told, _ANNOUNCED[name])
            self._claim(instance.header.study_instance_uid, tenant)
        except InstanceRefused as refusal:
            self._quarantine(content, refusal, received_from)
            raise

    def _claim(self, study_instance_uid: str, tenant: str) -> None:
        """Of two tenants that send the first instances of a study at once, one has it: the other is told so."""
        if tenant != NO_TENANT and self.files.claim(study_instance_uid, tenant) != tenant:
            log.warning("other_tenants_study", study_instance_uid=study_instance_uid, tenant=tenant)
            raise InstanceRefused(OTHER_TENANT.code, OTHER_TENANT.text, status=InstanceRefused.NOT_AUTHORIZED)

    def _quarantine(self, content: bytes, refusal: InstanceRefused, received_from: str) -> None:
        try:
            path = self.files.quarantine(content, reason=refusal.reason, received_from=received_from)
        except OutOfResources:
            log.warning("quarantine_full", code=refusal.reason.code, received_from=received_from)
            return
        log.warning("instance_refused", code=refusal.reason.code, received_from=received_from, file=path.name)


def too_large(max_instance_bytes: int) -> InstanceRefused:
    """The refusal of an instance that is larger than the settings allow."""
    return InstanceRefused("too_large", f"larger than {max_instance_bytes} bytes")


def _check(found: str, announced: str | None, name: str) -> None:
    if announced is not None and found != announced:
        text = f"the data set has another {name} than was announced"
        raise InstanceRefused("announced_otherwise", text, status=InstanceRefused.DATA_SET_MISMATCH)
