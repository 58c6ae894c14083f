"""Delivery: results to destinations, notifications to receivers; a thread for each, none waits for another.

And one that writes what readers answered as documents, which then are delivered as results are; and one that brings the
audit trail to those who keep it elsewhere.
"""

import threading
from collections.abc import Iterator
from typing import Any

from services.backends.files import FolderStudyFiles
from services.backends.receivers import Receiver, notifier_for, receivers
from services.backends.senders import (
    Requester,
    Route,
    commitment_user_for,
    reporter_for,
    requesters,
    routes,
    sender_for,
)
from services.backends.senders.destinations import DICOM
from services.backends.store import SqlStudyStore, open_store
from services.deliver.auditing import Auditing, auditing
from services.deliver.commitment import Committing
from services.deliver.documenting import Documenting
from services.deliver.lane import Lane
from services.deliver.promising import Promising
from services.deliver.sending import Sending, Telling
from services.deliver.tls_files import tls_files
from services.exposition import expose
from services.lifetime import beside, stop_on_signals
from services.patience import wait_for
from services.settings import Settings
from services.triage.ports import StudyFiles, StudyStore
from services.triage.result import Destination


def run_deliver(settings: Settings) -> None:
    """Deliver, tell, and answer for what is kept, until SIGTERM or SIGINT; what is in hand is brought to its end."""
    ways, told, asking = routes(settings), receivers(settings), requesters(settings)
    store = wait_for("database", lambda: open_store(settings.store_url()))
    expose(settings, store, part="deliver", tls=tuple(tls_files(settings, ways, told, asking.values())))
    stop = stop_on_signals()
    files = FolderStudyFiles(settings.data)
    lanes: list[Lane | Documenting | Auditing] = [
        auditing(store, settings, stop),
        Documenting(
            store=store,
            files=files,
            destinations=tuple(route.destination for route in ways),
            quiet_s=settings.verdict_quiet_s,
            organization=settings.organization,
            stop=stop,
        ),
    ]
    lanes += [lane for route in ways for lane in _lanes(route, settings, store, files, stop)]
    lanes += [_telling(receiver, settings, store, files, stop) for receiver in told]
    lanes += [_promises(requester, settings, store, files, stop) for requester in asking.values()]
    with beside(*(lane.run for lane in lanes), stop=stop):
        stop.wait()


def _lanes(
    route: Route, settings: Settings, store: StudyStore, files: StudyFiles, stop: threading.Event
) -> Iterator[Lane]:
    common = _common(route.destination, settings, store, stop)
    sender, commitment = sender_for(route, settings), route.commitment
    yield Sending(**common, files=files, sender=sender, ask_commitment=commitment is not None)
    if commitment is not None:
        yield Committing(
            **common,
            user=commitment_user_for(route, commitment, settings),
            answer_within_s=commitment.answer_within_s,
            max_requests=commitment.max_requests,
        )


def _telling(
    receiver: Receiver, settings: Settings, store: StudyStore, files: StudyFiles, stop: threading.Event
) -> Lane:
    notifier = notifier_for(receiver, settings, files)
    return Telling(**_common(receiver.destination, settings, store, stop), notifier=notifier)


def _promises(
    requester: Requester, settings: Settings, store: SqlStudyStore, files: StudyFiles, stop: threading.Event
) -> Lane:
    reports_to = Destination(name=requester.ae_title, kind=DICOM, address=requester.report_to)
    return Promising(
        **_common(reports_to, settings, store, stop),
        requests=store.requests,
        files=files,
        archive=commitment_user_for(requester.archive, requester.commitment, settings),
        reporter=reporter_for(requester, settings),
        tenant=requester.tenant,
        look_for_s=requester.look_for_s,
        answer_within_s=requester.commitment.answer_within_s,
        decide_within_s=requester.decide_within_s,
        report_within_s=requester.report_within_s,
    )


def _common(destination: Destination, settings: Settings, store: StudyStore, stop: threading.Event) -> dict[str, Any]:
    return {
        "store": store,
        "destination": destination,
        "claim_s": settings.lease_s,
        "retry_s": settings.delivery_retry_s,
        "retry_max_s": settings.delivery_retry_max_s,
        "stop": stop,
    }
