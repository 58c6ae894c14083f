"""A PACS that says of storage commitment what it is told to: for faults that no real one makes on request."""

import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import AE, build_context, build_role, evt
from pynetdicom.pdu import A_RELEASE_RQ
from pynetdicom.presentation import StoragePresentationContexts

from services.backends.senders.association import leave_answers_to_us
from services.backends.storage_commitment import STORAGE_COMMITMENT, WELL_KNOWN_INSTANCE, action_information
from tests.support.peers import free_port

NO_SUCH_OBJECT = 0x0112
ANSWER_AFTER_S = 0.1
Objects = Sequence[tuple[str, str]]


@dataclass
class Archive:
    """What it was sent, what it was asked (transaction, SOP Instance UIDs), and how its answers were answered."""

    port: int
    stored: list[str] = field(default_factory=list)
    requests: list[tuple[str, list[str]]] = field(default_factory=list)
    answers: list[int | None] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"PACS@127.0.0.1:{self.port}"


def never(_number: int, _uids: list[str]) -> list[str]:
    """No instance fails."""
    return []


@contextmanager
def archive(
    *,
    fails: Callable[[int, list[str]], list[str]] = never,
    answers: bool = True,
    crosses_release: bool = False,
    status: int = 0x0000,
    port: int | None = None,
) -> Iterator[Archive]:
    """Run it until the end of the block.

    fails: which of the instances of the nth request (from 1) are not committed. answers: on the association of the
    request, a moment later; else never. crosses_release: not before who asked wants to release that association.
    status: its answer to the request itself.
    """
    seen, released = Archive(port=port or free_port()), threading.Event()

    def store(event: evt.Event) -> int:
        seen.stored.append(str(event.request.AffectedSOPInstanceUID))
        return 0x0000

    def action(event: evt.Event) -> tuple[int, None]:
        information = event.action_information
        objects = [
            (str(one.ReferencedSOPClassUID), str(one.ReferencedSOPInstanceUID))
            for one in information.ReferencedSOPSequence
        ]
        uids = [uid for _, uid in objects]
        seen.requests.append((str(information.TransactionUID), uids))
        if answers and status == 0x0000:
            report = event_information(str(information.TransactionUID), objects, fails(len(seen.requests), uids))
            when = released if crosses_release else None
            threading.Thread(target=_answer_here, args=(event.assoc, report, seen, when), daemon=True).start()
        return status, None

    def hear(event: evt.Event) -> None:
        if isinstance(event.pdu, A_RELEASE_RQ):
            released.set()

    ae = AE(ae_title="PACS")
    ae.supported_contexts = StoragePresentationContexts
    ae.add_supported_context(STORAGE_COMMITMENT)
    handlers = [(evt.EVT_C_STORE, store), (evt.EVT_N_ACTION, action), (evt.EVT_PDU_RECV, hear)]
    server = ae.start_server(("127.0.0.1", seen.port), block=False, evt_handlers=handlers)
    try:
        yield seen
    finally:
        server.shutdown()


def event_information(transaction_uid: str, objects: Objects, failed: Sequence[str] = ()) -> Dataset:
    """What an archive reports of a transaction (PS3.4 table J.3-2)."""
    information = action_information(transaction_uid, [one for one in objects if one[1] not in failed])
    if failed:
        information.FailedSOPSequence = []
        for sop_class_uid, uid in objects:
            if uid in failed:
                item = Dataset()
                item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class_uid, uid
                item.FailureReason = NO_SUCH_OBJECT
                information.FailedSOPSequence.append(item)
    return information


def report(
    port: int,
    information: Dataset,
    *,
    event_type: int | None = None,
    instance: str = WELL_KNOWN_INSTANCE,
    role: bool = True,
    times: int = 1,
    tls: ssl.SSLContext | None = None,
) -> list[int | None]:
    """Report to the door on an association of its own; answers its statuses, [] when it takes no such report."""
    ae = AE(ae_title="PACS")
    roles: list[Any] = [build_role(STORAGE_COMMITMENT, scp_role=True)] if role else []
    association = ae.associate(
        "127.0.0.1",
        port,
        contexts=[build_context(STORAGE_COMMITMENT)],
        ae_title="VIGIE",
        ext_neg=roles,
        tls_args=(tls, "127.0.0.1") if tls else None,
    )
    if not association.is_established:
        return []
    leave_answers_to_us(association)
    kind = event_type or (2 if "FailedSOPSequence" in information else 1)
    try:
        answers = [
            association.send_n_event_report(information, kind, STORAGE_COMMITMENT, instance)[0] for _ in range(times)
        ]
        return [one.get("Status") for one in answers]
    finally:
        association.release()


def _answer_here(association: Any, information: Dataset, seen: Archive, when: threading.Event | None) -> None:
    time.sleep(ANSWER_AFTER_S)
    if when:
        association._reactor_checkpoint.clear()  # the release waits until the answer has gone
        when.wait()
    kind = 2 if "FailedSOPSequence" in information else 1
    try:
        answer, _ = association.send_n_event_report(information, kind, STORAGE_COMMITMENT, WELL_KNOWN_INSTANCE)
    except RuntimeError:
        return  # who asked has gone
    seen.answers.append(answer.get("Status"))
