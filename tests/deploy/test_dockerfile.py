"""What can be said of the images without building them: no Docker engine is needed here."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / "deploy" / "docker" / "Dockerfile"
TARGETS = ("gateway", "worker", "deliver", "triton")


def instructions() -> list[str]:
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE)
    return [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]


def stages() -> dict[str, list[str]]:
    """Instructions of each stage, those of the stages that it is made from before its own."""
    found: dict[str, list[str]] = {}
    for line in instructions():
        if line.startswith("FROM"):
            _, base, _, name = line.split()
            found[name] = list(found.get(base, []))
        found[name].append(line)
    return found


def test_hadolint_has_nothing_to_say():
    program = Path(sys.executable).parent / "hadolint"
    done = subprocess.run([program, DOCKERFILE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_is_not_run_as_root_and_says_how_its_health_is_known(target):
    stage = stages()[target]
    users = [line.split()[1] for line in stage if line.startswith("USER")]
    assert users
    assert users[-1] not in {"0", "root"}
    assert any(line.startswith("HEALTHCHECK") for line in stage)
    assert any(line.startswith("ENTRYPOINT") for line in stage)


def test_all_that_is_copied_is_there_and_not_ignored():
    kept = {line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"}
    for line in instructions():
        if line.startswith("COPY") and "--from" not in line:
            for source in line.split()[1:-1]:
                assert (ROOT / source).exists(), source
                assert source in kept, source


def test_the_gateway_is_built_without_torch_and_the_worker_too():
    extras = {line.split("'")[1] for line in instructions() if "pip install" in line and "'." in line}
    assert extras == {".[postgres,telemetry]", ".[postgres,telemetry,worker,triton]"}
