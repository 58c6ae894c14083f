"""Known vulnerabilities of all that is pinned: `make audit`, by pip-audit, online.

pip-audit answers 'no known vulnerabilities' for packages that it could not look up. So each pinned version must be in
its report, or this fails. Exit code: 0 nothing is known; 1 something is known that deploy/audit-allowed.toml does not
allow today; 2 it could not be asked.
"""

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
PINNED = (REPOSITORY / "constraints.txt", REPOSITORY / "constraints-triton.txt")
ALLOWED = REPOSITORY / "deploy" / "audit-allowed.toml"
TOOLS = REPOSITORY / ".venv-audit" / "bin" / "python"

_PIN = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;#]+)", re.MULTILINE)
_SHOWN = 5
_WAY_OUT = (
    "What was not audited may be vulnerable. Advisories come from https://pypi.org/pypi/NAME/VERSION/json, which a\n"
    "mirror of the packages does not have: run this where that can be reached, or ask OSV (https://api.osv.dev):\n"
    "PIP_AUDIT_VULNERABILITY_SERVICE=osv make audit"
)


class NotAskedError(Exception):
    """pip-audit made no report: the text is the last that it said."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Allowed:
    """A vulnerability that is known and does not stop us: why, and until when."""

    id: str
    package: str
    why: str
    until: date


@dataclass(frozen=True, kw_only=True, slots=True)
class Judgement:
    """problems: what must be mended. notes: what may be tidied.

    not_audited: of what nobody said anything; because: what was said of the first of them.
    """

    problems: tuple[str, ...]
    not_audited: tuple[str, ...]
    because: str = ""
    notes: tuple[str, ...]


def pins(text: str) -> dict[str, str]:
    """Package -> version of a file of constraints."""
    return {_normal(match["name"]): match["version"] for match in _PIN.finditer(text)}


def allowed_in(text: str) -> tuple[Allowed, ...]:
    """The list of what is allowed. Raises ValueError: an entry without package, why or until."""
    found = []
    for name, entry in tomllib.loads(text).items():
        missing = {"package", "why", "until"} - set(entry)
        if missing or set(entry) - {"package", "why", "until"} or not isinstance(entry.get("until"), date):
            raise ValueError(f"[{name}] has package, why and until (a date such as 2026-12-31), and nothing else")
        found.append(Allowed(id=name, package=_normal(entry["package"]), why=entry["why"], until=entry["until"]))
    return tuple(found)


def judge(
    report: Mapping[str, Any], pinned: Mapping[str, str], allowed: Sequence[Allowed], *, today: date
) -> Judgement:
    """What pip-audit's report (--format json) means for these versions."""
    problems: list[str] = []
    skipped: list[str] = []
    used: set[str] = set()
    audited: dict[str, str] = {}
    for one in report.get("dependencies", ()):
        if "skip_reason" in one:
            skipped.append(one["skip_reason"])
            continue
        name = _normal(one["name"])
        audited[name] = one["version"]
        for vulnerability in one["vulns"]:
            ids = {vulnerability["id"], *vulnerability.get("aliases", ())}
            entry = next((each for each in allowed if each.id in ids and each.package == name), None)
            if entry is not None:
                used.add(entry.id)
            if entry is None or entry.until < today:
                problems.append(_told(one, vulnerability, entry))
    missing = tuple(f"{name} {version}" for name, version in pinned.items() if audited.get(name) != version)
    notes = tuple(
        f"{each.id} of {each.package} is allowed, and not there: take it out" for each in allowed if each.id not in used
    )
    because = skipped[0] if skipped and missing else ""
    return Judgement(problems=tuple(problems), not_audited=missing, because=because, notes=notes)


def ask(pinned: Path) -> Mapping[str, Any]:
    """pip-audit's report on a file of constraints. Raises NotAskedError.

    What it says beside is not shown: 'No known vulnerabilities found' among it, where it has looked nothing up.
    """
    command = [str(TOOLS), "-m", "pip_audit", "--requirement", str(pinned), "--no-deps", "--disable-pip"]
    command += ["--format", "json", "--progress-spinner", "off"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own words
    try:
        found: dict[str, Any] = json.loads(done.stdout)
    except ValueError as error:
        raise NotAskedError((done.stderr.strip().splitlines() or ["it said nothing"])[-1]) from error
    return found


def verdict(file: str, judgement: Judgement, *, of: int) -> tuple[int, list[str]]:
    """Exit code and what is printed for one file of `of` pinned versions."""
    lines = [f"{file}: {problem}" for problem in judgement.problems]
    lines += [f"{file}: note: {note}" for note in judgement.notes]
    if judgement.problems:
        return 1, lines
    left = judgement.not_audited
    if left:
        some = ", ".join(left[:_SHOWN]) + (" ..." if len(left) > _SHOWN else "")
        why = f" ({judgement.because})" if judgement.because else ""
        return 2, [*lines, f"{file}: NOT AUDITED: {len(left)} of {of} versions: {some}{why}"]
    return 0, [*lines, f"{file}: {of} versions, no known vulnerability that is not allowed"]


def main() -> int:
    """Audit every file of constraints."""
    allowed, today = allowed_in(ALLOWED.read_text()), datetime.now(UTC).date()
    codes = []
    for path in PINNED:
        pinned = pins(path.read_text())
        here = [each for each in allowed if each.package in pinned]
        try:
            code, lines = verdict(path.name, judge(ask(path), pinned, here, today=today), of=len(pinned))
        except NotAskedError as error:
            code, lines = 2, [f"{path.name}: NOT AUDITED: none of {len(pinned)} versions: pip-audit failed ({error})"]
        print("\n".join(lines))  # noqa: T201
        codes.append(code)
    if 2 in codes:
        print(_WAY_OUT)  # noqa: T201
    return 1 if 1 in codes else max(codes)


def _told(one: Mapping[str, Any], vulnerability: Mapping[str, Any], entry: Allowed | None) -> str:
    fixed = ", ".join(vulnerability.get("fix_versions", ())) or "no version yet"
    names = ", ".join([vulnerability["id"], *vulnerability.get("aliases", ())])
    over = f"; it was allowed until {entry.until}" if entry else ""
    return f"{one['name']} {one['version']} has {names} (mended in {fixed}){over}"


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    sys.exit(main())
