"""ResultSender: C-STORE, folder."""

from pathlib import Path

from services.backends.senders.c_store import CStoreSender
from services.backends.senders.destinations import FOLDER, parse_destination
from services.backends.senders.folder import FolderSender
from services.triage.ports import ResultSender
from services.triage.result import Destination

__all__ = ["CStoreSender", "FolderSender", "parse_destination", "sender_for"]


def sender_for(destination: Destination, ae_title: str) -> ResultSender:
    """The sender that can reach a destination; `ae_title` is our own."""
    if destination.kind == FOLDER:
        return FolderSender(Path(destination.address))
    return CStoreSender(destination.address, ae_title)
