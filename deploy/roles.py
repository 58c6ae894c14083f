"""The table of docs/roles.md, made from the rules: `python -m deploy.roles`; a test fails while they differ."""

from pathlib import Path

from services.gateway.access.rules import PUBLIC, RULES, Need
from services.triage.person import Machine, MachineTask, Person, PersonRole

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "roles.md"
_BEGIN, _END = "<!-- table -->\n", "<!-- end of table -->\n"


def table() -> str:
    """Who may ask what."""
    head = ["path", "methods", *PersonRole, "machines"]
    rows = [
        [f"`{rule.path}`", rule.methods.replace("*", "all"), *_people(rule.need), _machines(rule.need)]
        for rule in RULES
    ]
    rows += [[f"`{path}`", "all", *["yes"] * len(PersonRole), "all, and whoever has no key"] for path in PUBLIC]
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def document() -> str:
    """The document as it should be."""
    before, _, rest = DOCUMENT.read_text().partition(_BEGIN)
    return before + _BEGIN + table() + _END + rest.partition(_END)[2]


def _people(need: Need) -> list[str]:
    asked = (Person(name="x", roles=frozenset({role})) for role in PersonRole)
    return ["yes" if need.is_met(one) else "no" for one in asked]


def _machines(need: Need) -> str:
    found = [task for task in MachineTask if need.is_met(Machine(name="x", may=frozenset({task})))]
    return "all" if len(found) == len(MachineTask) else ", ".join(found) or "none"


if __name__ == "__main__":
    DOCUMENT.write_text(document())
