"""PACS that are asked: by C-FIND (PS3.4 annex C) or QIDO-RS (PS3.18 10.6), and fetched from by C-MOVE or C-GET."""

from collections.abc import Iterator
from contextlib import contextmanager

from services.backends.pacs.c_find import finding
from services.backends.pacs.file import Fetch, Pacs, load_pacs, pacs_of
from services.backends.pacs.qido_rs import searching
from services.backends.pacs.retrieve import RETRIEVE_REFUSED, Retrieved, get, move
from services.backends.senders.destinations import DICOMWEB
from services.settings import Settings
from services.triage.ports import PacsQuestions

__all__ = ["RETRIEVE_REFUSED", "Fetch", "Pacs", "Retrieved", "get", "load_pacs", "move", "pacs_of", "questions"]


@contextmanager
def questions(pacs: Pacs, settings: Settings) -> Iterator[PacsQuestions]:
    """Ask a PACS, until the end of the block. Raises, as each question, DestinationUnavailable, DestinationRefused."""
    if pacs.kind == DICOMWEB:
        with searching(pacs, ca=settings.stow_ca, credentials=settings.stow_credentials) as asked:
            yield asked
    else:
        with finding(pacs) as asked:
            yield asked
