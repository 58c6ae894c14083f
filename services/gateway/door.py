"""The DICOM listener: C-ECHO, C-STORE, and the answers to our requests for Storage Commitment (PS3.4 annexes A, B, J).

Where they are switched on also MPPS and Instance Availability Notification (`services.gateway.signals`).

Success is said once the instance, or the answer, is kept. Instances are taken in without a database; answers are not.
"""

from datetime import UTC, datetime

import structlog
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.presentation import VerificationPresentationContexts, build_context

from services.backends.files import FolderStudyFiles
from services.backends.storage_commitment import STORAGE_COMMITMENT, answer_report
from services.backends.store import open_store
from services.gateway.intake import Intake
from services.gateway.scp import Listener
from services.gateway.signals import SIGNALS, signal_handlers
from services.gateway.storing import SUCCESS, take_in
from services.settings import Settings
from services.triage.commitment import CommitmentReport

log = structlog.get_logger(__name__)

_GRACE_S = 10.0


def run_door(settings: Settings) -> None:
    """Listen until SIGTERM or SIGINT; blocks. Associations in progress may then end within ten seconds."""
    files = FolderStudyFiles(settings.data, min_free_mb=settings.min_free_mb)
    files.recover()
    intake = Intake(files=files, max_instance_bytes=settings.max_instance_mb * 1_000_000)
    host, port = settings.dicom.rsplit(":", 1)
    ae = AE(ae_title=settings.ae_title)
    ae.maximum_pdu_size = 0  # unlimited
    ae.supported_contexts = VerificationPresentationContexts
    ae.add_supported_context(STORAGE_COMMITMENT, scu_role=False, scp_role=True)
    handlers = [
        (evt.EVT_REQUESTED, _require_role),
        (evt.EVT_C_ECHO, _echo),
        (evt.EVT_C_STORE, _store, [intake]),
        (evt.EVT_N_EVENT_REPORT, _committed, [settings]),
    ]
    if settings.completion_signals:
        ae.supported_contexts = [*ae.supported_contexts, *map(build_context, SIGNALS)]
        handlers += signal_handlers(settings)
    listener = Listener(
        ae, (host.strip("[]"), int(port)), handlers=handlers, max_associations=settings.max_associations
    )
    log.info("door_open", address=settings.dicom, ae_title=settings.ae_title)
    listener.serve(grace_s=_GRACE_S)
    log.info("door_closed")


def _echo(_event: evt.Event) -> int:
    return SUCCESS


def _store(event: evt.Event, intake: Intake) -> int | Dataset:
    """Answer one C-STORE request."""
    return take_in(event, intake, received_from=event.assoc.requestor.ae_title or str(event.assoc.requestor.address))


def _require_role(event: evt.Event) -> None:
    """Storage Commitment only with a peer that proposes itself as its SCP (PS3.7 D.3.3.4): we commit for nobody."""
    role = event.assoc.requestor.role_selection.get(STORAGE_COMMITMENT)
    if role is None or not role.scp_role:
        others = [one for one in event.assoc.acceptor.supported_contexts if one.abstract_syntax != STORAGE_COMMITMENT]
        event.assoc.acceptor.supported_contexts = others


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
