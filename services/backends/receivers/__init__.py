"""Who is told of results, and how: HL7 v2 over MLLP, FHIR R4B, signed webhooks. Nobody without VIGIE_NOTIFICATIONS."""

from services.backends.receivers.file import Receiver, receivers
from services.backends.receivers.tables import FhirTable, Hl7Table
from services.backends.senders import routes
from services.settings import Settings
from services.triage.ports import Notifier, StudyFiles
from services.triage.result import Destination

__all__ = ["Receiver", "addressees", "notifier_for", "receivers"]


def addressees(settings: Settings) -> list[Destination]:
    """Everybody to whom a result is owed: destinations of its objects, and receivers."""
    return [
        *(route.destination for route in routes(settings)),
        *(receiver.destination for receiver in receivers(settings)),
    ]


def notifier_for(receiver: Receiver, settings: Settings, files: StudyFiles) -> Notifier:
    """What tells a receiver. Each kind's libraries are loaded with the first receiver of the kind."""
    name, site, link = receiver.destination.name, receiver.table, receiver.link
    if isinstance(site, Hl7Table):
        from services.backends.receivers.mllp import MllpNotifier

        return MllpNotifier(site=site, link=link, files=files)
    secrets = settings.notification_credentials
    if isinstance(site, FhirTable):
        from services.backends.receivers.fhir_server import FhirNotifier

        return FhirNotifier(name=name, site=site, link=link, files=files, credentials=secrets)
    from services.backends.receivers.webhook import WebhookNotifier

    return WebhookNotifier(name=name, site=site, link=link, credentials=secrets)
