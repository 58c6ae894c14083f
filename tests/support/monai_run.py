"""Runs bundles as `python -m monai.bundle run` does, several in one process: python monai_run.py JOBS.json."""

import contextlib
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigWorkflow

from services.backends.inference.runner import ARRAYS


def run(jobs: Iterable[dict[str, Any]]) -> None:
    """A job: `bundle` (folder), `config` (file), `run_id`, and what `overrides` the config."""
    for job in jobs:
        with contextlib.chdir(job["bundle"]):
            workflow = ConfigWorkflow(
                job["config"], workflow_type=None, logging_file=False, run_id=job["run_id"], **job["overrides"]
            )
            workflow.initialize()
            workflow.run()
            workflow.finalize()


if __name__ == "__main__":
    torch.set_num_threads(1)
    # search codes of DiNTS hold NumPy arrays, which torch.load takes since 2.6 only when it is told
    torch.serialization.add_safe_globals(ARRAYS)
    run(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
