"""ResultSender: C-STORE, STOW-RS, folder."""

from pathlib import Path

from services.backends.senders.c_store import CStoreSender
from services.backends.senders.commitment import StorageCommitmentUser
from services.backends.senders.destinations import DICOMWEB, FOLDER, parse_destination
from services.backends.senders.folder import FolderSender
from services.backends.senders.reporter import StorageCommitmentReporter
from services.backends.senders.requesters import Requester, requesters
from services.backends.senders.routes import Commitment, Route, route_to, routes, tenants_in_force
from services.backends.senders.stow_rs import StowSender
from services.settings import Settings
from services.triage.ports import CommitmentReporter, CommitmentUser, ResultSender

__all__ = [
    "CStoreSender",
    "FolderSender",
    "Requester",
    "Route",
    "StorageCommitmentUser",
    "StowSender",
    "commitment_user_for",
    "parse_destination",
    "reporter_for",
    "requesters",
    "route_to",
    "routes",
    "sender_for",
    "tenants_in_force",
]


def sender_for(route: Route, settings: Settings) -> ResultSender:
    """The sender that can reach a destination."""
    address = route.destination.address
    if route.destination.kind == FOLDER:
        return FolderSender(Path(address))
    if route.destination.kind == DICOMWEB:
        return StowSender(url=address, ca=settings.stow_ca, credentials=settings.stow_credentials)
    return CStoreSender(address, route.calling_ae_title or settings.ae_title, link=route.link)


def commitment_user_for(route: Route, commitment: Commitment, settings: Settings) -> CommitmentUser:
    """What asks a PACS for Storage Commitment."""
    ae_title = route.calling_ae_title or settings.ae_title
    return StorageCommitmentUser(route.destination.address, ae_title, wait_s=commitment.wait_s, link=route.link)


def reporter_for(requester: Requester, settings: Settings) -> CommitmentReporter:
    """What tells an AE whether the instances are kept that it asked about."""
    ae_title = requester.calling_ae_title or settings.ae_title
    return StorageCommitmentReporter(requester.report_to, ae_title, link=requester.link)
