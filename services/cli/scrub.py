"""`vigie scrub`: whether every acknowledged instance is still there, as the dispatcher's search has found."""

import typer
from rich.table import Table

from services.cli.database import opened_store
from services.cli.tables import print_table


def scrub() -> None:
    """Tell how far the search for lost instances is, and what is lost. Exit code: 0 nothing is, 1 something is."""
    store = opened_store()
    found, lost = store.scrub.state(), store.scrub.lost()
    finished = found.round_finished_at.isoformat(timespec="seconds") if found.round_finished_at else "not yet"
    typer.echo(f"{found.checked} files looked for, {found.read} of them read to the last byte")
    typer.echo(f"every instance looked for: {finished}")
    typer.echo(f"lost: {sum(found.lost.values())}")
    if lost:
        table = Table("study", "instance", "fault", "found")
        for one in lost:
            table.add_row(one.study_instance_uid, one.sop_instance_uid, one.fault, f"{one.found_at:%Y-%m-%d %H:%M}")
        print_table(table)
        raise typer.Exit(1)
