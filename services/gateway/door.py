"""The DICOM listener: C-ECHO, C-STORE, and the answers to our requests for Storage Commitment (PS3.4 annexes A, B, J).

Success is said once the instance, or the answer, is kept. Instances are taken in without a database; answers are not.
"""

from datetime import UTC, datetime
from typing import cast

import structlog
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.presentation import VerificationPresentationContexts

from services.backends.files import FolderStudyFiles
from services.backends.part10 import wrap
from services.backends.storage_commitment import STORAGE_COMMITMENT, answer_report
from services.backends.store import open_store
from services.gateway.admission import Admission, admission
from services.gateway.intake import Intake
from services.gateway.scp import Listener
from services.settings import Settings
from services.triage.commitment import CommitmentReport
from services.triage.errors import InstanceRefused, OutOfResources

log = structlog.get_logger(__name__)

SUCCESS = 0x0000
OUT_OF_RESOURCES = 0xA700
_GRACE_S = 10.0


def run_door(settings: Settings) -> None:
    """Listen until SIGTERM or SIGINT; blocks. Associations in progress may then end within ten seconds."""
    files = FolderStudyFiles(settings.data, min_free_mb=settings.min_free_mb)
    files.recover()
    intake = Intake(files=files, max_instance_bytes=settings.max_instance_mb * 1_000_000)
    admitted = admission(settings)
    host, port = settings.dicom.rsplit(":", 1)
    ae = AE(ae_title=settings.ae_title)
    ae.maximum_pdu_size = 0  # unlimited
    ae.supported_contexts = VerificationPresentationContexts
    ae.add_supported_context(STORAGE_COMMITMENT, scu_role=False, scp_role=True)
    handlers = [
        (evt.EVT_REQUESTED, admitted.admit),
        (evt.EVT_REQUESTED, _require_role),
        (evt.EVT_C_ECHO, _echo),
        (evt.EVT_C_STORE, _store, [intake, admitted]),
        (evt.EVT_N_EVENT_REPORT, _committed, [settings]),
    ]
    listener = Listener(
        ae, (host.strip("[]"), int(port)), handlers=handlers, max_associations=settings.max_associations
    )
    log.info("door_open", address=settings.dicom, ae_title=settings.ae_title)
    listener.serve(grace_s=_GRACE_S)
    log.info("door_closed")


def _echo(_event: evt.Event) -> int:
    return SUCCESS


def _store(event: evt.Event, intake: Intake, admitted: Admission) -> int | Dataset:
    """Answer one C-STORE request (PS3.4 B.2.3)."""
    request = cast(C_STORE, event.request)
    sop_class_uid, sop_instance_uid = str(request.AffectedSOPClassUID), str(request.AffectedSOPInstanceUID)
    calling_ae_title = event.assoc.requestor.ae_title or str(event.assoc.requestor.address)
    content = wrap(
        request.DataSet.getvalue() if request.DataSet else b"",
        sop_class_uid=sop_class_uid,
        sop_instance_uid=sop_instance_uid,
        transfer_syntax_uid=event.context.transfer_syntax,
        source_ae_title=calling_ae_title,
    )
    try:
        instance = intake.understand(content, received_from=calling_ae_title)
        intake.keep(
            content,
            instance,
            received_from=calling_ae_title,
            tenant=admitted.tenant(event),
            sop_class_uid=sop_class_uid,
            sop_instance_uid=sop_instance_uid,
        )
    except InstanceRefused as refusal:
        return _failure(refusal.status, refusal.reason.text)
    except OutOfResources as error:
        log.warning("out_of_resources", received_from=calling_ae_title, error=str(error))
        return _failure(OUT_OF_RESOURCES, "no space left to keep the instance")
    return SUCCESS


def _require_role(event: evt.Event) -> None:
    """Storage Commitment only with a peer that proposes itself as its SCP (PS3.7 D.3.3.4): we commit for nobody."""
    role = event.assoc.requestor.role_selection.get(STORAGE_COMMITMENT)
    if role is None or not role.scp_role:
        event.assoc.acceptor.supported_contexts = VerificationPresentationContexts


def _committed(event: evt.Event, settings: Settings) -> tuple[int | Dataset, None]:
    """Answer one N-EVENT-REPORT request of an archive (PS3.4 J.3.3)."""

    def record(report: CommitmentReport) -> bool:
        # opened here, in the association's own process: a connection must not be shared over a fork
        store = open_store(settings.store_url())
        try:
            return store.commitment_reported(report, now=datetime.now(UTC))
        finally:
            store.close()

    return answer_report(event, record)


def _failure(status: int, comment: str) -> Dataset:
    answer = Dataset()
    answer.Status = status
    answer.ErrorComment = comment[:64]  # LO
    return answer
