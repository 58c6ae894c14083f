"""`vigie people hash|check`: keys of people and machines, and the file that names them."""

import sys
from typing import Annotated

import typer
from rich.table import Table

from services.backends.keys import MIN_CHARACTERS, hash_of, new_key
from services.backends.people_file import NAME, load_people
from services.backends.senders import tenants_in_force
from services.cli.flags import settings_from
from services.cli.tables import print_table
from services.triage.errors import PeopleRefused
from services.triage.person import Person

app = typer.Typer(help="People who may sign in, and machines (VIGIE_PEOPLE).", no_args_is_help=True)


@app.command("hash")
def hash_key(
    name: Annotated[str, typer.Argument(help="As it stands in the file, in histories and before the dot of a key.")],
    machine: Annotated[bool, typer.Option("--machine", help="A PACS, RIS, viewer or modality, not a person.")] = False,
    make: Annotated[bool, typer.Option("--make", help="Make a key, instead of asking for one.")] = False,
) -> None:
    """Print the entry of a person or machine for the file, with the hash of a key.

    The key is read from the terminal, never from the command line; or it is made, and told once on stderr. A made one
    says whose it is, and so may be sent as a Bearer token. A machine's is always made.
    """
    if not NAME.fullmatch(name):
        raise typer.BadParameter("a name has 1 to 63 of a-z, 0-9, @, _ and -, and begins with a letter or digit")
    if make or machine:
        key = new_key(name)
        typer.echo(f"The key, told this once: {key}", err=True)
    else:
        key = _asked()
    what = 'may = ["retrieve"]  # store, retrieve, workitems' if machine else 'roles = ["reader"]  # lead, ops, auditor'
    typer.echo(f'[{"machines" if machine else "people"}.{_quoted(name)}]\n{what}\nkey = "{hash_of(key)}"')


@app.command()
def check() -> None:
    """Read the file in force as the desk does, and list who is in it.

    Exit code: 0 it can be used, 2 it cannot, and why.
    """
    settings = settings_from()
    if settings.people is None:
        raise typer.BadParameter("VIGIE_PEOPLE names no file")
    tenants = [one.name for one in tenants_in_force(settings).tenants]
    try:
        accounts = load_people(settings.people, tenants)
    except PeopleRefused as refusal:
        raise typer.BadParameter(str(refusal)) from refusal
    table = Table("Name", "Shown as", "Roles, or tasks", "Tenants")
    for account in accounts.values():
        who = account.who
        told = (who.shown_name, who.roles) if isinstance(who, Person) else ("(machine)", who.may)
        table.add_row(who.name, told[0], ", ".join(sorted(told[1])), ", ".join(sorted(who.tenants)) or "all")
    print_table(table)


def _asked() -> str:
    """A key that a person chooses: typed twice at a terminal, or one line of a pipe."""
    if sys.stdin.isatty():
        key: str = typer.prompt("Key", hide_input=True, confirmation_prompt=True, err=True)
    else:
        key = sys.stdin.readline().rstrip("\n")
    if len(key) < MIN_CHARACTERS:
        raise typer.BadParameter(f"a key has {MIN_CHARACTERS} characters at least; --make makes one")
    return key


def _quoted(name: str) -> str:
    """As a key of TOML."""
    return name if name.replace("-", "").replace("_", "").isalnum() else f'"{name}"'
