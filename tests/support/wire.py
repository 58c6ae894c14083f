"""PDUs made and read byte by byte (PS3.8 9.3), for peers that speak to a bare socket."""

import socket
import struct

from pynetdicom import build_context
from pynetdicom.dimse_messages import C_ECHO_RQ
from pynetdicom.dimse_primitives import C_ECHO
from pynetdicom.pdu import A_ASSOCIATE_RQ, A_RELEASE_RQ, P_DATA_TF
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    MaximumLengthNotification,
)

VERIFICATION = "1.2.840.10008.1.1"
_MAXIMUM_LENGTH = 16382


def echo_association_request(application_context: str = "1.2.840.10008.3.1.1.1") -> bytes:
    """An A-ASSOCIATE-RQ for Verification alone, presentation context 1."""
    request = A_ASSOCIATE()
    request.application_context_name = application_context
    request.calling_ae_title, request.called_ae_title = "RAW", "VIGIE"
    length, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    length.maximum_length_received = _MAXIMUM_LENGTH
    implementation.implementation_class_uid = "1.2.3"
    request.user_information = [length, implementation]
    context = build_context(VERIFICATION)
    context.context_id = 1
    request.presentation_context_definition_list = [context]
    pdu = A_ASSOCIATE_RQ()
    pdu.from_primitive(request)
    return bytes(pdu.encode())


def c_echo_request(message_id: int) -> bytes:
    """The command set of a C-ECHO request."""
    request = C_ECHO()
    request.MessageID, request.AffectedSOPClassUID = message_id, VERIFICATION
    message = C_ECHO_RQ()
    message.primitive_to_message(request)
    (fragment,) = message.encode_msg(1, _MAXIMUM_LENGTH)
    return bytes(fragment.presentation_data_value_list[0][1])


def p_data(value: bytes) -> bytes:
    """A P-DATA-TF of one presentation data value, message control header included, in context 1."""
    item = struct.pack(">IB", len(value) + 1, 1) + value
    return struct.pack(">BBI", P_DATA_TF().pdu_type, 0, len(item)) + item


def release_request() -> bytes:
    """An A-RELEASE-RQ."""
    return bytes(A_RELEASE_RQ().encode())


def read_pdu(connection: socket.socket) -> tuple[int, bytes]:
    """Type and content of the next PDU. Raises ConnectionError when the connection ends before."""
    kind, _, length = struct.unpack(">BBI", _exactly(connection, 6))
    return kind, _exactly(connection, length)


def _exactly(connection: socket.socket, count: int) -> bytes:
    received = b""
    while len(received) < count:
        arrived = connection.recv(count - len(received))
        if not arrived:
            raise ConnectionError("the connection ended")
        received += arrived
    return received
