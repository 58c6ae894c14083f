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
from pynetdicom.dimse_messages import C_STORE_RQ
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
_REQUEST_S = 30.0  # for the whole association request
_OTHER_PDU_BYTES = 1 << 20  # of any but P-DATA-TF, and of a command set: 128 contexts take 30 kB
_OTHER_MESSAGE_BYTES = 1 << 26  # of any message but an instance: a commitment of 400,000 instances
_PDU_SLACK_BYTES = 1 << 16
_MESSAGES_AHEAD = 4
_COMMAND = 0x01  # message control header (PS3.8 E.2)
_LOOK_UP_S = 0.01  # timers, and a release while waiting for a message, are seen so late
_P_DATA_TF, _DATA_TRANSFER = 0x04, "Sta6"
_CONNECTION_CLOSED, _INVALID_PDU = "Evt17", "Evt19"
_SUCCESS = 0x0000
_LAST_COMMAND_FRAGMENT = b"\x03"  # PS3.8 E.2
_PDU_HEAD_BYTES, _PDV_HEAD_BYTES = 6, 6


def make_waiting(association: Association, *, max_message_bytes: int) -> None:
    """Give an association that has its connection, and has not started, an upper layer that waits.

    max_message_bytes: of one message's data set; what comes beyond it is left out.
    """
    connection = cast(AssociationSocket, association.dul.socket)
    connection.__class__ = _WaitingSocket
    waiting = cast(_WaitingSocket, connection)
    waiting.wake_reader, waiting.wake_writer = os.pipe()
    waiting.ahead = bytearray()
    waiting.until = time.monotonic() + _REQUEST_S
    waiting.has_enough = lambda: association.dimse.msg_queue.qsize() >= _MESSAGES_AHEAD
    association.dul.to_provider_queue = _WakingQueue(waiting.wake)
    association.dul._run_loop_delay = 0
    association.dul.__class__ = _Reactor
    cast(_Reactor, association.dul).max_message_bytes = max_message_bytes
    association.dimse.__class__ = _WaitingProvider


class _WaitingSocket(AssociationSocket):
    """Waits until data can be read or there is something to send, and reads what there is."""

    wake_reader: int
    wake_writer: int
    ahead: bytearray
    """what was read to look at it, for the next `recv`"""
    until: float | None = None
    """the moment by which the association request must be here; None: it is"""
    has_enough: Callable[[], bool]
    """whether so many messages wait to be served that no more are read: who does not wait for answers waits then"""

    def wake(self) -> None:
        """Have the reactor look for what it has to send."""
        os.write(self.wake_writer, b"\x00")

    @property
    def ready(self) -> bool:
        """Whether data can be read."""
        if self.socket is None or not self._is_connected:
            time.sleep(_LOOK_UP_S)
            return False
        if self.has_enough():
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
        if self.ahead:
            known, self.ahead = self.ahead, bytearray()
            return known + self.recv(nr_bytes - len(known))
        return self._receive(nr_bytes, keep=nr_bytes)

    def recv_beginning(self, nr_bytes: int, *, keep: int) -> bytearray:
        """As `recv`, but of all that is read only the first `keep` bytes."""
        return self._receive(nr_bytes, keep=keep)

    def _receive(self, nr_bytes: int, *, keep: int) -> bytearray:
        connection = cast(socket.socket, self.socket)
        received, count, began = bytearray(min(_CHUNK_BYTES, keep)), 0, time.monotonic()
        left_out = bytearray(min(_CHUNK_BYTES, nr_bytes - keep))
        while count < nr_bytes:
            if count == len(received) and count < keep:
                received.extend(bytes(min(_CHUNK_BYTES, keep - count)))
            if self.until is not None:
                connection.settimeout(max(_LOOK_UP_S, self.until - time.monotonic()))
            place, start = (received, count) if count < keep else (left_out, 0)
            with memoryview(place) as view, view[start : start + nr_bytes - count] as free:
                arrived = connection.recv_into(free)
            if not arrived:
                break
            count += arrived
            latest = began + _PATIENCE_S + count / _SLOWEST_BYTES_PER_S if self.until is None else self.until
            if count < nr_bytes and time.monotonic() > latest:
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

    max_message_bytes: int

    def _read_pdu_data(self) -> None:
        connection = cast(_WaitingSocket, self.socket)
        if connection.until is not None and self.state_machine.current_state == _DATA_TRANSFER:
            connection.until = None
            cast(socket.socket, connection.socket).settimeout(self.network_timeout)
        try:
            head = connection.recv(_PDU_HEAD_BYTES)
            is_data = self._is_data(head)
            size = struct.unpack_from(">I", head, 2)[0] if len(head) == _PDU_HEAD_BYTES else 0
            if not is_data and size > _OTHER_PDU_BYTES:
                log.warning("pdu_too_long", pdu_type=head[0], bytes=size)
                self.event_queue.put(_INVALID_PDU)
                return
            if not is_data:
                connection.ahead = head
                super()._read_pdu_data()
                return
            most = min(size, self.max_message_bytes + _PDU_SLACK_BYTES)
            items = connection.recv_beginning(size, keep=most)
        except OSError:
            self.event_queue.put(_CONNECTION_CLOSED)
            return
        if len(items) < most:
            self.event_queue.put(_CONNECTION_CLOSED)
            return
        primitive = P_DATA()
        primitive.presentation_data_value_list = values = []
        try:
            values += _presentation_data_values(memoryview(items), size)
        except (struct.error, ValueError):
            self.event_queue.put(_INVALID_PDU)
            return
        if not self._keep_short(primitive):
            self.event_queue.put(_INVALID_PDU)
            return
        self.assoc.dimse.receive_primitive(primitive)

    def _keep_short(self, primitive: P_DATA) -> bool:
        """Leave out what makes an instance too long; False: another message, or a command set, is too long."""
        message = self.assoc.dimse.message
        commands = message.encoded_command_set.tell() if message else 0
        has = message.data_set.tell() if message and message.data_set else 0
        values = cast(list[Any], primitive.presentation_data_value_list)
        for place, (context_id, value) in enumerate(values):
            if value[0] & _COMMAND:
                commands += len(value) - 1
                continue
            short = value[: 1 + max(0, self.max_message_bytes - has)]
            values[place] = (context_id, short)
            has += len(short) - 1
        is_other = message is not None and message.context_id is not None and not isinstance(message, C_STORE_RQ)
        return commands <= _OTHER_PDU_BYTES and not (is_other and has > _OTHER_MESSAGE_BYTES)

    def _is_data(self, head: bytearray) -> bool:
        whole = len(head) == _PDU_HEAD_BYTES
        return whole and head[0] == _P_DATA_TF and self.state_machine.current_state == _DATA_TRANSFER


def _presentation_data_values(items: memoryview, size: int) -> list[Any]:
    """(Presentation Context ID, message control header and fragment) of each item; the bytes are not copied.

    size: of all items; where it is more than there are, the last is cut off. Raises struct.error, ValueError.
    """
    values = []
    while items:
        length = struct.unpack_from(">I", items)[0]
        is_cut = length == size - 4 > len(items) - 4
        if not (2 <= length <= len(items) - 4 or is_cut):
            raise ValueError("an item is longer than its PDU, or empty")
        values.append((items[4], items[5 : 4 + length]))
        items, size = items[4 + length :], size - 4 - length
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
