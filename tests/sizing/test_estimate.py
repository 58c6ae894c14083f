"""The calculator: what doubles, what does not, and that its constants promise no more than was measured."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from services.cli import app
from services.sizing.estimate import CONSTANTS, Question, estimate
from services.sizing.mix import AN_HOUR, MIX, gb_an_hour
from services.triage.uncertainty import UncertaintyMode
from tests.support.markdown import tables

MEASURED = Path(__file__).resolve().parents[2] / "docs" / "measurements"
USUAL = Question.usual()


def test_the_usual_mix_is_three_hundred_studies_an_hour_most_of_them_radiographs() -> None:
    assert AN_HOUR == 300
    assert sum(kind.an_hour for kind in MIX if kind.modality in ("CR", "DX")) == 120
    assert 10 < gb_an_hour() < 30


def test_twice_the_studies_are_twice_the_disk_and_network_and_no_fewer_replicas() -> None:
    once, twice = estimate(USUAL), estimate(replace(USUAL, studies_per_hour=2 * AN_HOUR))
    for name in ("network_mbit_s", "images_tb", "database_gb_per_year", "instances_per_hour", "studies_per_day"):
        assert twice.as_dict()[name] == pytest.approx(2 * once.as_dict()[name])
    assert twice.triton_replicas >= once.triton_replicas


def test_a_region_of_a_hundred_hospitals_needs_doors_and_gpus_by_the_dozen_and_tens_of_terabytes() -> None:
    region = estimate(replace(USUAL, studies_per_hour=100 * AN_HOUR, retention_days=7))
    assert 5 < region.door_replicas < 50
    assert region.triton_replicas > 50
    assert region.images_tb > 10


def test_retention_is_disk_and_nothing_else() -> None:
    week, month = estimate(USUAL), estimate(replace(USUAL, retention_days=28))
    assert month.images_tb == pytest.approx(4 * week.images_tb)
    assert replace(month, images_tb=0) == replace(week, images_tb=0)


def test_where_no_model_looks_there_is_no_gpu() -> None:
    assert estimate(replace(USUAL, analysed=frozenset())).triton_replicas == 0


def test_mirrored_runs_are_the_models_time_so_many_times_and_no_more_of_anything_else() -> None:
    large = replace(USUAL, studies_per_hour=100 * AN_HOUR, spare=0)
    factor = USUAL.constants["flips_times"]
    once, flips = estimate(large), estimate(replace(large, uncertainty=UncertaintyMode.FLIPS))
    assert flips.triton_replicas == pytest.approx(factor * once.triton_replicas, rel=0.01)
    assert once.worker_replicas + flips.triton_replicas - once.triton_replicas == pytest.approx(
        flips.worker_replicas, abs=2
    ), "a worker waits for its model"
    longer = large.constants | {"model_s": factor * large.constants["model_s"]}
    assert flips == estimate(replace(large, constants=longer))


def test_a_spare_replica_of_each_kind_is_counted() -> None:
    bare, spared = estimate(replace(USUAL, spare=0)), estimate(replace(USUAL, spare=2))
    assert (spared.door_replicas, spared.worker_replicas) == (bare.door_replicas + 2, bare.worker_replicas + 2)


@pytest.mark.parametrize("wrong", [{"mix": {"WSI": 3.0}}, {"mix": {"CT": 0.0}}, {"studies_per_hour": 0.0}])
def test_what_cannot_be_sized_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"no size is known|there must be studies"):
        estimate(replace(USUAL, **wrong))  # type: ignore[arg-type]


def test_the_constants_promise_no_more_than_the_pages_of_measurements_say() -> None:
    (rows,) = [each for each in tables(MEASURED / "ingest.md") if "receiver" in each[0]]
    one = next(row for row in rows if (row["receiver"], row["associations"]) == ("vigie", "1"))
    assert CONSTANTS["door_mb_s"].value <= 152 / float(one["median s"])
    assert CONSTANTS["door_instances_s"].value <= 300 / float(one["median s"])
    pipeline = (MEASURED / "pipeline.md").read_text()
    ours = re.search(r"\| ours \| ([\d.]+)", pipeline)
    model = re.search(r"with the shipped model.*?segment ([\d.]+)", pipeline)
    assert ours
    assert model
    assert CONSTANTS["worker_s"].value >= float(ours.group(1))
    assert CONSTANTS["model_s"].value >= float(model.group(1))
    (mirrored,) = tables(MEASURED / "uncertainty.md")
    assert CONSTANTS["flips_times"].value >= max(float(row["CPU s: ratio"]) for row in mirrored)


def size(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["size", *words], env={"COLUMNS": "300"})
    return done.exit_code, done.output


def test_the_command_answers_json_with_the_source_of_every_constant() -> None:
    code, told = size("--json", "--mix", "CT=1", "--set", "model_s=4")
    found = json.loads(told)
    assert (code, found["constants"]["model_s"]["value"]) == (0, 4)
    assert all(each["source"] for each in found["constants"].values())
    assert found["estimate"]["analysed_per_hour"] == AN_HOUR


def test_mirrored_runs_are_said_with_their_factor_and_by_another_factor_if_told() -> None:
    asked = ("--studies-per-hour", "30000", "--uncertainty", "flips")
    plain, usual, cheaper = (
        json.loads(size("--json", *words)[1]) for words in ((), asked, (*asked, "--set", "flips_times=2"))
    )
    assert (plain["uncertainty"], usual["uncertainty"]) == ("off", "flips")
    assert cheaper["constants"]["flips_times"]["value"] == 2
    assert cheaper["estimate"]["triton_replicas"] < usual["estimate"]["triton_replicas"]
    line = "With VIGIE_UNCERTAINTY=flips: a model takes 3.9 times its model_s (flips_times)."
    assert line in size(*asked)[1]
    assert "With VIGIE_UNCERTAINTY" not in size()[1]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--mix", "CT"), "is no NAME=NUMBER"),
        (("--mix", "WSI=3"), "no size is known of WSI"),
        (("--set", "speed=3"), "no constant speed"),
    ],
)
def test_a_wrong_question_is_told(words: tuple[str, ...], told: str) -> None:
    code, output = size(*words)
    assert code == 2
    assert told in output
