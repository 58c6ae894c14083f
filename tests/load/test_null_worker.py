"""The worker of `make load`: its rule claims every study of the mix."""

from pathlib import Path

from load.null_worker import ROUTING
from services.backends.routing_file import load_rules
from services.sizing.mix import MIX


def test_the_rule_names_every_modality_of_the_mix(tmp_path: Path) -> None:
    (tmp_path / "routing.toml").write_text(ROUTING)
    (rule,) = load_rules(tmp_path / "routing.toml")
    assert rule.modalities == {kind.modality for kind in MIX}
