"""StudyStore by SQLAlchemy: SQLite or PostgreSQL, by URL."""

from services.backends.store.board import Counts, ShownState, StudyDetail, StudyRow
from services.backends.store.engine import connect
from services.backends.store.migrate import upgrade
from services.backends.store.store import SamePixels, SqlStudyStore, never_the_same

__all__ = ["Counts", "ShownState", "SqlStudyStore", "StudyDetail", "StudyRow", "open_store"]


def open_store(url: str, *, same_pixels: SamePixels = never_the_same) -> SqlStudyStore:
    """The store at an SQLAlchemy URL; created when missing, upgraded when older. Raises StoreUnavailable.

    same_pixels: whether two kept digests of one instance decode to the same pixels (`backends.files.SamePixels`);
    by default never, so that a second content under one SOP Instance UID always counts as a change.
    """
    engine = connect(url)
    upgrade(engine)
    return SqlStudyStore(engine, same_pixels=same_pixels)
