"""StudyStore by SQLAlchemy: SQLite or PostgreSQL, by URL."""

from services.backends.store.board import Counts, ShownState, StudyDetail, StudyRow
from services.backends.store.engine import connect
from services.backends.store.migrate import require_usable, upgrade
from services.backends.store.store import Clock, SamePixels, SqlStudyStore, never_the_same, utc_now

__all__ = [
    "Counts",
    "ShownState",
    "SqlStudyStore",
    "StudyDetail",
    "StudyRow",
    "connect",
    "never_the_same",
    "open_store",
]


def open_store(
    url: str, *, same_pixels: SamePixels = never_the_same, default_issuer: str = "", clock: Clock = utc_now
) -> SqlStudyStore:
    """The store at an SQLAlchemy URL. Raises StoreUnavailable, SchemaBehind, SchemaRefused.

    An SQLite file is made when missing and upgraded when older; on PostgreSQL that is `vigie db upgrade`'s to do.
    same_pixels: whether two kept digests of one instance decode to the same pixels (`backends.files.SamePixels`);
    by default never, so that a second content under one SOP Instance UID always counts as a change.
    default_issuer: see `triage.patient.Register`; for those who record images or take in ADT messages.
    clock: by which the reads tell whether a result is still withheld.
    """
    engine = connect(url)
    if engine.dialect.name == "sqlite":
        upgrade(engine)
    require_usable(engine)
    return SqlStudyStore(engine, same_pixels=same_pixels, default_issuer=default_issuer, clock=clock)
