"""One message in, its acknowledgement out: accept is said once what the message says is committed."""

import re
from dataclasses import dataclass
from datetime import datetime

import hl7
import structlog

from services.gateway.adt import acknowledge
from services.gateway.adt.message import (
    REQUIRED_FIELD_MISSING,
    UNSUPPORTED_EVENT,
    UNSUPPORTED_MESSAGE_TYPE,
    UNSUPPORTED_VERSION,
    Header,
    moment,
    parse,
    read_header,
    repetitions,
    segments,
)
from services.gateway.adt.message import at as value_at
from services.gateway.adt.patients import COUNTED, MERGES, OTHER, UPDATES, changes_of
from services.logs import where
from services.triage.errors import MessageRefused, Reason, TransientError
from services.triage.patient import IDENTIFIER_TYPES, AdtMessage, AdtOutcome, Stamp
from services.triage.ports import StudyFiles, StudyStore

log = structlog.get_logger(__name__)

_RETIRED = Reason(code="retired_id", text="an ID of the message was merged into another, whose patient data hold")
_UNFORESEEN = Reason(code="internal_error", text="an error that nobody foresaw; the message is kept for a person")
_UNKEPT = Reason(code="unkept", text="the message cannot be understood, and cannot be kept for a person either")
_EVENT = re.compile(r"[A-Z]\d\d")
_CONTROL_ID = re.compile(r"[\w.:-]{1,199}", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class AdtIntake:
    """Takes messages, one at a time.

    default_character_set: of those that tell none, by its name in HL7 table 0211. default_issuer: see `Register`.
    identifier_types: see `changes_of`.
    """

    store: StudyStore
    files: StudyFiles
    default_character_set: str = "ASCII"
    default_issuer: str = ""
    identifier_types: frozenset[str] = frozenset(IDENTIFIER_TYPES)

    def answer(
        self, message: bytes, *, received_from: str, now: datetime, cut_short: MessageRefused | None = None
    ) -> bytes:
        """The acknowledgement of a message, whatever it is; `cut_short`: why it did not come whole."""
        header = Header()
        try:
            header = read_header(message)
            return self._take(message, header, received_from, now, cut_short)
        except MessageRefused as error:
            return self._refuse(message, header, error, received_from, now)
        except TransientError as error:
            log.warning("adt_put_off", error=type(error).__name__)
            return acknowledge.try_again(header, error.reason, now=now)
        except Exception as error:  # noqa: BLE001 - the border: one message nobody foresaw must not stop the others
            log.error("unforeseen_error", **where(error))  # noqa: TRY400 - no values
            unforeseen = MessageRefused(_UNFORESEEN.code, _UNFORESEEN.text, condition=acknowledge.INTERNAL_ERROR)
            return self._refuse(message, header, unforeseen, received_from, now)

    def _refuse(
        self, message: bytes, header: Header, refusal: MessageRefused, received_from: str, now: datetime
    ) -> bytes:
        """Answer what cannot be taken. What is wrong in itself is kept for a person first, in quarantine."""
        is_wrong = refusal.acknowledgement == "E"
        event = header.component(9, 2)
        outcome = AdtOutcome.REFUSED if is_wrong else AdtOutcome.UNSUPPORTED
        log.warning("adt_refused", trigger_event=_known(event), code=refusal.reason.code, control_id=_loggable(header))
        try:
            if is_wrong:
                self.files.quarantine(message, reason=refusal.reason, received_from=received_from)
            self.store.count_message(event if event in COUNTED else OTHER, outcome)
        except TransientError as error:
            log.warning("adt_put_off", error=type(error).__name__)
            return acknowledge.try_again(header, error.reason, now=now)
        except OSError as error:
            log.error("quarantine_unwritable", error=type(error).__name__)  # noqa: TRY400 - no values
            return acknowledge.try_again(header, _UNKEPT, now=now)
        return acknowledge.refused(header, refusal, now=now)

    def _take(
        self, message: bytes, header: Header, received_from: str, now: datetime, cut_short: MessageRefused | None
    ) -> bytes:
        if cut_short is not None:
            raise cut_short
        event = _supported_event(header)
        parsed = parse(message, header, default_character_set=self.default_character_set)
        understood = AdtMessage(
            trigger_event=event,
            control_id=header[10],
            stamp=Stamp(at=_recorded_at(parsed, header, now), sender=_sender(header) or received_from),
            changes=changes_of(parsed, event, default_issuer=self.default_issuer, types=self.identifier_types),
        )
        done = self.store.reconcile_patients(understood, now=now)
        log.info(
            "adt_taken",
            trigger_event=event,
            outcome=done.outcome.value,
            studies=done.studies,
            control_id=_loggable(header),
        )
        return acknowledge.accepted(header, now=now, note=_RETIRED if done.retired else None)


def _supported_event(header: Header) -> str:
    kind, event = header.component(9, 1), header.component(9, 2)
    if kind != "ADT":
        _refuse_kind("message_type", "no message type but ADT is taken", UNSUPPORTED_MESSAGE_TYPE, "MSH^1^9^1^1")
    if event not in UPDATES | MERGES:
        taken = ", ".join(sorted(UPDATES | MERGES))
        _refuse_kind("event", f"no event is taken but {taken}", UNSUPPORTED_EVENT, "MSH^1^9^1^2")
    if not (header.component(12, 1) or "2").startswith("2"):
        _refuse_kind("version", "no version but 2.x is taken", UNSUPPORTED_VERSION, "MSH^1^12")
    if not header[10]:
        raise MessageRefused("no_control_id", "MSH-10 is empty", condition=REQUIRED_FIELD_MISSING, location="MSH^1^10")
    return event


def _refuse_kind(code: str, text: str, condition: int, location: str) -> None:
    raise MessageRefused(code, text, condition=condition, location=location, acknowledgement="R")


def _recorded_at(message: hl7.Message, header: Header, now: datetime) -> datetime:
    """EVN-2, else MSH-7, else now; a clock that is ahead of ours does not hold up what comes later."""
    told = [value_at(one, 1) for evn in segments(message, "EVN") for one in repetitions(evn, 2)]
    found = next((time for text in (*told, header.component(7, 1)) if (time := moment(text)) is not None), now)
    return min(found, now)


def _sender(header: Header) -> str:
    """Sending facility and application, as far as they are told."""
    return "/".join(filter(None, (header.component(4, 1), header.component(3, 1))))


def _known(event: str) -> str:
    """For the log: whatever a sender may write, this is an event's name."""
    return event if _EVENT.fullmatch(event) else OTHER


def _loggable(header: Header) -> str:
    return header[10] if _CONTROL_ID.fullmatch(header[10]) else ""
