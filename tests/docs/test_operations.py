"""Every command of the operations guide runs as it is written there, against a service that runs."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from services.cli import app
from tests.support.peers import wait_until
from tests.support.standalone import Running, standalone

REPOSITORY = Path(__file__).resolve().parents[2]
GUIDE = REPOSITORY / "docs" / "operations.md"
COMMANDS = [
    line.strip()[2:]
    for block in re.findall(r"^ *```console\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    for line in block.splitlines()
    if line.strip().startswith("$ ")
]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with standalone(tmp_path_factory.mktemp("guide") / "data", fake_segmenter_s=0) as running:
        ready = f"http://127.0.0.1:{running.http_port}/readyz"
        wait_until(lambda: answers(ready), what="all checks being right")
        yield running


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=3).is_success
    except httpx.TransportError:
        return False


def test_the_guide_has_commands() -> None:
    assert len(COMMANDS) > 10


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_guide_runs(command: str, service: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setenv("VIGIE_DATA", str(next(service.log.parent.glob("data"))))
    ours = command.replace("127.0.0.1:11112", f"127.0.0.1:{service.dicom_port}")
    ours = ours.replace("127.0.0.1 11112", f"127.0.0.1 {service.dicom_port}")
    ours = ours.replace("127.0.0.1:8000", f"127.0.0.1:{service.http_port}")
    program, *words = shlex.split(ours)
    if program == "vigie":
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, done.output
    else:
        subprocess.run([program, *words], check=True, stdout=sys.stderr, timeout=30)


def test_files_and_settings_that_the_guide_names_are_there() -> None:
    text = GUIDE.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text)
    assert [link for link in links if not (GUIDE.parent / link).exists()] == []
    known = {f"VIGIE_{name.upper()}" for name in settings_fields()}
    assert set(re.findall(r"VIGIE_[A-Z0-9_]+[A-Z0-9]", text)) - known == set()


def settings_fields() -> list[str]:
    from services.settings import Settings

    return list(Settings.model_fields)
