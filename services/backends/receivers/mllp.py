"""HL7 v2 messages to one receiver over MLLP, and what its acknowledgement means (HL7 chapter 2, 2.9.2 and 2.9.3)."""

import asyncio
import ssl
from dataclasses import dataclass
from typing import NoReturn

import hl7
from hl7.exceptions import HL7Exception
from hl7.mllp import InvalidBlockError, open_hl7_connection

from services.backends.receivers.hl7_oru import control_id, oru_message
from services.backends.receivers.source import values_of
from services.backends.receivers.tables import Hl7Table, split_host_port
from services.backends.senders.link import Link
from services.triage.errors import DestinationRefused, DestinationUnavailable
from services.triage.notification import Notification
from services.triage.ports import StudyFiles

_TAKEN = frozenset({"AA", "CA"})
_REFUSALS = frozenset({"AE", "CE", "AR", "CR"})
# HL7 table 0357: what may pass, and what is wrong with the message itself
_PASSING = frozenset({"206", "207"})
_LASTING = frozenset({"100", "101", "102", "103", "200", "201", "202", "203", "204", "205"})
# Without such a code: an application's error (AE) and a header that nobody wants (CR) stay; the others are told of a
# receiver that cannot take anything now.
_LASTING_ANSWERS = frozenset({"AE", "CR"})


@dataclass(frozen=True, kw_only=True)
class MllpNotifier:
    """Sends each notification on a connection of its own."""

    site: Hl7Table
    link: Link
    files: StudyFiles

    def notify(self, notification: Notification) -> None:
        """See Notifier."""
        message = oru_message(notification, values_of(notification, self.files), self.site)
        try:
            # a character that the receiver's set has not is better lost than the message
            answer = asyncio.run(self._exchange(message.encode(self.site.encoding, "replace")))
        except TimeoutError as error:
            raise DestinationUnavailable(f"{self.site.address} did not answer in time") from error
        except (OSError, EOFError, ValueError, InvalidBlockError) as error:
            raise DestinationUnavailable(f"{self.site.address}: {_obstacle(error)}") from error
        judge(answer.decode(self.site.encoding, "replace"), control_id(notification), self.site.address)

    async def _exchange(self, message: bytes) -> bytes:
        host, port = split_host_port(self.site.address)
        tls = self.link.tls.context() if self.link.tls else None
        async with asyncio.timeout(self.link.connect_timeout_s):
            reader, writer = await open_hl7_connection(host, port, ssl=tls, server_hostname=host if tls else None)
        try:
            async with asyncio.timeout(self.link.answer_timeout_s):
                writer.writeblock(message)
                await writer.drain()
                return bytes(await reader.readblock())
        finally:
            writer.close()


def judge(answer: str, control: str, peer: str) -> None:
    """Return if the receiver has the message. Raises DestinationUnavailable (not now), DestinationRefused (never)."""
    try:
        acknowledgement = hl7.parse(answer.replace("\n", "\r"))
        msa = acknowledgement.segment("MSA")
        code, about = str(msa[1]), str(msa[2])
    except (HL7Exception, KeyError, IndexError, ValueError) as error:
        raise DestinationUnavailable(f"{peer} answered what is no acknowledgement") from error
    if about != control:
        raise DestinationUnavailable(f"{peer} acknowledged another message")
    if code in _TAKEN:
        return
    if code not in _REFUSALS:
        raise DestinationUnavailable(f"{peer} acknowledged with a code that HL7 does not know")
    _refuse(code, _error_code(acknowledgement), peer)


def _refuse(code: str, error_code: str, peer: str) -> NoReturn:
    text = f"{peer} answered {code}{f', error {error_code}' if error_code else ''}"
    lasting = error_code in _LASTING or (error_code not in _PASSING and code in _LASTING_ANSWERS)
    if lasting:
        raise DestinationRefused("message_refused", f"{text}: it will not take this message")
    raise DestinationUnavailable(f"{text}: it cannot take it now")


def _error_code(acknowledgement: hl7.Message) -> str:
    """The code of table 0357: ERR-3 since v2.5, before it ERR-1.4 or MSA-6. Never the text: it may tell anything."""
    for segment, field, component in (("ERR", 3, 0), ("ERR", 1, 3), ("MSA", 6, 0)):
        try:
            first = str(acknowledgement.segment(segment)[field]).partition("~")[0]
            found = first.split("^")[component].partition("&")[0]
        except (KeyError, IndexError):
            continue
        if found in _PASSING | _LASTING:
            return found
    return ""


def _obstacle(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS fails: {error.reason}"
    return f"it cannot be reached: {type(error).__name__}" if isinstance(error, OSError) else "its answer is no MLLP"
