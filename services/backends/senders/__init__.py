"""ResultSender: C-STORE, STOW-RS, folder."""

from pathlib import Path

from services.backends.senders.c_store import CStoreSender
from services.backends.senders.destinations import DICOMWEB, FOLDER, parse_destination
from services.backends.senders.folder import FolderSender
from services.backends.senders.stow_rs import StowSender
from services.settings import Settings
from services.triage.ports import ResultSender
from services.triage.result import Destination

__all__ = ["CStoreSender", "FolderSender", "StowSender", "parse_destination", "sender_for"]


def sender_for(destination: Destination, settings: Settings) -> ResultSender:
    """The sender that can reach a destination."""
    if destination.kind == FOLDER:
        return FolderSender(Path(destination.address))
    if destination.kind == DICOMWEB:
        return StowSender(url=destination.address, ca=settings.stow_ca, credentials=settings.stow_credentials)
    return CStoreSender(destination.address, settings.ae_title)
