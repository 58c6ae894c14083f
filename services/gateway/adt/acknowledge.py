"""Acknowledgements (HL7 v2 chapter 2, MSA and ERR)."""

from datetime import datetime
from uuid import uuid4

from services.gateway.adt.message import Header
from services.triage.errors import MessageRefused, Reason

INTERNAL_ERROR = 207
_CONDITIONS = {
    0: "Message accepted",
    100: "Segment sequence error",
    101: "Required field missing",
    102: "Data type error",
    103: "Table value not found",
    200: "Unsupported message type",
    201: "Unsupported event code",
    203: "Unsupported version id",
    207: "Application internal error",
}
_WANTED = frozenset({"AL", "ER", "SU"})  # HL7 table 0155


def accepted(header: Header, *, now: datetime, note: Reason | None = None) -> bytes:
    """Accept: what the message says is in the database. note: what its sender may want to know (severity I)."""
    errors = [_error(header, 0, "PID^1^3", "I", note)] if note else []
    return _acknowledgement(header, "A", now, note.text if note else "", errors)


def refused(header: Header, refusal: MessageRefused, *, now: datetime) -> bytes:
    """Error or reject: the message as it is will never be taken."""
    error = _error(header, refusal.condition, refusal.location, "E", refusal.reason)
    return _acknowledgement(header, refusal.acknowledgement, now, refusal.reason.text, [error])


def try_again(header: Header, reason: Reason, *, now: datetime) -> bytes:
    """Reject for a cause that is not in the message: it is to be sent again."""
    error = _error(header, INTERNAL_ERROR, "", "E", reason)
    return _acknowledgement(header, "R", now, f"{reason.text}: send the message again", [error])


def _acknowledgement(header: Header, code: str, now: datetime, text: str, errors: list[list[str]]) -> bytes:
    """AA, AE or AR; in the enhanced mode the one answer is the accept acknowledgement, CA, CE or CR."""
    mode = "C" if header[15] in _WANTED else "A"
    component = header.encoding_characters[0]
    event = header.component(9, 2)
    kind = component.join(["ACK", event, "ACK"]) if event else "ACK"
    fields = [header[5], header[6], header[3], header[4], f"{now.astimezone():%Y%m%d%H%M%S%z}", "", kind]
    fields += [uuid4().hex[:20], header[11] or "P", header[12] or "2.5", "", "", "", "", "", header[18]]
    lines = [
        [f"MSH{header.separator}{header.encoding_characters}", *fields],
        ["MSA", f"{mode}{code}", header[10], _plain(header, text)],
        *errors,
    ]
    return "".join(f"{header.separator.join(line)}\r" for line in lines).encode("latin-1")


def _error(header: Header, condition: int, location: str, severity: str, reason: Reason) -> list[str]:
    component = header.encoding_characters[0]
    code = component.join([str(condition), _CONDITIONS[condition], "HL70357"])
    ours = component.join([reason.code, reason.code, "L"])
    return ["ERR", "", location.replace("^", component), code, severity, ours, "", "", _plain(header, reason.text)]


def _plain(header: Header, text: str) -> str:
    """Our own words, without what this message takes for delimiters."""
    return "".join(" " if each in header.separator + header.encoding_characters else each for each in text)
