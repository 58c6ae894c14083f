"""Bills of materials (CycloneDX): `make sbom` writes what each image's Python has, from the tested environments.

By cyclonedx-py on an environment, of which only what an image installs is kept: the closure of our distribution with
the extras of that image.
"""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

REPOSITORY = Path(__file__).resolve().parents[1]
TARGET = REPOSITORY / "build" / "sbom"
TOOLS = REPOSITORY / ".venv-audit" / "bin" / "python"
EXTRAS = {"vigie-gateway": ("postgres",), "vigie-worker": ("postgres", "worker", "triton")}
"""As deploy/docker/Dockerfile installs them; deliver has the gateway's."""

Required = Callable[[str], Sequence[str]]


def installed(name: str) -> Sequence[str]:
    """What an installed distribution requires, as it says."""
    return distribution(name).requires or ()


def closure(name: str, extras: Sequence[str], required: Required = installed) -> set[str]:
    """The distributions that one needs with these extras, itself among them; normalised names."""
    found: set[str] = set()
    todo = [(name, frozenset(extras))]
    seen: set[tuple[str, frozenset[str]]] = set()
    while todo:
        one = todo.pop()
        if one in seen:
            continue
        seen.add(one)
        found.add(normal(one[0]))
        for text in required(one[0]):
            needed = Requirement(text)
            wanted = [{"extra": extra} for extra in one[1]] or [{"extra": ""}]
            if needed.marker is None or any(needed.marker.evaluate(each) for each in wanted):
                todo.append((needed.name, frozenset(needed.extras)))
    return found


def only(bom: Mapping[str, Any], names: set[str]) -> dict[str, Any]:
    """A bill of materials with the components of these names alone."""
    kept = [one for one in bom.get("components", ()) if normal(one["name"]) in names]
    refs = {one["bom-ref"] for one in kept} | {bom["metadata"]["component"]["bom-ref"]}
    dependencies = [
        {**one, **({"dependsOn": [ref for ref in one["dependsOn"] if ref in refs]} if "dependsOn" in one else {})}
        for one in bom.get("dependencies", ())
        if one["ref"] in refs
    ]
    return {**bom, "components": kept, "dependencies": dependencies}


def of_environment(python: Path) -> dict[str, Any]:
    """All that an environment has."""
    command = [str(TOOLS), "-m", "cyclonedx_py", "environment", str(python), "--output-reproducible"]
    command += ["--pyproject", str(REPOSITORY / "pyproject.toml"), "--mc-type", "application"]
    command += ["--no-validate"]  # it takes minutes; the library writes nothing else
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)  # noqa: S603 - our own words
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> None:
    """Write a file for each image."""
    TARGET.mkdir(parents=True, exist_ok=True)
    ours = of_environment(Path(sys.executable))
    for image, extras in EXTRAS.items():
        _write(image, only(ours, closure("vigie", extras) - {"vigie"}))
    triton = REPOSITORY / ".venv-triton" / "bin" / "python"
    if triton.exists():
        bom = of_environment(triton)
        _write("vigie-triton", only(bom, {normal(one["name"]) for one in bom["components"]} - {"vigie", "pip"}))


def normal(name: str) -> str:
    """As PyPI compares names."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _write(image: str, bom: Mapping[str, Any]) -> None:
    path = TARGET / f"{image}.cdx.json"
    path.write_text(json.dumps(bom, indent=1) + "\n")
    print(f"{path.relative_to(REPOSITORY)}: {len(bom['components'])} components")  # noqa: T201


if __name__ == "__main__":
    main()
