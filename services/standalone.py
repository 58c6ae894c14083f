"""Everything in one command, all embedded: the parts meet only in the data folder, as they would over a network."""

import fcntl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from services.backends.store import open_store
from services.logs import configure_logging
from services.parts import STANDALONE, addresses, in_service
from services.settings import Settings
from services.supervisor import CannotStart, Part, supervise
from services.triage.errors import VigieError


def run_standalone(
    settings: Settings, *, parts: Sequence[Part] = STANDALONE, announce: Callable[[], None] = lambda: None
) -> None:
    """Run all parts until SIGTERM or SIGINT; `announce` is called once they are started. Raises CannotStart."""
    configure_logging(settings.log_level)
    with _only_one(settings.data):
        _prepare_store(settings)
        running = in_service(parts, settings)
        supervise(running, settings, listens_on=addresses(running, settings), announce=announce)


def _prepare_store(settings: Settings) -> None:
    """Make or upgrade the store once, before the parts open it together. Raises CannotStart."""
    try:
        open_store(settings.store_url()).close()
    except VigieError as error:
        raise CannotStart(f"The database cannot be opened: {error}.") from error


@contextmanager
def _only_one(data: Path) -> Iterator[None]:
    """Hold the data folder. Raises CannotStart when another supervisor has it."""
    try:
        data.mkdir(parents=True, exist_ok=True)
        file = (data / "standalone.lock").open("w")
    except OSError as error:
        raise CannotStart(f"The data folder {data} cannot be used: {error.strerror}.") from error
    with file:
        try:
            # a record lock: unlike flock's it does not live on in the children of a supervisor that was killed
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise CannotStart(
                f"Another vigie standalone runs on the data folder {data}. Stop it first, or choose another --data."
            ) from error
        yield
