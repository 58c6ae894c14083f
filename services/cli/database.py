"""The store, for the commands that operators type."""

import typer

from services.backends.store import SqlStudyStore, open_store
from services.settings import Settings
from services.triage.errors import VigieError


def opened_store(settings: Settings | None = None) -> SqlStudyStore:
    """The store of the settings (default: those of the environment). Raises Exit (code 1), with the reason said."""
    try:
        return open_store((settings or Settings()).store_url())
    except VigieError as error:
        typer.echo(f"The database cannot be opened: {error}.", err=True)
        raise typer.Exit(1) from error
