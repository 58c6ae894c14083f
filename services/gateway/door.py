"""The DICOM listener: C-ECHO, C-STORE and Storage Commitment (PS3.4 annexes A, B, J).

Of Storage Commitment it takes the answers to our requests, and the requests of those that may ask us. Where they are
switched on also MPPS and Instance Availability Notification (`services.gateway.signals`).

Success is said once the instance, the answer or the request is kept. Instances are taken in without a database; the
others are not.
"""

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import structlog
from pydicom.dataset import Dataset
from pynetdicom import AE, build_context, build_role, evt
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.presentation import VerificationPresentationContexts

from services import tracing
from services.backends.audit_spool import AuditSpool
from services.backends.files import FolderStudyFiles
from services.backends.senders import requesters
from services.backends.storage_commitment import STORAGE_COMMITMENT, answer_report, answer_request
from services.backends.store import SqlStudyStore, open_store
from services.committed import record_report
from services.gateway.admission import Admission, admission
from services.gateway.audit.importing import Imports
from services.gateway.intake import Intake
from services.gateway.quotas import Places, Rates
from services.gateway.reception import Reception
from services.gateway.refusals import RefusalDesk, record
from services.gateway.scp import Listener
from services.gateway.signals import SIGNALS, signal_handlers
from services.gateway.storing import OUT_OF_RESOURCES, SUCCESS, failure, take_in
from services.gateway.tls import listener_tls
from services.settings import Settings
from services.triage.audit import AuditActor
from services.triage.commitment import CommitmentReport, CommitmentRequest
from services.triage.errors import InstanceRefused
from services.triage.peer import PeerTask

log = structlog.get_logger(__name__)

_GRACE_S = 10.0
_IDLE_S = 60.0  # an association on which nothing happens is aborted


def run_door(settings: Settings) -> None:
    """Listen until SIGTERM or SIGINT; blocks. Associations in progress may then end within ten seconds."""
    with TemporaryDirectory(prefix="vigie-door-") as counting:
        in_use = os.open(counting, os.O_RDONLY)
        fcntl.flock(in_use, fcntl.LOCK_SH)  # so that systemd-tmpfiles does not tidy it away
        _listen(settings, Path(counting))


def _listen(settings: Settings, counting: Path) -> None:
    """counting: a folder of this machine's, for what the processes of associations count together."""
    files = FolderStudyFiles(settings.data, min_free_mb=settings.min_free_mb)
    files.recover()
    intake = Intake(files=files, max_instance_bytes=settings.max_instance_mb * 1_000_000)
    places, refusals = Places(folder=counting), RefusalDesk(partial(record, settings))
    admitted = admission(settings, places=places, rates=Rates(folder=counting), tell=refusals.tell)
    # one for each association: it lives in the process that the listener forks for it
    reception, importing = Reception("C-STORE"), Importing(AuditSpool(settings.data))
    tracing.begin("door", threads=False)
    ae = AE(ae_title=settings.ae_title)
    ae.maximum_pdu_size = 0  # unlimited
    ae.network_timeout = _IDLE_S
    ae.supported_contexts = VerificationPresentationContexts
    may_ask = MayAsk(admitted, {name: one.tenant for name, one in requesters(settings).items()})
    handlers = [
        (evt.EVT_REQUESTED, admitted.admit),
        (evt.EVT_REQUESTED, _offer_commitment, [admitted, may_ask]),
        (evt.EVT_C_ECHO, _echo),
        (evt.EVT_C_STORE, _store, [intake, admitted, reception, importing]),
        (evt.EVT_RELEASED, importing.released),
        (evt.EVT_ABORTED, importing.closed),
        (evt.EVT_CONN_CLOSE, importing.closed),
        (evt.EVT_N_EVENT_REPORT, _committed, [settings]),
        (evt.EVT_N_ACTION, _asked, [settings, may_ask]),
    ]
    if settings.completion_signals:
        ae.supported_contexts = [*ae.supported_contexts, *map(build_context, SIGNALS)]
        handlers += signal_handlers(settings)
    listener = Listener(
        ae,
        settings.dicom,
        handlers=handlers,
        max_associations=settings.max_associations,
        max_message_bytes=intake.max_instance_bytes + 1,  # so that one that is too large is seen to be
        places=places,
        refusals=refusals,
        attend=admitted.look_again,
        tls=listener_tls(settings),
        around=partial(_traced, reception),
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
        may = PeerTask.COMMITMENT in self.admitted.tasks(event)
        return may and self.tenants.get(calling_ae_title) == self.admitted.tenant(event)


def _echo(_event: evt.Event) -> int:
    return SUCCESS


@contextmanager
def _traced(reception: Reception) -> Iterator[None]:
    """One association, in its own process. Its spans leave when the peer has gone: nobody waits for the collector."""
    reception.begin()
    try:
        yield
    finally:
        reception.end()
        tracing.flush()


def _store(
    event: evt.Event, intake: Intake, admitted: Admission, reception: Reception, importing: "Importing"
) -> int | Dataset:
    """Answer one C-STORE request."""
    data_set = cast(C_STORE, event.request).DataSet
    if PeerTask.STORE not in admitted.tasks(event):
        return failure(InstanceRefused.NOT_AUTHORIZED, "this peer may no longer store")
    if not admitted.within_quota(event, len(data_set.getbuffer()) if data_set else 0):
        return failure(OUT_OF_RESOURCES, "this peer's quota a minute is used up: send it again")
    received_from, tenant = _sender(event), admitted.tenant(event)
    imports = importing.of(event)
    return take_in(event, intake, reception, received_from=received_from, tenant=tenant, imports=imports)


def _sender(event: evt.Event) -> str:
    return event.assoc.requestor.ae_title or str(event.assoc.requestor.address)


@dataclass
class Importing:
    """What the association of this process brings, for the audit trail."""

    spool: AuditSpool
    imports: Imports | None = None

    def of(self, event: evt.Event) -> Imports:
        """From the first instance on."""
        if self.imports is None:
            source = AuditActor(name=_sender(event), address=str(event.assoc.requestor.address or ""))
            called = cast(A_ASSOCIATE, event.assoc.requestor.primitive).called_ae_title.strip()
            self.imports = Imports(self.spool, source=source, destination=called, way="C-STORE")
        return self.imports

    def released(self, _event: evt.Event) -> None:
        """In order."""
        if self.imports:
            self.imports.end()

    def closed(self, _event: evt.Event) -> None:
        """However it ended."""
        if self.imports:
            self.imports.end(whole=False)


def _offer_commitment(event: evt.Event, admitted: Admission, may_ask: MayAsk) -> None:
    """Storage Commitment with a peer that proposes itself as its SCP (PS3.7 D.3.3.4), or is one that may ask us."""
    requestor = event.assoc.requestor
    role = requestor.role_selection.get(STORAGE_COMMITMENT)
    it_answers = role is not None and bool(role.scp_role) and PeerTask.REPORT in admitted.tasks(event)
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
            return record_report(store, report, now=datetime.now(UTC))

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
