"""The DICOM listener: C-ECHO, C-STORE and Storage Commitment (PS3.4 annexes A, B, J).

Of Storage Commitment it takes the answers to our requests, and the requests of those that may ask us. Where they are
switched on also MPPS and Instance Availability Notification (`services.gateway.signals`).

Success is said once the instance, the answer or the request is kept. Instances are taken in without a database; the
others are not.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import cast

import structlog
from pydicom.dataset import Dataset
from pynetdicom import AE, build_context, build_role, evt
from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.presentation import VerificationPresentationContexts

from services.backends.files import FolderStudyFiles
from services.backends.senders import requesters
from services.backends.storage_commitment import STORAGE_COMMITMENT, answer_report, answer_request
from services.backends.store import SqlStudyStore, open_store
from services.gateway.admission import Admission, admission
from services.gateway.intake import Intake
from services.gateway.scp import Listener
from services.gateway.signals import SIGNALS, signal_handlers
from services.gateway.storing import SUCCESS, take_in
from services.gateway.tls import listener_tls
from services.settings import Settings
from services.triage.commitment import CommitmentReport, CommitmentRequest

log = structlog.get_logger(__name__)

_GRACE_S = 10.0


def run_door(settings: Settings) -> None:
    """Listen until SIGTERM or SIGINT; blocks. Associations in progress may then end within ten seconds."""
    files = FolderStudyFiles(settings.data, min_free_mb=settings.min_free_mb)
    files.recover()
    intake = Intake(files=files, max_instance_bytes=settings.max_instance_mb * 1_000_000)
    admitted = admission(settings)
    ae = AE(ae_title=settings.ae_title)
    ae.maximum_pdu_size = 0  # unlimited
    ae.supported_contexts = VerificationPresentationContexts
    may_ask = MayAsk(admitted, {name: one.tenant for name, one in requesters(settings).items()})
    handlers = [
        (evt.EVT_REQUESTED, admitted.admit),
        (evt.EVT_REQUESTED, _offer_commitment, [may_ask]),
        (evt.EVT_C_ECHO, _echo),
        (evt.EVT_C_STORE, _store, [intake, admitted]),
        (evt.EVT_N_EVENT_REPORT, _committed, [settings]),
        (evt.EVT_N_ACTION, _asked, [settings, may_ask]),
    ]
    if settings.completion_signals:
        ae.supported_contexts = [*ae.supported_contexts, *map(build_context, SIGNALS)]
        handlers += signal_handlers(settings)
    listener = Listener(
        ae, settings.dicom, handlers=handlers, max_associations=settings.max_associations, tls=listener_tls(settings)
    )
    log.info("door_open", address=settings.dicom, tls_address=settings.dicom_tls, ae_title=settings.ae_title)
    listener.serve(grace_s=_GRACE_S)
    log.info("door_closed")


@dataclass(frozen=True)
class MayAsk:
    """Whether an association may ask for Storage Commitment: of an AE that may, as the tenant that the AE is of."""

    admitted: Admission
    tenants: Mapping[str, str]

    def __call__(self, event: evt.Event) -> bool:
        """By its AE titles."""
        # the requestor's `ae_title` is not known until the association stands
        calling_ae_title = cast(A_ASSOCIATE, event.assoc.requestor.primitive).calling_ae_title.strip()
        return self.tenants.get(calling_ae_title) == self.admitted.tenant(event)


def _echo(_event: evt.Event) -> int:
    return SUCCESS


def _store(event: evt.Event, intake: Intake, admitted: Admission) -> int | Dataset:
    """Answer one C-STORE request."""
    received_from = event.assoc.requestor.ae_title or str(event.assoc.requestor.address)
    return take_in(event, intake, received_from=received_from, tenant=admitted.tenant(event))


def _offer_commitment(event: evt.Event, may_ask: MayAsk) -> None:
    """Storage Commitment with a peer that proposes itself as its SCP (PS3.7 D.3.3.4), or is one that may ask us."""
    requestor = event.assoc.requestor
    role = requestor.role_selection.get(STORAGE_COMMITMENT)
    it_answers = role is not None and bool(role.scp_role)
    it_asks = (role is None or bool(role.scu_role)) and may_ask(event)
    if it_answers or it_asks:
        context = build_context(STORAGE_COMMITMENT)
        context.scu_role, context.scp_role = it_asks, it_answers
        event.assoc.acceptor.supported_contexts = [*event.assoc.acceptor.supported_contexts, context]
        if role is not None:
            # pynetdicom's own answer gets lost beside unrestricted storage
            answer = build_role(STORAGE_COMMITMENT, scu_role=it_asks, scp_role=it_answers)
            event.assoc.acceptor.add_negotiation_item(answer)


def _committed(event: evt.Event, settings: Settings) -> tuple[int | Dataset, None]:
    """Answer one N-EVENT-REPORT request of an archive (PS3.4 J.3.3)."""

    def record(report: CommitmentReport) -> bool:
        with _opened(settings) as store:
            return store.commitment_reported(report, now=datetime.now(UTC))

    return answer_report(event, record)


def _asked(event: evt.Event, settings: Settings, may_ask: MayAsk) -> tuple[int | Dataset, None]:
    """Answer one N-ACTION request for Storage Commitment (PS3.4 J.3.2)."""

    def enter(request: CommitmentRequest) -> bool:
        with _opened(settings) as store:
            return store.requests.enter(request, now=datetime.now(UTC))

    return answer_request(event, enter if may_ask(event) else None)


@contextmanager
def _opened(settings: Settings) -> Iterator[SqlStudyStore]:
    """Opened in the association's own process: a connection must not be shared over a fork."""
    store = open_store(settings.store_url())
    try:
        yield store
    finally:
        store.close()
