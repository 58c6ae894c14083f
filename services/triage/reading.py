"""How far the reading of a study is, and where it stands among those that wait for a person."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from services.triage.job import OrderPriority

AGEING = timedelta(hours=8)
"""So long a wait, a shift, counts as one step in the list: routine studies never starve. Nothing ages past STAT."""

_FLAGS = 3
_STAT_FIRST_S = 1e10  # three centuries


def rank(priority: OrderPriority, urgency: int, received_at: datetime) -> float:
    """The place in the work list, in seconds: the smallest is first. It never changes by waiting alone.

    urgency: the AI's flag, 0 urgent, 1 elevated, 2 neither, or no result. The steps, the order's priority before the
    flag: high urgent, high elevated, high, routine urgent, routine elevated, routine; STAT stands before them all.
    """
    place = (received_at + urgency * AGEING).timestamp()
    if priority is OrderPriority.STAT:
        return place - _STAT_FIRST_S
    return place + (priority - OrderPriority.HIGH) * _FLAGS * AGEING.total_seconds()


class ReadingAction(StrEnum):
    """What a person does in the list."""

    TAKEN = "taken"
    RELEASED = "released"
    READ = "read"
    REOPENED = "reopened"


class ReadingState(StrEnum):
    """unread; taken: somebody reads it; read: the reader's part is done."""

    UNREAD = "unread"
    TAKEN = "taken"
    READ = "read"


class ReadAgain(StrEnum):
    """Why a study that was read is unread again: images came since, or the AI's first flag on them did."""

    NEW_IMAGES = "new_images"
    FLAGGED = "flagged"


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadingStep:
    """One thing that one person did. A verdict on the study that stands counts as READ, of the images of its result."""

    action: ReadingAction
    reader: str
    at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """Where a study stands. reader: who has taken or read it, since when; '' where it is nobody's."""

    state: ReadingState = ReadingState.UNREAD
    reader: str = ""
    since: datetime | None = None
    again: ReadAgain | None = None


UNREAD = Reading()


def reading_of(steps: Iterable[ReadingStep], *, last_image_at: datetime | None, flagged_at: datetime | None) -> Reading:
    """The newest step decides; of two at one moment the later one.

    last_image_at: of the images that are there now. flagged_at: when the AI flagged them for the first time, None where
    it did not. What came after the reading nobody has seen: then the study is unread again.
    """
    newest = None
    for step in steps:
        if newest is None or step.at >= newest.at:
            newest = step
    if newest is None or newest.action in (ReadingAction.RELEASED, ReadingAction.REOPENED):
        return UNREAD
    if newest.action is ReadingAction.TAKEN:
        return Reading(state=ReadingState.TAKEN, reader=newest.reader, since=newest.at)
    for came_at, again in ((last_image_at, ReadAgain.NEW_IMAGES), (flagged_at, ReadAgain.FLAGGED)):
        if came_at is not None and came_at > newest.at:
            return Reading(again=again)
    return Reading(state=ReadingState.READ, reader=newest.reader, since=newest.at)
