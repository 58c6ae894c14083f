"""Notifications, and the receivers that they are made for."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from services.backends.receivers.sample import ORDER
from services.backends.receivers.source import ValueOf, kept
from services.backends.receivers.tables import FhirTable, Hl7Table, WebhookTable
from services.triage.finding import Finding
from services.triage.notification import Notification

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # the specification's own example


def value_of(notification: Notification) -> ValueOf:
    """What the images of the sample tell."""
    return lambda keyword: kept(notification.study, keyword) or ORDER.get(keyword, "")


def with_study(notification: Notification, **attributes: str) -> Notification:
    """The same of another patient or order."""
    instances = tuple(replace(one, study=replace(one.study, **attributes)) for one in notification.instances)
    return replace(notification, instances=instances)


def with_finding(notification: Notification, **changes: Any) -> Notification:
    """The same with another finding."""
    finding: Finding = replace(notification.result.finding, **changes)
    return replace(notification, result=replace(notification.result, finding=finding))


def replacing(earlier: Notification) -> Notification:
    """A later result of the same model, as the receiver of an earlier one is told."""
    result = replace(earlier.result, result_id="6b" * 16)
    return replace(earlier, notification_id="e" * 32, result=result, earlier=earlier.result)


def hl7_table(address: str = "ris:2575", **choices: Any) -> Hl7Table:
    return Hl7Table.model_validate({"kind": "hl7", "address": address, **choices})


def fhir_table(address: str = "http://fhir/r4", **choices: Any) -> FhirTable:
    return FhirTable.model_validate({"kind": "fhir", "address": address, **choices})


def webhook_table(address: str = "http://hook/x", **choices: Any) -> WebhookTable:
    return WebhookTable.model_validate({"kind": "webhook", "address": address, **choices})


def credentials_file(folder: Path, **tables: str) -> Path:
    """A file of credentials; each table by its name."""
    path = folder / "credentials.toml"
    path.write_text("\n".join(f"[{name}]\n{content}" for name, content in tables.items()))
    return path
