"""A storage association as SCU: the bytes of Part 10 files, as they are, to one peer (PS3.4 annex B)."""

import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian, MediaStorageDirectoryStorage
from pynetdicom import AE, _config, evt
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation
from pynetdicom.presentation import PresentationContext, build_context

from services.backends.senders.destinations import split_address
from services.backends.senders.link import PLAIN, Link
from services.backends.senders.status import judge
from services.triage.errors import DestinationRefused, DestinationUnavailable
from services.triage.result import LABEL_MAP_STORAGE

# A file is sent from disk, byte for byte: pynetdicom would else decode it and encode it anew.
_config.STORE_SEND_CHUNKED_DATASET = True

MAX_CONTEXTS = 128
"""PS3.8 9.3.2.2: context ids are the odd numbers of one byte."""


class NotToBeSent(Exception):
    """A file that is no instance, and why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OutgoingFile:
    """A Part 10 file and what must be negotiated for it."""

    path: Path
    sop_class_uid: str
    transfer_syntax_uid: str

    @classmethod
    def read(cls, path: Path) -> "OutgoingFile":
        """Read the file meta information.

        Raises NotToBeSent (no Part 10 file, or a DICOMDIR), ValueError (its file meta information is broken), OSError.
        """
        try:
            meta = read_file_meta_info(path)
            # pynetdicom takes the SOP Instance UID from here too: missed now, it is not missed in the middle of sending
            _ = meta.MediaStorageSOPInstanceUID
            sop_class_uid, transfer_syntax_uid = meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID
        except InvalidDicomError as error:
            raise NotToBeSent("not a DICOM file (PS3.10)") from error
        except (AttributeError, BytesLengthException, NotImplementedError, struct.error) as error:
            raise ValueError("its file meta information is broken") from error
        if sop_class_uid == MediaStorageDirectoryStorage:
            raise NotToBeSent("a DICOMDIR, which only lists files")
        return cls(path=path, sop_class_uid=sop_class_uid, transfer_syntax_uid=transfer_syntax_uid)


class StorageAssociation:
    """An established association; each `store` is one C-STORE."""

    def __init__(self, association: Association, peer: str, *, implicit_fallback: bool) -> None:
        self._association = association
        self._peer = peer
        self._implicit_fallback = implicit_fallback
        self._accepted = {(cx.abstract_syntax, cx.transfer_syntax[0]) for cx in association.accepted_contexts}
        self._message_id = 0

    def store(self, file: OutgoingFile) -> None:
        """Send one file; returns when the peer has answered success or a warning (0xBxxx).

        With `implicit_fallback`, Explicit VR Little Endian is encoded anew for a peer that takes only Implicit VR.
        Raises DestinationUnavailable, DestinationRefused.
        """
        source: Path | Dataset = file.path
        if (file.sop_class_uid, file.transfer_syntax_uid) not in self._accepted:
            if not self._may_be_implicit(file):
                raise _context_refused(self._peer, file)
            source = dcmread(file.path)
        self._message_id = self._message_id % 65535 + 1
        try:
            answer = self._association.send_c_store(source, msg_id=self._message_id)
        except RuntimeError as error:
            raise DestinationUnavailable(f"{self._peer} ended the association") from error
        _judge(answer.get("Status"), self._peer, file)

    def _may_be_implicit(self, file: OutgoingFile) -> bool:
        return (
            self._implicit_fallback
            and file.transfer_syntax_uid == ExplicitVRLittleEndian
            and (file.sop_class_uid, ImplicitVRLittleEndian) in self._accepted
        )


@contextmanager
def associate(
    address: str, ae_title: str, files: Sequence[OutgoingFile], *, implicit_fallback: bool, link: Link = PLAIN
) -> Iterator[StorageAssociation]:
    """An association for these files with the peer at AET@HOST:PORT, released at the end.

    Raises DestinationUnavailable (no connection, no answer, rejected), DestinationRefused (no context accepted).
    """
    contexts = _contexts(files, implicit_fallback=implicit_fallback)
    with established(address, ae_title, contexts, link=link) as association:
        yield StorageAssociation(association, address, implicit_fallback=implicit_fallback)


@contextmanager
def established(
    address: str,
    ae_title: str,
    contexts: list[PresentationContext],
    *,
    link: Link,
    handlers: Sequence[Any] = (),
    roles: Sequence[SCP_SCU_RoleSelectionNegotiation] = (),
) -> Iterator[Association]:
    """An association in these contexts, released at the end; only who sends a request takes messages from it.

    roles: of SOP classes in which we are not the SCU (PS3.7 D.3.3.4).
    Raises DestinationUnavailable (no connection, no answer, rejected), DestinationRefused (no context accepted).
    """
    called, host, port = split_address(address)
    ae = AE(ae_title=ae_title)
    ae.connection_timeout = link.connect_timeout_s
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = link.answer_timeout_s
    try:
        association = ae.associate(
            host,
            port,
            contexts=contexts,
            ae_title=called,
            evt_handlers=[(evt.EVT_CONN_OPEN, _no_delay), *handlers],
            ext_neg=list(roles),
            tls_args=link.tls_args(host),
        )
    except socket.gaierror as error:
        raise DestinationUnavailable(f"{address}: the host name cannot be resolved") from error
    if not association.is_established:
        raise _not_established(association, address, link)
    leave_answers_to_us(association)
    try:
        yield association
    finally:
        if association.is_established:
            association.release()


def _contexts(files: Sequence[OutgoingFile], *, implicit_fallback: bool) -> list[PresentationContext]:
    """One context per SOP class and transfer syntax; with the fallback one more for Implicit VR Little Endian.

    Each has a single transfer syntax: of several, the peer would choose, and the file would not fit its choice.
    """
    wanted = {(file.sop_class_uid, file.transfer_syntax_uid): None for file in files}
    if implicit_fallback:
        wanted |= {
            (file.sop_class_uid, str(ImplicitVRLittleEndian)): None
            for file in files
            if file.transfer_syntax_uid == ExplicitVRLittleEndian
        }
    return [build_context(sop_class, transfer_syntax) for sop_class, transfer_syntax in wanted]


def _context_refused(peer: str, file: OutgoingFile) -> DestinationRefused:
    """The peer takes no objects of this SOP class in this transfer syntax."""
    return DestinationRefused(
        "context_rejected",
        f"{peer} does not accept {_told(file.sop_class_uid)} in {UID(file.transfer_syntax_uid).name}",
    )


def _told(sop_class_uid: str) -> str:
    name = "Label Map Segmentation Storage" if sop_class_uid == LABEL_MAP_STORAGE else UID(sop_class_uid).name
    return f"{name} ({sop_class_uid})"


def _judge(status: int | None, peer: str, file: OutgoingFile) -> None:
    if status is None:
        raise DestinationUnavailable(f"{peer} did not answer a C-STORE: the association was lost")
    judge(status, peer, file.sop_class_uid)


def _not_established(association: Association, address: str, link: Link) -> DestinationUnavailable | DestinationRefused:
    if association.is_rejected:
        answer = association.acceptor.primitive
        reason = answer.reason_str if answer else "no reason given"
        return DestinationUnavailable(f"{address} rejects the association: {reason}")
    if association.rejected_contexts:
        classes = sorted({_told(str(context.abstract_syntax)) for context in association.rejected_contexts})
        return DestinationRefused("context_rejected", f"{address} does not accept {', '.join(classes)}")
    _, host, port = split_address(address)
    if obstacle := link.obstacle(host, port):
        return DestinationUnavailable(f"{address}: {obstacle}")
    return DestinationUnavailable(f"{address} cannot be reached, or ended the association at once")


def leave_answers_to_us(association: Association) -> None:
    """Keep pynetdicom's reactor thread from taking the answers to our requests.

    It is paused during a request, but may be past the check: under load it now and then took an answer, and the request
    then waited for its timeout. The reactor looks without blocking, for requests; to an SCU alone there come none.
    """
    take = association.dimse.get_msg
    association.dimse.get_msg = lambda block=False: take(block=True) if block else (None, None)  # type: ignore[method-assign]


def _no_delay(event: evt.Event) -> None:
    # Nagle's algorithm and a peer's delayed acknowledgement else cost 40 ms per object
    connection = event.assoc.dul.socket
    if connection and connection.socket:
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
