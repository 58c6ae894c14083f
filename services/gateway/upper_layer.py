"""pynetdicom's upper layer (PS3.8), made to wait instead of to look, and to copy less.

As it comes, pynetdicom looks for data and messages every millisecond, reads 4 kB at a time, copies every byte of an
instance eight times, and makes a data set to say success. It has no setting for any of these, so a few methods of its
objects are replaced, by giving the objects a class derived from their own; tests/gateway/test_door_*.py say when one no
longer fits. A connection may be plain or TLS: of the latter, data that OpenSSL has decrypted already is seen by asking
it (`pending`), never by waiting for the socket, and there is no peeking.
"""

import os
import queue
import select
import socket
import ssl
import struct
import time
from collections.abc import Callable
from io import BytesIO
from typing import Any, cast

import structlog
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dul import DULServiceProvider
from pynetdicom.fsm import InvalidEventError
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.transport import AssociationSocket

from services.logs import where

log = structlog.get_logger(__name__)

_CHUNK_BYTES = 1 << 20
_PATIENCE_S = 30.0  # for the bytes of a PDU that have begun to come, beside what they take at the slowest
_SLOWEST_BYTES_PER_S = 1000.0
_LOOK_UP_S = 0.01  # timers, and a release while waiting for a message, are seen so late
_P_DATA_TF, _DATA_TRANSFER = 0x04, "Sta6"
_CONNECTION_CLOSED, _INVALID_PDU = "Evt17", "Evt19"
_SUCCESS = 0x0000
_LAST_COMMAND_FRAGMENT = b"\x03"  # PS3.8 E.2
_PDU_HEAD_BYTES, _PDV_HEAD_BYTES = 6, 6


def make_waiting(association: Association) -> None:
    """Give an association that has its connection, and has not started, an upper layer that waits."""
    connection = cast(AssociationSocket, association.dul.socket)
    connection.__class__ = _WaitingSocket
    waiting = cast(_WaitingSocket, connection)
    waiting.wake_reader, waiting.wake_writer = os.pipe()
    waiting.ahead = bytearray()
    association.dul.to_provider_queue = _WakingQueue(waiting.wake)
    association.dul._run_loop_delay = 0
    association.dul.__class__ = _Reactor
    association.dimse.__class__ = _WaitingProvider


class _WaitingSocket(AssociationSocket):
    """Waits until data can be read or there is something to send, and reads what there is."""

    wake_reader: int
    wake_writer: int
    ahead: bytearray
    """what was read to look at it, for the next `recv`"""

    def wake(self) -> None:
        """Have the reactor look for what it has to send."""
        os.write(self.wake_writer, b"\x00")

    @property
    def ready(self) -> bool:
        """Whether data can be read."""
        if self.socket is None or not self._is_connected:
            time.sleep(_LOOK_UP_S)
            return False
        if isinstance(self.socket, ssl.SSLSocket) and self.socket.pending():
            return True
        sources: list[Any] = [self.socket, self.wake_reader]
        readable = select.select(sources, [], [], _LOOK_UP_S)[0]
        if self.wake_reader in readable:
            os.read(self.wake_reader, 4096)
        return self.socket in readable

    def recv(self, nr_bytes: int) -> bytearray:
        """Exactly so many bytes, or fewer if the peer has gone. Memory grows with what comes, not with what is said.

        Raises TimeoutError, too, where they come so slowly that the peer only means to hold its place.
        """
        connection = cast(socket.socket, self.socket)
        if self.ahead:
            known, self.ahead = self.ahead, bytearray()
            return known + self.recv(nr_bytes - len(known))
        received, count, began = bytearray(min(_CHUNK_BYTES, nr_bytes)), 0, time.monotonic()
        while count < nr_bytes:
            if count == len(received):
                received.extend(bytes(min(_CHUNK_BYTES, nr_bytes - count)))
            with memoryview(received) as view, view[count:] as free:
                arrived = connection.recv_into(free)
            if not arrived:
                break
            count += arrived
            if time.monotonic() > began + _PATIENCE_S + count / _SLOWEST_BYTES_PER_S:
                raise TimeoutError("the peer is too slow")
            # a sender with Nagle's algorithm waits for our acknowledgement, which the kernel would hold back 40 ms
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        del received[count:]
        return received


