"""Transactions to one FHIR server."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from services.backends.receivers.fhir_r4b import transaction
from services.backends.receivers.source import values_of
from services.backends.receivers.tables import FhirTable
from services.backends.senders.link import Link, Tls
from services.backends.web import auth_from, credentials, post
from services.triage.errors import DestinationRefused, DestinationUnavailable
from services.triage.notification import Notification
from services.triage.ports import StudyFiles

_FHIR_JSON = "application/fhir+json"
_CONFLICT = 409  # somebody else changes the same resources at this moment


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
        bundle = transaction(notification, values_of(notification, self.files), self.site)
        answer = post(
            self.site.address,
            peer=self.site.address,
            content=bundle.encode(),
            headers={"Content-Type": _FHIR_JSON, "Accept": _FHIR_JSON, "Prefer": "return=minimal"},
            tls=(self.link.tls or Tls()).context(),
            auth=auth_from(credentials(self.credentials, self.name)),
            timeout=httpx.Timeout(self.link.answer_timeout_s, connect=self.link.connect_timeout_s),
        )
        if answer.status_code == _CONFLICT:
            raise DestinationUnavailable(f"{self.site.address} answered HTTP 409: its resources change at this moment")
        if not answer.is_success:
            raise DestinationRefused("message_refused", f"{self.site.address} answered HTTP {answer.status_code}")
        _require_all(answer, self.site.address)


def _require_all(answer: httpx.Response, peer: str) -> None:
    """A transaction succeeds or fails as a whole; a server that took it as a batch has told each entry's fate."""
    try:
        found: dict[str, Any] = answer.json() if answer.content else {}
    except ValueError as error:
        raise DestinationUnavailable(f"{peer} answered what is no FHIR") from error
    statuses = [str(entry.get("response", {}).get("status", "")) for entry in found.get("entry", [])]
    failed = [status[:3] for status in statuses if status and not status.startswith("2")]
    if failed:
        raise DestinationRefused("message_refused", f"{peer} answered {', '.join(failed)} to parts of the transaction")
