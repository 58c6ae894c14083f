"""The tables of a Markdown document, as a test reads them."""

import re
from pathlib import Path

CONFORMANCE = Path(__file__).resolve().parents[2] / "docs" / "conformance.md"


def tables(document: Path = CONFORMANCE) -> list[list[dict[str, str]]]:
    """Every table, a row being its cells by their heads."""
    found: list[list[dict[str, str]]] = []
    heads: list[str] | None = None
    for line in document.read_text(encoding="utf-8").splitlines():
        if not line.startswith("|"):
            heads = None
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if heads is None:
            heads = cells
            found.append([])
        elif not re.fullmatch(r"[|\s:-]+", line):
            found[-1].append(dict(zip(heads, cells, strict=True)))
    return found


def table(*heads: str, document: Path = CONFORMANCE) -> list[dict[str, str]]:
    """The one table with these heads. Raises LookupError."""
    fitting = [one for one in tables(document) if one and tuple(one[0]) == heads]
    if len(fitting) != 1:
        raise LookupError(f"{len(fitting)} tables with the heads {heads} in {document.name}")
    return fitting[0]