class _Reactor(DULServiceProvider):
    """Hands the fragments of an instance straight to DIMSE (PS3.8 9.3.5); all other PDUs go pynetdicom's way."""

    def run(self) -> None:
        """Take care of the connection to its end.

        pynetdicom's state machine raises where something comes that it does not foresee, such as more PDUs after one
        that it has aborted for; and whoever waits for an association request waits on when the peer has gone already.
        """
        try:
            super().run()
        except InvalidEventError as error:
            log.warning("association_out_of_turn", **where(error))
            self.assoc.is_aborted, self.assoc.is_established = True, False
            self.assoc._kill = self._kill_thread = True
        finally:
            # no association request can come any more
            self.to_user_queue.put(None)

    def _read_pdu_data(self) -> None:
        connection = cast(_WaitingSocket, self.socket)
        try:
            head = connection.recv(_PDU_HEAD_BYTES)
            if not self._is_data(head):
                connection.ahead = head
                super()._read_pdu_data()
                return
            size = struct.unpack_from(">I", head, 2)[0]
            items = connection.recv(size)
        except OSError:
            self.event_queue.put(_CONNECTION_CLOSED)
            return
        if len(items) < size:
            self.event_queue.put(_CONNECTION_CLOSED)
            return
        primitive = P_DATA()
        primitive.presentation_data_value_list = values = []
        try:
            values += _presentation_data_values(memoryview(items))
        except (struct.error, ValueError):
            self.event_queue.put(_INVALID_PDU)
            return
        self.assoc.dimse.receive_primitive(primitive)

    def _is_data(self, head: bytearray) -> bool:
        whole = len(head) == _PDU_HEAD_BYTES
        return whole and head[0] == _P_DATA_TF and self.state_machine.current_state == _DATA_TRANSFER


def _presentation_data_values(items: memoryview) -> list[Any]:
    """(Presentation Context ID, message control header and fragment) of each item; the bytes are not copied."""
    values = []
    while items:
        length = struct.unpack_from(">I", items)[0]
        if not 2 <= length <= len(items) - 4:
            raise ValueError("an item is longer than its PDU, or empty")
        values.append((items[4], items[5 : 4 + length]))
        items = items[4 + length :]
    return values


class _WakingQueue(queue.Queue[Any]):
    """What the reactor has to send; whoever puts something in wakes it."""

    def __init__(self, wake: Callable[[], None]) -> None:
        super().__init__()
        self._wake = wake

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        super().put(item, block, timeout)
        self._wake()


class _WaitingProvider(DIMSEServiceProvider):
    """Hands a message over the moment it is complete."""

    def get_msg(self, block: bool = False) -> Any:
        """The next message with its context ID; (None, None) if none came in time.

        Instances are served here, one after the other: before each message pynetdicom's loop sleeps for a millisecond,
        in which the next one has arrived. The loop goes round, and looks after all else, once none came in time, or
        when it is to end or to pause.
        """
        while True:
            try:
                context_id, message = self.msg_queue.get(timeout=self.dimse_timeout if block else _LOOK_UP_S)
            except queue.Empty:
                return None, None
            if isinstance(message, C_STORE) and message.DataSet is None:
                message.DataSet = BytesIO()  # a request without a data set would not be answered at all
            goes_on = self.assoc._reactor_checkpoint.is_set() and not self.assoc._kill
            if block or not goes_on or not isinstance(message, C_STORE):
                return context_id, message
            self.assoc._serve_request(message, cast(int, context_id))

    def send_msg(self, primitive: Any, context_id: int) -> None:
        """Send a message. The one that a sender waits for after each instance is not made by way of a data set."""
        if isinstance(primitive, C_STORE) and primitive.Status == _SUCCESS:
            command = _store_success(primitive)
            if not self.maximum_pdu_size or len(command) + _PDV_HEAD_BYTES <= self.maximum_pdu_size:
                fragment = P_DATA()
                values: list[Any] = [[context_id, _LAST_COMMAND_FRAGMENT + command]]
                fragment.presentation_data_value_list = values
                self.dul.send_pdu(fragment)
                return
        super().send_msg(primitive, context_id)


def _store_success(answer: C_STORE) -> bytes:
    """The command set of a C-STORE response (PS3.7 9.3.1.2), in Implicit VR Little Endian (PS3.7 6.3.1)."""
    elements = b"".join(
        (
            _command_element(0x0002, _uid(answer.AffectedSOPClassUID)),
            _command_element(0x0100, b"\x01\x80"),  # C-STORE-RSP
            _command_element(0x0120, struct.pack("<H", answer.MessageIDBeingRespondedTo)),
            _command_element(0x0800, b"\x01\x01"),  # no data set
            _command_element(0x0900, struct.pack("<H", _SUCCESS)),
            _command_element(0x1000, _uid(answer.AffectedSOPInstanceUID)),
        )
    )
    return _command_element(0x0000, struct.pack("<I", len(elements))) + elements


def _command_element(element: int, value: bytes) -> bytes:
    return struct.pack("<HHI", 0, element, len(value)) + value


def _uid(uid: str | None) -> bytes:
    value = str(uid or "").encode("ascii")
    return value + b"\x00" * (len(value) % 2)
