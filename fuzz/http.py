"""Target: the HTTP API, by schemathesis from its OpenAPI document, against a service that has studies and a result."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from fuzz.service import Service, running
from fuzz.tally import Tally
from fuzz.watch import Watch
from tests.support.house import House, chest_with_ball

SCHEMATHESIS = Path(sys.executable).parent / "schemathesis"
HOOKS = str(Path(__file__).with_name("one_part.py"))
ANSWER_WITHIN_S = 20
LONGEST_S = 1200
_GENERATED = re.compile(r"(\d+) generated")
EXCLUDED = "positive_data_acceptance"
"""What OpenAPI cannot say is refused all the same: an attribute that no dictionary has, a body that is no STOW-RS."""


def run(around: Path, *, cases_each: int, seed: str) -> Tally:
    """Of each operation so many cases, twice: with identifiers that exist, and with any."""
    tally = Tally(target="HTTP API")
    known = _fill(around / "a" / "b" / "data")
    began = time.monotonic()
    with running(around) as service:
        watch = Watch(service)
        watch.begin()
        for name, parameters in (("any", {}), ("known", known)):
            _schemathesis(service, around.parent / f"schemathesis-{name}", parameters, cases_each, seed, tally)
        watch.judge(tally)
    tally.seconds = time.monotonic() - began
    return tally


def _fill(data: Path) -> dict[str, list[str]]:
    """A study with a frozen result and one without; answers values of path parameters."""
    data.mkdir(parents=True)
    house = House(data)
    studies = [house.freeze(chest_with_ball()), house.take_in(chest_with_ball())]
    result = house.result(studies[0])
    series = [one.header for study in studies for one in _instances(house, study)]
    house.store.close()
    return {
        "uid": studies,
        "study": studies[:1],
        "series": [series[0].series_instance_uid],
        "instance": [series[0].sop_instance_uid],
        "sop_instance_uid": [one.sop_instance_uid for one in result.objects],
        "result_id": [result.result_id],
    }


def _instances(house: House, study: str) -> list[Any]:
    return [one for one in house.store.archive.instances(study) if not one.is_result]


def _schemathesis(
    service: Service, folder: Path, parameters: dict[str, list[str]], cases_each: int, seed: str, tally: Tally
) -> None:
    folder.mkdir()
    config = folder / "schemathesis.toml"
    lines = [f'"path.{name}" = {json.dumps(values)}' for name, values in parameters.items()]
    config.write_text(f"hooks = {json.dumps(HOOKS)}\n[parameters]\n" + "\n".join(lines) + "\n")
    command = [SCHEMATHESIS, "--config-file", config, "run", f"{service.url}/openapi.json"]
    command += ["--max-examples", cases_each, "--seed", seed, "--checks", "all", "--exclude-checks", EXCLUDED]
    command += ["--request-timeout", ANSWER_WITHIN_S, "--continue-on-failure", "--no-color"]
    command += ["--suppress-health-check", "all"]
    done = subprocess.run(
        [str(word) for word in command], cwd=folder, capture_output=True, text=True, timeout=LONGEST_S, check=False
    )
    generated = _GENERATED.search(done.stdout)
    tally.cases += int(generated[1]) if generated else 0
    if done.returncode or not generated:
        tally.found(f"schemathesis: {done.stdout[-8000:]}{done.stderr[-2000:]}")
