"""A C-STORE client on a bare socket: it sends whatever it is given, and says what was answered."""

import socket
import struct
from io import BytesIO
from itertools import pairwise
from random import Random
from typing import Self

from pydicom.uid import CTImageStorage
from pynetdicom import build_context
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import A_ASSOCIATE, ImplementationClassUIDNotification, MaximumLengthNotification

from fuzz.service import AE_TITLE
from tests.support.wire import read_pdu, release_request

ANSWER_WITHIN_S = 20.0
_ASSOCIATE_AC, _P_DATA, _RELEASE_RP = 2, 4, 6
_STATUS = 0x0900
_COMMAND_BYTES = 4096  # more than any of our commands takes


class Refused(ConnectionError):
    """The association was not accepted."""


class Scu:
    """An association. Its methods raise OSError where the door hangs up, or does not answer in ANSWER_WITHIN_S."""

    def __init__(self, port: int, transfer_syntaxes: list[str]) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=ANSWER_WITHIN_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._contexts = {syntax: 2 * number + 1 for number, syntax in enumerate(transfer_syntaxes)}
        self._socket.sendall(association_request(self._contexts))
        kind, content = read_pdu(self._socket)
        if kind != _ASSOCIATE_AC:
            raise Refused(f"PDU {kind}")
        accepted = A_ASSOCIATE_AC()
        accepted.decode(struct.pack(">BBI", kind, 0, len(content)) + content)
        if any(one.result for one in accepted.presentation_context):
            raise Refused("a presentation context was rejected")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def store(
        self,
        data_set: bytes,
        *,
        sop_class_uid: str,
        sop_instance_uid: str,
        transfer_syntax: str,
        dice: Random | None = None,
    ) -> int:
        """Send one request, its fragments cut by the dice; answers the status."""
        context = self._contexts[transfer_syntax]
        command = _value(context, 3, store_command(sop_class_uid, sop_instance_uid, has_data_set=bool(data_set)))
        fragments = list(_fragments(data_set, dice))
        values = [_value(context, 2 if each is fragments[-1] else 0, each) for each in fragments]
        self._socket.sendall(_pdu(command) + b"".join(map(_pdu, values)))
        kind, content = read_pdu(self._socket)
        if kind != _P_DATA:
            raise ConnectionError(f"answered by PDU {kind}")
        return _status(content)

    def release(self) -> None:
        """End it as one should."""
        self._socket.sendall(release_request())
        if read_pdu(self._socket)[0] != _RELEASE_RP:
            raise ConnectionError("the release was not answered")

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


def association_request(contexts: dict[str, int], *, calling: str = AE_TITLE) -> bytes:
    """An A-ASSOCIATE-RQ for CT images in these transfer syntaxes, each a context of its own."""
    request = A_ASSOCIATE()
    request.application_context_name = "1.2.840.10008.3.1.1.1"
    request.calling_ae_title, request.called_ae_title = calling, "VIGIE"
    length, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    length.maximum_length_received = 0
    implementation.implementation_class_uid = "1.2.3"
    request.user_information = [length, implementation]
    proposed = []
    for syntax, number in contexts.items():
        context = build_context(CTImageStorage, syntax)
        context.context_id = number
        proposed.append(context)
    request.presentation_context_definition_list = proposed
    pdu = A_ASSOCIATE_RQ()
    pdu.from_primitive(request)
    return bytes(pdu.encode())


def store_command(sop_class_uid: str, sop_instance_uid: str, *, has_data_set: bool = True) -> bytes:
    """The command set of a C-STORE request."""
    request = C_STORE()
    request.MessageID, request.Priority = 1, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = sop_class_uid, sop_instance_uid
    request.DataSet = BytesIO(b"x") if has_data_set else None
    message = C_STORE_RQ()
    message.primitive_to_message(request)
    first = next(message.encode_msg(1, _COMMAND_BYTES))
    return bytes(first.presentation_data_value_list[0][1][1:])


def _fragments(data_set: bytes, dice: Random | None) -> list[bytes]:
    if dice is None or dice.random() < 0.7:
        return [data_set] if data_set else []
    cuts = sorted({0, len(data_set), *(dice.randrange(len(data_set) + 1) for _ in range(dice.randrange(6)))})
    return [data_set[start:end] for start, end in pairwise(cuts)]


def _value(context: int, control: int, content: bytes) -> bytes:
    return struct.pack(">IBB", len(content) + 2, context, control) + content


def _pdu(value: bytes) -> bytes:
    return struct.pack(">BBI", _P_DATA, 0, len(value)) + value


def _status(pdu: bytes) -> int:
    """Of a response's command set, Implicit VR Little Endian (PS3.7 6.3.1)."""
    command, at = pdu[6:], 0
    while at + 8 <= len(command):
        _, element, length = struct.unpack_from("<HHI", command, at)
        if element == _STATUS:
            return int(struct.unpack_from("<H", command, at + 8)[0])
        at += 8 + length
    raise ConnectionError("an answer without a status")
