"""ResultSender: C-STORE, STOW-RS, folder."""

from pathlib import Path

from services.backends.senders.c_store import CStoreSender
from services.backends.senders.destinations import DICOMWEB, FOLDER, parse_destination
from services.backends.senders.folder import FolderSender
from services.backends.senders.routes import Route, route_to, routes
from services.backends.senders.stow_rs import StowSender
from services.settings import Settings
from services.triage.ports import ResultSender

__all__ = [
    "CStoreSender",
    "FolderSender",
    "Route",
    "StowSender",
    "parse_destination",
    "route_to",
    "routes",
    "sender_for",
]


def sender_for(route: Route, settings: Settings) -> ResultSender:
    """The sender that can reach a destination."""
    address = route.destination.address
    if route.destination.kind == FOLDER:
        return FolderSender(Path(address))
    if route.destination.kind == DICOMWEB:
        return StowSender(url=address, ca=settings.stow_ca, credentials=settings.stow_credentials)
    return CStoreSender(address, route.calling_ae_title or settings.ae_title, link=route.link)
