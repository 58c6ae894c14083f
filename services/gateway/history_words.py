"""The lines of a history in the language of the page; what is no sentence of ours stays as it was written."""

import re

from services.gateway.language import noted
from services.gateway.language import translated as _
from services.gateway.reason_words import REASON_WORDS, Told, reason_words
from services.gateway.verdict_words import ANSWERS, REASONS
from services.triage.errors import Reason
from services.triage.finding import Outcome
from services.triage.job import JobState
from services.triage.reading import ReadingAction
from services.triage.result import DeliveryState
from services.triage.study import Event, StudyState
from services.triage.verdict import Answer

WHAT = {
    StudyState.RECEIVING: noted("Images arrive"),
    StudyState.COMPLETE: noted("Complete"),
    "completion_asked": noted("Completion asked for"),
    "waits_for_pacs": noted("Waits for the PACS"),
    "mpps_completed": noted("The machine says that it is complete (MPPS)"),
    "ian_online": noted("The PACS says that it is there (IAN)"),
    "instances_missing": noted("Announced instances did not come"),
    "pacs_agrees": noted("The PACS has no more"),
    "pacs_has_more": noted("The PACS has more"),
    "pacs_unknown": noted("The PACS does not know the study"),
    "pacs_unreachable": noted("The PACS could not be reached"),
    "conflict": noted("One UID with two contents"),
    "older_content": noted("An older content came again; the newer holds"),
    "patient_data": noted("Patient data changed"),
    "results_stand": noted("Earlier results stand"),
    "moved": noted("Moved"),
    "images_deleted": noted("Images deleted"),
    JobState.QUEUED: noted("Queued"),
    JobState.ANALYSING: noted("Analysing"),
    JobState.FROZEN: noted("Frozen"),
    JobState.CANCELLED: noted("Cancelled"),
    "postponed": noted("Postponed"),
    "kept_back": noted("Kept back"),
    "superseded": noted("Superseded"),
    "nothing_to_deliver": noted("Nothing to deliver"),
    "recalled": noted("Recalled"),
    "blind_hold": noted("Withheld"),
    "blind_read": noted("Withheld no more"),
    "blind_expired": noted("Withheld no more"),
    "blind_switched_off": noted("Withheld no more"),
    "review_scheduled": noted("Review asked for"),
    "review_in_progress": noted("Review claimed"),
    "review_completed": noted("Review completed"),
    "review_canceled": noted("Review cancelled"),
    DeliveryState.PENDING: noted("To be sent"),
    DeliveryState.SENT: noted("Sent"),
    DeliveryState.COMMITTED: noted("Committed"),
    DeliveryState.GIVEN_UP: noted("Given up"),
    "try_failed": noted("A try failed"),
    "commitment_asked": noted("Storage commitment asked for"),
    "commitment_decided": noted("Storage commitment decided"),
    "commitment_reported": noted("Storage commitment reported"),
    "commitment_not_reported": noted("Storage commitment not reported"),
    ReadingAction.TAKEN: noted("Taken"),
    ReadingAction.RELEASED: noted("Given back"),
    ReadingAction.READ: noted("Read"),
    ReadingAction.REOPENED: noted("Opened again"),
    "verdict_document": noted("Answers became a document"),
    **{f"verdict_{answer}": words for answer, words in ANSWERS.items()},
}

_OUTCOMES: dict[str, str] = {
    Outcome.FOUND: noted("found"),
    Outcome.EQUIVOCAL: noted("equivocal"),
    Outcome.NOTHING_FOUND: noted("nothing found"),
    Outcome.NOT_ANALYSED: noted("not analysed"),
    Outcome.FAILED: noted("failed"),
}
_CODES_OF: dict[str, dict[str, str]] = {
    JobState.FROZEN: _OUTCOMES,
    f"verdict_{Answer.REJECT}": {str(reason): words for reason, words in REASONS.items()},
}

# texts of the store, by the pattern that each is written in
_SENTENCES = {
    re.compile(pattern): words
    for pattern, words in (
        (r"an image arrived", noted("an image arrived")),
        (r"patient data changed", noted("patient data changed")),
        (r"patient or order data changed", noted("patient or order data changed")),
        (r"restored", noted("the data were restored from a backup")),
        (r"(?P<days>[0-9.]+) days old", noted("{days} days old")),
        (r"disk nearly full, (?P<days>[0-9.]+) days old", noted("disk nearly full, {days} days old")),
        (r"a new analysis was asked for", noted("a new analysis was asked for")),
        (r"its result was recalled", noted("its result was recalled")),
        (r"asked for again", noted("asked for again")),
        (r"own assessment given", noted("own assessment given")),
        (r"read without blind assessment", noted("read without blind assessment")),
        (r"blind-first mode is off", noted("blind-first mode is off")),
        (r"(?P<count>\d+) instances", noted("{count} instances")),
        (r"attempt (?P<number>\d+)", noted("attempt {number}")),
        (r"attempt (?P<number>\d+), version (?P<version>.+)", noted("attempt {number}, version {version}")),
        (r"version (?P<number>\d+) was opened", noted("version {number} was opened")),
        (r"lease of (?P<worker>.+) ran out", noted("{worker} was heard of no more")),
        (r"until (?P<time>\d\d:\d\d) UTC", noted("until {time} UTC")),
        (r"by result (?P<result>[0-9a-f]+)", noted("by result {result}")),
        (r"to tenant (?P<tenant>.+)", noted("to tenant {tenant}")),
        (r"transaction (?P<uid>[0-9.]+)", noted("transaction {uid}")),
    )
}
_CODED = re.compile(r"(?P<text>.*) \[(?P<code>[a-z_]+)\]", re.DOTALL)
_NAMING = frozenset({JobState.QUEUED, DeliveryState.PENDING, DeliveryState.SENT, "verdict_document", "conflict"})
"""Events whose cause is a name, which has no language."""


def what_words(event: Event) -> Told:
    """What happened; the event's own word where it has none of ours."""
    words = WHAT.get(event.what) or REASON_WORDS.get(event.what)
    return Told(words=_(words)) if words else Told(english=event.what)


def cause_words(event: Event) -> Told:
    """Why."""
    cause = event.cause
    if coded := _CODED.fullmatch(cause):
        return reason_words(Reason(code=coded["code"], text=coded["text"]))
    if words := {**REASON_WORDS, **_CODES_OF.get(event.what, {})}.get(cause):
        return Told(words=_(words))
    for pattern, words in _SENTENCES.items():
        if found := pattern.fullmatch(cause):
            return Told(words=_(words).format(**found.groupdict()))
    return Told(words=cause) if event.what in _NAMING else Told(english=cause)
