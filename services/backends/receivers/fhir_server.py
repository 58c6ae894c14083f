"""Transactions to one FHIR server."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx

from services.backends.receivers.fhir_entries import Resource, search
from services.backends.receivers.fhir_r4b import transaction
from services.backends.receivers.fhir_reviews import concerned, review_identifier
from services.backends.receivers.source import values_of
from services.backends.receivers.tables import FhirTable
from services.backends.senders.link import Link, Tls
from services.backends.web import answer_of, auth_from, client, credentials
from services.triage.errors import DestinationRefused, DestinationUnavailable
from services.triage.notification import Notification
from services.triage.ports import StudyFiles

_FHIR_JSON = "application/fhir+json"
_CONFLICT = "409"  # somebody else changes the same resources at this moment
_PRECONDITION_FAILED = "412"  # as of one that was changed since we read it


@dataclass(frozen=True, kw_only=True)
class FhirNotifier:
    """Posts each notification as one transaction. credentials: a TOML file with a table by the receiver's name."""

    name: str
    site: FhirTable
    link: Link
    files: StudyFiles
    credentials: Path | None = None

    def notify(self, notification: Notification) -> None:
        """See Notifier."""
        with client(
            tls=(self.link.tls or Tls()).context(),
            auth=auth_from(credentials(self.credentials, self.name)),
            timeout=httpx.Timeout(self.link.answer_timeout_s, connect=self.link.connect_timeout_s),
        ) as server:
            reviews = self._reviews(server, notification)
            content = transaction(notification, values_of(notification, self.files), self.site, reviews).encode()
            headers = {"Content-Type": _FHIR_JSON, "Accept": _FHIR_JSON, "Prefer": "return=minimal"}
            answer = self._ask(lambda: server.post(self.site.address, content=content, headers=headers))
            failed = _failed(answer) if answer.is_success else {str(answer.status_code)}
            # it says, too, that there are two of what we identify, and no other try mends that
            is_outrun = _PRECONDITION_FAILED in failed and self._reviews(server, notification) != reviews
        if is_outrun or _CONFLICT in failed:
            raise DestinationUnavailable(f"{self.site.address} {_told(failed)}: its resources change at this moment")
        if failed:
            raise DestinationRefused("message_refused", f"{self.site.address} {_told(failed)}")

    def _reviews(self, server: httpx.Client, notification: Notification) -> dict[str, list[Resource]]:
        """The Tasks for the reviews that are concerned, as people have left them."""
        return {result_id: self._review(server, result_id) for result_id in concerned(notification)}

    def _review(self, server: httpx.Client, result_id: str) -> list[Resource]:
        identifier = review_identifier(result_id, self.site)
        # a server may refuse a bare | in a request's first line
        query = search({"resourceType": "Task", "identifier": [identifier]}).replace("|", "%7C")
        # a server may answer a search by what it found a minute ago
        headers = {"Accept": _FHIR_JSON, "Cache-Control": "no-cache"}
        answer = self._ask(lambda: server.get(f"{self.site.address}/Task?{query}", headers=headers))
        if not answer.is_success:
            text = f"{self.site.address} {_told({str(answer.status_code)})} to the search for our Task"
            raise DestinationRefused("message_refused", text)
        found = [entry.get("resource", {}) for entry in _entries(answer)]
        # never another's, should it pass over what we search by
        return [one for one in found if one.get("resourceType") == "Task" and _has(one, identifier)]

    def _ask(self, request: Callable[[], httpx.Response]) -> httpx.Response:
        return answer_of(request, url=self.site.address, peer=self.site.address)


def _has(resource: Resource, identifier: Resource) -> bool:
    return any(identifier.items() <= one.items() for one in resource.get("identifier", []))


def _told(statuses: set[str]) -> str:
    return f"answered HTTP {', '.join(sorted(statuses))}"


def _failed(answer: httpx.Response) -> set[str]:
    """A transaction succeeds or fails as a whole; a server that took it as a batch has told each entry's fate."""
    statuses = [str(entry.get("response", {}).get("status", "")) for entry in _entries(answer)]
    return {status[:3] for status in statuses if status and not status.startswith("2")}


def _entries(answer: httpx.Response) -> list[Resource]:
    try:
        found: Resource = answer.json() if answer.content else {}
    except ValueError as error:
        raise DestinationUnavailable(f"{answer.url.host} answered what is no FHIR") from error
    return list(found.get("entry", []))
