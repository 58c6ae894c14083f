"""`vigie settings`: what is in force, and where it came from; secrets masked."""

import os

import typer
from rich.console import Console
from rich.table import Table

from services.settings import Settings


def settings() -> None:
    """Print every setting in force, the variable that sets it, and what it means; secrets are masked."""
    in_force = Settings()
    table = Table("Variable", "Value", "From", "Meaning")
    for name, field in Settings.model_fields.items():
        variable = f"VIGIE_{name.upper()}"
        origin = "environment" if os.environ.get(variable) else "default"
        table.add_row(variable, str(getattr(in_force, name)), origin, field.description or "")
    Console().print(table) if os.isatty(1) else _plain(in_force)


def _plain(in_force: Settings) -> None:
    """One `VARIABLE=value` a line when nobody is looking: a table would be cut at the width of a terminal."""
    for name in Settings.model_fields:
        value = getattr(in_force, name)
        typer.echo(f"VIGIE_{name.upper()}={','.join(value) if isinstance(value, tuple) else value}")
