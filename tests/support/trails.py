"""A store of its own for each test, from one that was made once: making all its tables takes a second each time."""

import tempfile
from functools import cache
from pathlib import Path

from services.backends.store import SqlStudyStore, open_store


@cache
def _made() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vigie.sqlite"
        open_store(f"sqlite:///{path}").close()  # the last connection writes the log back into the file
        return path.read_bytes()


def new_store(folder: Path) -> SqlStudyStore:
    path = folder / "vigie.sqlite"
    path.write_bytes(_made())
    return open_store(f"sqlite:///{path}")
