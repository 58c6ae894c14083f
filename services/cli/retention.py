"""`vigie retention plan|run|status`: what goes by age, what stays all the same, and why."""

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from rich.table import Table

from services.backends.files import FolderStudyFiles
from services.cli.database import opened_store
from services.cli.flags import settings_from
from services.cli.tables import print_table
from services.gateway.retention import Keeper, space_of
from services.settings import Settings
from services.triage.errors import TransientError
from services.triage.retention import Hold, Kept

app = typer.Typer(help="What is kept here for how long (docs/operations/retention.md).", no_args_is_help=True)

WORDS = {
    Hold.RECEIVING: "its images still arrive",
    Hold.IN_WORK: "a job is queued or in work",
    Hold.UNDELIVERED: "something of it is not sent yet: vigie deliveries list --state pending",
    Hold.UNCOMMITTED: "a destination has not committed it yet",
    Hold.WITHHELD: "the AI's result is withheld until a reader has assessed it",
    Hold.UNDOCUMENTED: "a reader's answers are in no document yet",
    Hold.PROMISED: "storage commitment was asked for, and is undecided: vigie commitments list",
    Hold.TRAINING: "a learner is to answer it: 30 days at most since the round began",
    Hold.UNREAD: "nobody marked it as read: VIGIE_RETENTION_UNREAD_DAYS ends that",
}
_GO, _YOUNG = "goes now", "is not old enough"


@app.command()
def plan(
    studies: Annotated[bool, typer.Option("--studies", help="A line for each study that is old enough.")] = False,
) -> None:
    """Show what `run` would delete now, and why what stays stays. Nothing is changed.

    A study that several things hold counts in a line for each of them.
    """
    settings = settings_from()
    keeper, now = _keeper(settings), datetime.now(UTC)
    sums: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    single = Table("Study", "Tenant", "Since (UTC)", "Images", "MB", "What becomes of it")
    free, disk = space_of(settings)
    pressed = keeper.rules.free_fraction is not None and free < keeper.rules.free_fraction * disk
    for one in keeper.studies(now):
        due = keeper.rules.cutoff(one, now, pressed=pressed) is not None
        holds = keeper.rules.holds(one, now) if due else frozenset()
        fates = [WORDS[hold] for hold in sorted(holds)] or [_GO if due else _YOUNG]
        size = one.size_bytes + (_unsized(keeper, one) if one.unsized else 0)
        for fate in fates:
            sums[fate] = [sum(pair) for pair in zip(sums[fate], (1, one.images, size), strict=True)]
        if due:
            row = (one.study_instance_uid, one.tenant, f"{one.since:%Y-%m-%d %H:%M}", str(one.images))
            single.add_row(*row, f"{size / 1e6:.1f}", "; ".join(fates))
    table = Table("Images of studies", "Studies", "Images", "GB")
    for fate, (count, images, size) in sorted(sums.items(), key=lambda pair: (pair[0] != _GO, pair[0])):
        table.add_row(fate, str(count), str(images), f"{size / 1e9:.2f}")
    if studies:
        print_table(single, empty="No study is old enough.")
    print_table(table, empty="No images are kept here.")
    _tell_rules(settings)


@app.command()
def run() -> None:
    """Delete now what the rules say, as the part `retention` does by itself.

    Exit code: 0 done, 1 another process deletes or copies files, or it could not be done; 2 no rule is set.
    """
    settings = settings_from()
    if not settings.retention().is_on:
        raise typer.BadParameter("no rule is set: see VIGIE_RETENTION_DAYS in 'vigie settings'")
    keeper = _keeper(settings)
    _, before = keeper.store.retaining.report()
    try:
        report = keeper.run()
    except (TransientError, OSError) as error:
        typer.echo(f"It was not finished: {type(error).__name__}. Run it again.", err=True)
        raise typer.Exit(1) from error
    if report is None:
        typer.echo("Another process deletes or copies files now (vigie retention, vigie backup).", err=True)
        raise typer.Exit(1)
    _, after = keeper.store.retaining.report()
    count, size = after.studies - before.studies, after.size_bytes - before.size_bytes
    typer.echo(f"images of {count} studies deleted, {size / 1e9:.2f} GB; {report.studies} studies kept")


@app.command()
def status() -> None:
    """Show what the last pass found, and what was deleted by the rules ever."""
    settings = settings_from()
    store = opened_store(settings)
    report, ever = store.retaining.report()
    table = Table("", "")
    if report is not None:
        table.add_row("Last pass (UTC)", f"{report.finished_at:%Y-%m-%d %H:%M:%S}")
        table.add_row("Studies with images", str(report.studies))
        table.add_row("Images", f"{report.images}, {report.image_bytes / 1e9:.2f} GB")
        table.add_row("Oldest study since (UTC)", f"{report.oldest_at:%Y-%m-%d %H:%M}" if report.oldest_at else "")
        for hold, count in sorted(report.held.items()):
            table.add_row("Old enough, but", f"{count}: {WORDS[Hold(hold)]}")
    table.add_row("Deleted ever", f"images of {ever.studies} studies, {ever.size_bytes / 1e9:.2f} GB")
    open_still = store.retaining.open() + store.retaining.open(whole=True)
    table.add_row("Being deleted", str(len(open_still)))
    print_table(table)
    _tell_rules(settings)


def _keeper(settings: Settings) -> Keeper:
    return Keeper(
        store=opened_store(settings),
        files=FolderStudyFiles(settings.data),
        rules=settings.retention(),
        space=lambda: space_of(settings),
        interval=timedelta(seconds=settings.retention_interval_s),
    )


def _unsized(keeper: Keeper, one: Kept) -> int:
    """Of images that were recorded before sizes were: all of the study is looked at again."""
    return sum(map(keeper.files.size, keeper.store.retaining.digests(one.study_instance_uid))) - one.size_bytes


def _tell_rules(settings: Settings) -> None:
    rules = settings.retention()
    free, disk = space_of(settings)
    typer.echo(f"{free / 1e9:.1f} GB of {disk / 1e9:.1f} GB are free.")
    if rules.youngest() is None:
        typer.echo("No images are ever deleted: VIGIE_RETENTION_DAYS is not set.")
