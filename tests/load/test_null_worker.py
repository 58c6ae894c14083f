"""The worker of `make load`: it finds nothing, and its rule claims every study of the mix."""

from pathlib import Path

from load.null_worker import ROUTING, NullSegmenter
from services.backends.routing_file import load_rules
from services.sizing.mix import MIX
from tests.support.house import House, chest_with_ball


def test_the_rule_names_every_modality_of_the_mix(tmp_path: Path) -> None:
    (tmp_path / "routing.toml").write_text(ROUTING)
    (rule,) = load_rules(tmp_path / "routing.toml")
    assert rule.modalities == {kind.modality for kind in MIX}


def test_a_chest_ends_with_a_report_that_nothing_was_found(tmp_path: Path) -> None:
    house = House(data=tmp_path / "data", model_name="null")
    uid = house.queue_study(chest_with_ball())
    house.work(NullSegmenter())  # type: ignore[arg-type]
    assert house.result(uid).outcome == "nothing_found"
