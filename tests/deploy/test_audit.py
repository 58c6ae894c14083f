"""`make audit` and `make sbom`: what is made of pip-audit's answer, recorded here, and of the environment."""

import json
import sys
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from deploy.audit import ALLOWED, PINNED, Allowed, Judgement, allowed_in, judge, main, pins, verdict
from deploy.sbom import EXTRAS, closure, of_environment, only

TODAY = date(2026, 11, 27)
PIN = {"jinja2": "2.4.1", "idna": "3.20", "typing-extensions": "4.16.0"}
# as pip-audit 2.10 prints it (--format json)
VULNERABLE = {
    "name": "jinja2",
    "version": "2.4.1",
    "vulns": [
        {
            "id": "PYSEC-2014-8",
            "fix_versions": ["2.7.2"],
            "aliases": ["CVE-2014-1402", "GHSA-8r7q-cvjq-x353"],
            "description": "The default configuration does not properly create temporary files.",
        }
    ],
}
CLEAN = {"name": "idna", "version": "3.20", "vulns": []}
ALSO = {"name": "typing_extensions", "version": "4.16.0", "vulns": []}
SKIPPED = {"name": "idna", "skip_reason": "Dependency not found on PyPI and could not be audited: idna (3.20)"}


def report(*dependencies: dict[str, Any]) -> dict[str, Any]:
    return {"dependencies": list(dependencies), "fixes": []}


def allowing(name: str, *, until: date = TODAY, package: str = "jinja2") -> list[Allowed]:
    return [Allowed(id=name, package=package, why="not called", until=until)]


def test_a_known_vulnerability_fails_by_its_names_and_says_what_mends_it() -> None:
    found = judge(report(VULNERABLE, CLEAN, ALSO), PIN, [], today=TODAY)
    (problem,) = found.problems
    assert problem == "jinja2 2.4.1 has PYSEC-2014-8, CVE-2014-1402, GHSA-8r7q-cvjq-x353 (mended in 2.7.2)"
    assert verdict("constraints.txt", found, of=3)[0] == 1


@pytest.mark.parametrize("name", ["PYSEC-2014-8", "CVE-2014-1402"])
def test_what_is_allowed_passes_until_its_day_and_for_its_package_only(name: str) -> None:
    given = report(VULNERABLE, CLEAN, ALSO)
    assert judge(given, PIN, allowing(name), today=TODAY) == Judgement(problems=(), not_audited=(), notes=())
    late = judge(given, PIN, allowing(name, until=date(2026, 11, 26)), today=TODAY)
    assert late.problems[0].endswith("it was allowed until 2026-11-26")
    assert judge(given, PIN, allowing(name, package="idna"), today=TODAY).problems


@pytest.mark.parametrize(
    ("other", "why"), [([SKIPPED], f" ({SKIPPED['skip_reason']})"), ([], ""), ([{**CLEAN, "version": "3.19"}], "")]
)
def test_a_package_that_could_not_be_audited_fails(other: list[dict[str, Any]], why: str) -> None:
    found = judge(report(ALSO, {**VULNERABLE, "vulns": []}, *other), PIN, [], today=TODAY)
    assert found.not_audited == ("idna 3.20",)
    assert verdict("constraints.txt", found, of=3) == (
        2,
        [f"constraints.txt: NOT AUDITED: 1 of 3 versions: idna 3.20{why}"],
    )


PIP_AUDIT = """\
import json, sys
print("No known vulnerabilities found", file=sys.stderr)
print(json.dumps({"dependencies": [{"name": "idna", "skip_reason": "Dependency not found on PyPI"}], "fixes": []}))
"""
BREAKS = """\
import sys
sys.exit("ERROR:pip_audit._cli:Could not connect to PyPI's vulnerability feed")
"""


@pytest.mark.parametrize(
    ("program", "said"),
    [
        (PIP_AUDIT, "NOT AUDITED: 1 of 1 versions: idna 3.20 (Dependency not found on PyPI)"),
        (BREAKS, "NOT AUDITED: none of 1 versions: pip-audit failed (ERROR:pip_audit._cli:Could not connect"),
    ],
)
def test_where_nobody_can_be_asked_it_says_what_was_not_audited_why_and_what_to_do(
    program: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """pip-audit itself says 'No known vulnerabilities found' then."""
    (tmp_path / "pip_audit.py").write_text(program)
    (tmp_path / "constraints.txt").write_text("idna==3.20\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr("deploy.audit.TOOLS", Path(sys.executable))
    monkeypatch.setattr("deploy.audit.PINNED", (tmp_path / "constraints.txt",))
    assert main() == 2
    printed, beside = capfd.readouterr()
    assert f"constraints.txt: {said}" in printed
    assert "https://pypi.org/pypi/" in printed
    assert "PIP_AUDIT_VULNERABILITY_SERVICE=osv make audit" in printed
    assert "No known vulnerabilities" not in printed + beside


def test_all_audited_and_nothing_known_is_success_and_a_stale_entry_is_named() -> None:
    found = judge(report(CLEAN, ALSO, {**VULNERABLE, "vulns": []}), PIN, allowing("CVE-1"), today=TODAY)
    code, lines = verdict("constraints.txt", found, of=3)
    assert code == 0
    assert lines[0].endswith("CVE-1 of jinja2 is allowed, and not there: take it out")


@pytest.mark.parametrize(
    "entry", ['why = "a"\nuntil = 2026-12-31', 'package = "a"\nwhy = "b"\nuntil = "soon"', 'package = "a"\nwhy = "b"']
)
def test_an_entry_of_the_list_has_a_package_a_reason_and_a_day(entry: str) -> None:
    with pytest.raises(ValueError, match="has package, why and until"):
        allowed_in(f"[CVE-1]\n{entry}\n")


def test_every_line_of_the_constraints_is_a_pin_and_the_list_can_be_read() -> None:
    for path in PINNED:
        lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
        assert len(pins(path.read_text())) == len(lines) > 20
    allowed_in(ALLOWED.read_text())


def test_a_bill_of_materials_has_what_an_image_installs_and_nothing_of_the_tests() -> None:
    bom = of_environment(Path(sys.executable))
    assert bom["bomFormat"] == "CycloneDX"
    names = {image: closure("vigie", extras) - {"vigie"} for image, extras in EXTRAS.items()}
    for image, wanted in names.items():
        kept = only(bom, wanted)
        assert {one["name"].lower().replace("_", "-").replace(".", "-") for one in kept["components"]} == wanted, image
        assert all(one["version"] and one["purl"].startswith("pkg:pypi/") for one in kept["components"])
        assert json.dumps(kept)
    assert "highdicom" in names["vigie-worker"] - names["vigie-gateway"]
    assert not {"pytest", "torch", "monai"} & names["vigie-worker"]
    assert {"pydicom", "psycopg-binary"} <= names["vigie-gateway"]
