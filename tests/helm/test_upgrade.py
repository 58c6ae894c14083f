"""Who has installed an earlier version of the chart can upgrade: what may not change does not."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helm.conftest import CHART, PROFILES, manifests_of, profile
from tests.helm.engine import Chart, HelmRenderError
from tests.helm.manifests import Manifest, of_kind
from tests.helm.released import FOLDER, KEPT, RELEASE, immutable, version_now

RELEASED = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}
EVERY = [(version, name) for version, kept in RELEASED.items() for name in kept]


def upgraded(chart: Chart, values: dict[str, Any], revision: int = 2) -> list[Manifest]:
    return manifests_of(chart.render(values, **RELEASE, revision=revision, is_upgrade=True, is_install=False))


def test_a_released_version_is_known():
    assert "0.1.0" in RELEASED


@pytest.mark.parametrize(("version", "name"), EVERY)
def test_no_immutable_field_changes(chart: Chart, version: str, name: str):
    """With the values of that time, which the schema still takes. What is not a Job has its name for ever."""
    before = RELEASED[version][name]
    after = immutable(upgraded(chart, before["values"]))
    for each, fields in before["objects"].items():
        if each in after:
            assert after[each] == fields, each


@pytest.mark.parametrize(("version", "name"), EVERY)
def test_nothing_that_holds_data_or_that_peers_know_goes(chart: Chart, version: str, name: str):
    before = RELEASED[version][name]
    after = immutable(upgraded(chart, before["values"]))
    gone = {each for each in before["objects"] if each.split("/")[0] in KEPT} - after.keys()
    assert not gone


@pytest.mark.parametrize("name", [*PROFILES, "operators"])
def test_a_job_cannot_be_changed_so_each_revision_has_its_own(chart: Chart, name: str):
    """A Job that is a hook is made anew: Helm deletes the one before it."""
    first, second = (
        {
            one["metadata"]["name"]: one["metadata"].get("annotations", {}).get("helm.sh/hook-delete-policy", "")
            for one in of_kind(upgraded(chart, profile(name), revision), "Job")
        }
        for revision in (2, 3)
    )
    for job in first.keys() & second.keys():
        assert "before-hook-creation" in second[job], job
    assert len(first) == len(second) > 0


@pytest.mark.parametrize(("version", "name"), EVERY)
def test_reuse_values_from_an_older_version_is_refused_with_the_way_out(tmp_path: Path, version: str, name: str):
    """As Helm does it: the defaults of the chart that is installed stand in the place of the new one's."""
    reusing = Path(shutil.copytree(CHART, tmp_path / "vigie"))
    shutil.copy(FOLDER / f"{version}.yaml", reusing / "values.yaml")
    with pytest.raises(HelmRenderError, match="Use --reset-then-reuse-values"):
        upgraded(Chart.load(reusing), RELEASED[version][name]["values"])


def test_a_copy_of_an_older_values_file_is_no_reuse_and_is_taken(chart: Chart):
    """What is new has its default then."""
    copied = yaml.safe_load((CHART / "values.yaml").read_text()) | {"defaultsOf": {"0.2.0": True}}
    assert upgraded(chart, copied | profile("hospital"))


def test_the_defaults_are_those_of_this_version():
    assert yaml.safe_load((CHART / "values.yaml").read_text())["defaultsOf"] == {version_now(): True}


def test_the_comparison_finds_a_changed_field(chart: Chart):
    values = RELEASED["0.1.0"]["evaluation"]["values"]
    objects = RELEASED["0.1.0"]["evaluation"]["objects"]
    grown = {**values, "database": {"mode": "builtin", "builtin": {"size": "40Gi"}}}
    assert immutable(upgraded(chart, grown))["StatefulSet/vigie-database"] != objects["StatefulSet/vigie-database"]
