"""Tables as the commands of operators print them."""

from rich.console import Console
from rich.table import Table

_PIPED_WIDTH = 300  # of a pipe or file nobody knows the width: a line must not be broken there


def print_table(table: Table, *, empty: str = "None.") -> None:
    """On stdout, as wide as the terminal; `empty` where it has no rows."""
    Console(width=None if Console().is_terminal else _PIPED_WIDTH).print(table if table.row_count else empty)
