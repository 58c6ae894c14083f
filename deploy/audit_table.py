"""The table of docs/audit.md, made from the types of events by `python -m deploy.audit_table`; a test holds them."""

from pathlib import Path

from services.triage.audit_types import MEANINGS

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "audit.md"
_BEGIN, _END = "<!-- table -->\n", "<!-- end of table -->\n"


def table() -> str:
    """Every type, as what DICOM knows it, and who writes it."""
    lines = [["type", "what happened", "Event ID (DCM)", "action", "Event Type Code (DCM)", "written by"], ["---"] * 6]
    for type_, meaning in MEANINGS.items():
        code = " ".join(meaning.code) if meaning.code else ""
        words = meaning.kind.name.replace("_", " ").capitalize()
        event_id = f"{meaning.kind.value} {words}"
        lines.append([f"`{type_.value}`", meaning.text, event_id, meaning.action.value, code, meaning.by])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def document() -> str:
    """The document as it should be."""
    before, _, rest = DOCUMENT.read_text().partition(_BEGIN)
    return before + _BEGIN + table() + _END + rest.partition(_END)[2]


if __name__ == "__main__":
    DOCUMENT.write_text(document())
