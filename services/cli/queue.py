"""`vigie queue`: what waits between the gateway and the workers, and the messages that nobody could act on."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from services.backends.queue import open_queue
from services.logs import configure_logging
from services.settings import Settings
from services.triage.errors import TransientError
from services.triage.ports import JobQueue

app = typer.Typer(help="The job queue. A message is only a bell: jobs are kept in the database.", no_args_is_help=True)

Limit = Annotated[int, typer.Option(min=1, help="At most so many.")]


@app.command()
def status() -> None:
    """How many messages wait for a worker, wait out a delay, and lie dead."""
    with _opened() as queue:
        depth = queue.depth()
    typer.echo(f"ready {depth.ready}\ndelayed {depth.delayed}\ndead {depth.dead}")


@app.command("dead-letters")
def dead_letters(limit: Limit = 100) -> None:
    """The messages that nobody could act on, oldest first, each with its reason; they stay."""
    with _opened() as queue:
        letters = queue.dead_letters(limit=limit)
    table = Table("job", "attempt", "reason", box=None)
    for letter in letters:
        job, attempt = (letter.message.job_id, str(letter.message.attempt)) if letter.message else ("unreadable", "")
        table.add_row(job, attempt, f"{letter.reason.text} ({letter.reason.code})")
    Console(markup=False).print(table if letters else "There is none.")


@app.command()
def requeue(limit: Limit = 100) -> None:
    """Put the oldest dead letters that can be read back to where workers find them."""
    with _opened() as queue:
        typer.echo(f"{queue.requeue(limit=limit)} put back")


@contextmanager
def _opened() -> Iterator[JobQueue]:
    """The queue that the settings name; exit code 1 when it cannot be reached."""
    configure_logging("WARNING")
    try:
        queue = open_queue(Settings())
        try:
            yield queue
        finally:
            queue.close()
    except TransientError as error:
        typer.secho(f"vigie queue: {error}", err=True, fg="red")
        raise typer.Exit(1) from error
