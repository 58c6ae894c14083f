"""`vigie db`: the tables of the database. On SQLite they are kept up to date by themselves."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from sqlalchemy import Engine

from services.backends.store.engine import connect
from services.backends.store.migrate import current_revision, downgrade, drift, known_revisions, upgrade
from services.settings import Settings
from services.triage.errors import StoreUnavailable

app = typer.Typer(help="The tables of the database that VIGIE_DATABASE_URL names.", no_args_is_help=True)


@app.command("upgrade")
def upgrade_() -> None:
    """Bring the tables to the revision of this program; several at once do no harm, and programs may be running."""
    with _engine() as engine:
        before = current_revision(engine)
        upgrade(engine)
        typer.echo(f"{before or 'no tables'} -> {current_revision(engine)}")


@app.command()
def check() -> None:
    """Whether the tables are what this program expects; exit code 1 when they are not."""
    with _engine() as engine:
        found, *differences = current_revision(engine), *drift(engine)
    *_, needed = known_revisions()
    typer.echo(f"database {found or 'has no tables'}, this program {needed}")
    for difference in differences:
        typer.echo(difference)
    if found != needed or differences:
        raise typer.Exit(1)


@app.command("downgrade")
def downgrade_(
    revision: Annotated[str, typer.Argument(help="A revision, as `vigie db check` shows them; 'base': no tables.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Go back to an older revision. What only the newer tables hold is lost; stop all processes first."""
    if not yes:
        typer.confirm("What only the newer tables hold is lost. Go on?", abort=True)
    if revision not in {"base", *known_revisions()}:
        raise typer.BadParameter(f"no such revision; there are {', '.join(known_revisions())}")
    with _engine() as engine:
        downgrade(engine, revision)
        typer.echo(f"now {current_revision(engine) or 'no tables'}")


@contextmanager
def _engine() -> Iterator[Engine]:
    engine = connect(Settings().store_url())
    try:
        yield engine
    except StoreUnavailable as error:
        typer.secho(f"vigie db: the database cannot be reached ({error})", err=True, fg="red")
        raise typer.Exit(1) from error
    finally:
        engine.dispose()
