"""pynetdicom's reactors, made to wait for what they need instead of looking for it every millisecond (PS3.8).

As it comes, pynetdicom sleeps a third of the time in which it receives a CT, and reads 4 kB at a time. It has no
setting for either, so these few methods are replaced; tests/gateway/test_door_*.py say when one no longer fits.
"""

import os
import queue
import select
import socket
import time
from collections.abc import Callable
from io import BytesIO
from typing import Any, cast

from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.transport import AssociationSocket

_CHUNK_BYTES = 1 << 20
_LOOK_UP_S = 0.01  # timers, and a release while waiting for a message, are seen so late


def make_waiting(association: Association) -> None:
    """Give an association that has its connection, and has not started, reactors that wait."""
    waiting = _WaitingSocket(cast(AssociationSocket, association.dul.socket))
    association.dul.socket = waiting
    association.dul.to_provider_queue = _WakingQueue(waiting.wake)
    association.dul._run_loop_delay = 0
    association.dimse = _WaitingProvider(association)


class _WaitingSocket(AssociationSocket):
    """Waits until data can be read or there is something to send, and reads what there is."""

    def __init__(self, plain: AssociationSocket) -> None:
        vars(self).update(vars(plain))  # takes the connection over; a second __init__ would announce it twice
        self._wake_reader, self._wake_writer = os.pipe()

    def wake(self) -> None:
        """Have the reactor look for what it has to send."""
        os.write(self._wake_writer, b"\x00")

    @property
    def ready(self) -> bool:
        """Whether data can be read."""
        if self.socket is None or not self._is_connected:
            time.sleep(_LOOK_UP_S)
            return False
        sources: list[Any] = [self.socket, self._wake_reader]
        readable = select.select(sources, [], [], _LOOK_UP_S)[0]
        if self._wake_reader in readable:
            os.read(self._wake_reader, 4096)
        return self.socket in readable

    def recv(self, nr_bytes: int) -> bytearray:
        """Exactly so many bytes, or fewer if the peer has gone. Memory grows with what comes, not with what is said."""
        received = bytearray()
        connection = cast(socket.socket, self.socket)
        while len(received) < nr_bytes:
            chunk = connection.recv(min(_CHUNK_BYTES, nr_bytes - len(received)))
            if not chunk:
                break
            received += chunk
        return received


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
        """The next message with its context ID; (None, None) if none came in time."""
        try:
            context_id, message = self.msg_queue.get(timeout=self.dimse_timeout if block else _LOOK_UP_S)
        except queue.Empty:
            return None, None
        if isinstance(message, C_STORE) and message.DataSet is None:
            message.DataSet = BytesIO()  # a request without a data set would not be answered at all
        return context_id, message
