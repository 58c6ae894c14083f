"""What of the chart is made from elsewhere: `python -m deploy.chart` writes README, runbook and settings of the schema.

The README is values.yaml with its comments; the runbook, which the alerts bring with them, is docs/runbook.md; the
settings that values may hold are those of `services.settings`.
"""

import json
import re
from pathlib import Path
from textwrap import indent
from typing import Any

from services.settings import Settings

REPOSITORY = Path(__file__).resolve().parents[1]
CHART = REPOSITORY / "helm" / "vigie"
RUNBOOK = REPOSITORY / "docs" / "runbook.md"

# The chart sets these itself, from other values: addresses, folders, and what lies in Secrets.
OF_THE_CHART = {
    "http",
    "dicom",
    "data",
    "database_url",
    "broker_url",
    "triton",
    "destinations",
    "peers",
    "insecure_dicom_any_caller",
    "insecure_dicom_without_tls",
    "insecure_hl7_without_mutual_tls",
    "max_volume_voxels",
    "models",
    "converted",
    "viewer",
    "stop_grace_s",
    "people",
    "session_key",
    "oidc",
    "oidc_client_secret",
    "https",
    "http_certificate",
    "http_key",
    "insecure_http_without_sign_in",
    "insecure_http_without_tls",
    "dicom_tls",
    "dicom_tls_certificate",
    "dicom_tls_key",
    "dicom_tls_ca",
    "hl7",
    "metrics",
}

# As the program does: these delete nothing where no images go by their age.
_IMAGES_GO = {"anyOf": [{"required": ["retention_days"]}, {"required": ["retention_tenant_days"]}]}
NEEDS = {"retention_unread_days": _IMAGES_GO, "retention_free_percent": _IMAGES_GO}

_LINK = re.compile(r"\[(?P<text>[^\]]+)\]\((?P<target>[^)]+)\)")
_KEY = re.compile(r"^(?P<indent> *)(?P<key>[A-Za-z0-9_.\"/-]+):(?P<value>.*)$")


def settings_schema() -> dict[str, Any]:
    """JSON schema of the value `settings`: what each of our settings takes; a list as one comma-separated string."""
    of_the_program = Settings.model_json_schema()
    found = {}
    for name, field in of_the_program["properties"].items():
        if name in OF_THE_CHART:
            continue
        taken = next((one for one in field.get("anyOf", []) if one.get("type") != "null"), field)
        if "$ref" in taken:  # of an enumeration
            taken = of_the_program["$defs"][taken["$ref"].rpartition("/")[2]]
        if taken["type"] == "array":
            taken = {"type": "string"}
        found[name] = {
            key: value for key, value in taken.items() if key not in {"title", "description", "default", "format"}
        }
    return {"type": "object", "additionalProperties": False, "properties": found, "dependencies": NEEDS}


def schema() -> dict[str, Any]:
    """The chart's schema as it should be."""
    kept: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
    kept["properties"]["settings"] = settings_schema()
    return kept


def described_values() -> list[tuple[str, str, str]]:
    """(dotted name, default as written, comment) of every value in values.yaml that has a comment of its own."""
    found: list[tuple[str, str, str]] = []
    path: list[tuple[int, str]] = []
    comment: list[str] = []
    for line in (CHART / "values.yaml").read_text().split("\n\n", 1)[1].splitlines():
        if line.strip().startswith("#"):
            comment.append(line.strip().removeprefix("#").strip())
            continue
        match = _KEY.match(line)
        if match is None:
            comment = [] if not line.strip() else comment
            continue
        depth, value = len(match["indent"]), match["value"].strip()
        path = [(at, key) for at, key in path if at < depth]
        if comment:
            found.append((".".join([*(key for _, key in path), match["key"]]), value, " ".join(comment)))
        path.append((depth, match["key"]))
        comment = []
    return found


def readme() -> str:
    """The chart's README."""
    head = (CHART / "files" / "README.head.md").read_text()
    rows = [f"| `{name}` | {f'`{value}`' if value else ''} | {told} |" for name, value, told in described_values()]
    return "\n".join([head, "| value | default | |", "| --- | --- | --- |", *rows, ""])


def runbook() -> str:
    """What to do, by alert, as YAML: the sections of the runbook, to be read where no link can be followed."""
    _, *sections = RUNBOOK.read_text().split("\n## ")
    parts = ["# docs/runbook.md by alert: python -m deploy.chart\n"]
    for section in sections:
        alert, _, text = section.partition("\n")
        parts.append(f"{alert}: |-\n{indent(_LINK.sub(_named, text.strip()), '  ')}\n")
    return "".join(parts)


def _named(link: re.Match[str]) -> str:
    """`text (docs/page.md)`: relative to the repository, as the versions that are in use have it."""
    target = link["target"]
    if "://" not in target:
        target = str((RUNBOOK.parent / target.partition("#")[0]).resolve().relative_to(REPOSITORY))
    return link["text"] if target in link["text"] else f"{link['text']} ({target})"


if __name__ == "__main__":
    (CHART / "values.schema.json").write_text(json.dumps(schema(), indent=2) + "\n")
    (CHART / "README.md").write_text(readme())
    (CHART / "files" / "runbook.yaml").write_text(runbook())
