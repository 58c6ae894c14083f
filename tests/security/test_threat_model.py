"""docs/threat-model.md: every test that it names is there, and every kind of threat."""

import ast
import re
from pathlib import Path

from tests.support.markdown import table

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "docs" / "threat-model.md"
COLUMNS = ("STRIDE", "asset", "threat", "what stands against it", "test", "what remains")


def names_in(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


def test_every_row_names_a_test_that_exists() -> None:
    rows = table(*COLUMNS, document=MODEL)
    assert len(rows) > 30
    for row in rows:
        path, _, name = row["test"].strip("`").partition("::")
        assert name in names_in(ROOT / path), row["test"]


def test_the_table_is_one_and_tells_nothing_twice() -> None:
    lines = [line for line in MODEL.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    assert [bool(re.fullmatch(r"[|\s-]+", line)) for line in lines] == [number == 1 for number in range(len(lines))]
    assert len(set(lines)) == len(lines)


def test_every_letter_of_stride_has_rows() -> None:
    assert {row["STRIDE"] for row in table(*COLUMNS, document=MODEL)} == set("STRIDE")
