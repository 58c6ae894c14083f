"""When a study is complete, and which late instance opens a new version of it.

A study is complete when nothing came for the quiet period. Where they are asked for or sent, a PACS's count, an MPPS or
an Instance Availability Notification can make that earlier or later (`decide`), but only for a time that is settable:
whoever is silent, wrong or away, no study waits for ever, and its history says what it was completed on.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from services.triage.errors import Reason
from services.triage.study import InstanceHeader

OWN_MANUFACTURER = "Vigie"

# Only these modalities can be segmented; reports, key objects, presentation states, dose reports, secondary
# captures and segmentations (SR, KO, PR, DOC, SEG, REG, OT, ...) never open a version (PS3.3 C.7.3.1.1.1).
ROUTABLE_MODALITIES = frozenset({"CT", "MR", "PT", "NM", "CR", "DX", "MG", "US", "XA", "RF"})


def is_routable(header: InstanceHeader) -> bool:
    """Whether an instance is an image that routing may look at: pixels, an imaging modality, and not our own."""
    return (
        header.has_pixel_data
        and header.modality in ROUTABLE_MODALITIES
        and not header.manufacturer.startswith(OWN_MANUFACTURER)
    )


def is_quiet(last_instance_at: datetime, now: datetime, quiet_period: timedelta) -> bool:
    """Whether nothing arrived for the quiet period."""
    return now - last_instance_at >= quiet_period


class Inquired(StrEnum):
    """What came of asking a PACS how much it has of a study."""

    ALL_HERE = "all_here"
    """no image is there that is not here, as far as numbers tell"""
    MORE = "more"
    UNKNOWN = "unknown"
    """the PACS does not know the study"""
    UNREACHABLE = "unreachable"
    NOT_ASKED = "not_asked"
    """no PACS is set up for those who sent the study"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """The newest answer about a version as it is now; `text` is for people."""

    outcome: Inquired
    text: str


class Announcer(StrEnum):
    """What announces the instances of a study."""

    MPPS = "mpps"
    """Modality Performed Procedure Step (PS3.4 annex F), once COMPLETED"""
    IAN = "ian"
    """Instance Availability Notification (PS3.4 annex R) of instances that are all ONLINE"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Announced:
    """What MPPS and IAN say of a version that no earlier version had. missing: of `instances`, those not here yet.

    in_progress: another step of the study goes on.
    """

    by: Announcer
    instances: int
    missing: int
    in_progress: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """All that is known of whether a receiving version is complete."""

    last_image_at: datetime
    completion_asked: bool = False
    answer: Answer | None = None
    announced: Announced | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    """How long is waited: for the next image; for a PACS that does not answer; for what is missing.

    grace: None where no PACS is asked. since: when whoever waits began to; the grace does not begin before.
    """

    quiet_period: timedelta
    grace: timedelta | None
    longest_wait: timedelta
    since: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Completion:
    """A version is complete now; `said`: on what, for its history, where it is not the quiet period alone."""

    said: Reason | None = None


def decide(evidence: Evidence, *, now: datetime, patience: Patience) -> Completion | None:
    """Whether a version is complete; None: it waits.

    Who asks for completion has the first word, then an announcement of which everything is here. After the quiet period
    an announcement, or a PACS, of which something is missing here holds it for the longest wait after its last image.
    """
    if evidence.completion_asked:
        return Completion()
    announced, answer = evidence.announced, evidence.answer
    if announced is not None and not announced.missing and not announced.in_progress:
        return _completion(_ANNOUNCED[announced.by], f"all {announced.instances} instances that it names are here")
    if not is_quiet(evidence.last_image_at, now, patience.quiet_period):
        return None
    patient = now - evidence.last_image_at < max(patience.longest_wait, patience.quiet_period)
    if announced is not None and announced.missing:
        text = f"{announced.missing} of {announced.instances} instances that {announced.by.upper()} names did not come"
        return None if patient else _completion("instances_missing", text)
    if patience.grace is None:
        return Completion()
    if answer is None or answer.outcome is Inquired.UNREACHABLE:
        asked_since = max(evidence.last_image_at + patience.quiet_period, patience.since)
        text = answer.text if answer else "the PACS has not answered in time"
        return None if now < asked_since + patience.grace else _completion("pacs_unreachable", text)
    if answer.outcome is Inquired.MORE:
        return None if patient else _completion("pacs_has_more", answer.text)
    if answer.outcome is Inquired.NOT_ASKED:
        return Completion()
    return _completion("pacs_agrees" if answer.outcome is Inquired.ALL_HERE else "pacs_unknown", answer.text)


_ANNOUNCED = {Announcer.MPPS: "mpps_completed", Announcer.IAN: "ian_online"}


def _completion(code: str, text: str) -> Completion:
    return Completion(said=Reason(code=code, text=text))
