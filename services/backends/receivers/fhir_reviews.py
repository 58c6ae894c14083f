"""The Tasks for review that a FHIR server holds: theirs who work on them, so they are read before they are changed."""

from collections.abc import Mapping, Sequence

from services.backends.receivers.fhir_entries import Resource, change
from services.backends.receivers.saying import withdrawal
from services.backends.receivers.tables import FhirTable
from services.triage.notification import Notification

Reviews = Mapping[str, Sequence[Resource]]
"""Tasks by the ID of the result that is to be reviewed."""

_ENDED = frozenset({"completed", "failed", "cancelled", "rejected", "entered-in-error"})


def concerned(notification: Notification) -> tuple[str, ...]:
    """The results on whose reviews hangs what a server is told."""
    return (*_ending(notification), *(notification.rewrites if notification.withdrawn is None else ()))


def review_identifier(result_id: str, site: FhirTable) -> Resource:
    """By which a server finds the Task for the review of a result."""
    return {"system": site.identifier_system, "value": f"review:{result_id}"}


def cancellations(notification: Notification, reviews: Reviews, server: str) -> list[Resource]:
    """Of a result that is replaced, or taken back, nobody need do the review any more, unless it has ended."""
    return [
        change(task | {"status": "cancelled", "statusReason": {"text": why}}, server)
        for result_id, why in _ending(notification).items()
        for task in reviews.get(result_id, ())
        if task.get("status") not in _ENDED
    ]


def is_reviewed(notification: Notification, reviews: Reviews) -> bool:
    """Whether the same was reviewed for good under other patient or order data."""
    tasks = (task for result_id in notification.rewrites for task in reviews.get(result_id, ()))
    return any(task.get("status") == "completed" for task in tasks)


def _ending(notification: Notification) -> dict[str, str]:
    """The results that stand no more, and why."""
    ending = {}
    if notification.earlier is not None:
        ending[notification.earlier.result_id] = "replaced by a newer result"
    if notification.withdrawn is not None:
        ending[notification.result.result_id] = withdrawal(notification.withdrawn)
    return ending
