"""A variable that cannot be used is told by each command as a wrong flag is, and what it holds is told by none."""

import os
import subprocess
import sys

import pytest

SECRET = "postgresql://vigie:horse-battery@127.0.0.1:1/vigie"
COMMANDS = (["settings"], ["queue", "status"], ["db", "check"], ["people", "check"], ["retention", "status"])


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"VIGIE_HTTP_CONNECTIONS": "many"}, "VIGIE_HTTP_CONNECTIONS: Input should be a valid integer"),
        ({"VIGIE_RETENTION_FREE_PERCENT": "20"}, "set VIGIE_RETENTION_DAYS"),
    ],
    ids=["one variable", "several together"],
)
def test_a_variable_that_cannot_be_used_is_told_without_a_traceback(
    command: list[str], variables: dict[str, str], words: str
) -> None:
    vigie = "from services.cli import main; main()"
    environment = {**os.environ, "VIGIE_DATABASE_URL": SECRET, **variables}
    done = subprocess.run(
        [sys.executable, "-c", vigie, *command],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    told = " ".join(done.stderr.replace("\u2502", " ").split())
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert words in told
    assert "Traceback" not in told
    assert "horse-battery" not in done.stderr
