"""A run of pytest, in processes of its own, one of which dies."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[2]
CONFTEST = """
from tests.support.load_file import LoadFile
def pytest_xdist_make_scheduler(config, log):
    return LoadFile(config, log)
"""
QUICK = "def test_one(): pass\ndef test_two(): pass\ndef test_three(): pass\n"
# it dies when all others have been told that there is nothing left to do
DIES = """
import os, pathlib, time
def test_before(): time.sleep(1)
def test_dies():
    died = pathlib.Path("died")
    is_first = not died.exists()
    died.touch()
    if is_first or {always}:
        os.kill(os.getpid(), 9)
def test_after(): pass
"""


@pytest.mark.parametrize("is_last_of_its_file", [True, False])
@pytest.mark.parametrize("always", [True, False])
def test_what_a_dead_worker_had_before_it_is_run_by_another(
    always: bool, is_last_of_its_file: bool, tmp_path: Path
) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    for name in "abc":
        (tmp_path / f"test_{name}.py").write_text(QUICK)
    dies = DIES.format(always=always)
    (tmp_path / "test_d.py").write_text(dies.partition("def test_after")[0] if is_last_of_its_file else dies)
    command = [sys.executable, "-m", "pytest", "--rootdir=.", "-p", "no:schemathesis"]
    command += ["-n", "2", "--dist", "loadfile", "--no-loadscope-reorder", "--reruns", "1"]
    environment = os.environ | {"PYTHONPATH": str(HOUSE)}
    ran = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    passed = len("abc") * QUICK.count("def") + dies.count("def") - always - is_last_of_its_file
    ended = f"{'1 failed, ' if always else ''}{passed} passed, 1 rerun"
    assert (ran.returncode, ran.stdout.count(ended)) == (int(always), 1), ran.stdout
