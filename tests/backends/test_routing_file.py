"""A file of rules is read whole or refused, naming file, rule and key."""

from pathlib import Path

import pytest

from services.backends.routing_file import load_rules
from services.triage.errors import RulesRefused
from services.triage.job import OrderPriority
from services.triage.traits import Orientation

GOOD = """
[[rule]]
name = "liver MR"
model = "mr_liver"
modalities = ["mr"]
body_parts = ["Liver", "ABDOMEN"]
descriptions = ['\\bliver']
orientations = ["axial", "coronal"]
max_slice_thickness_mm = 4
max_slices = 300
contrast = true
order_priority = "stat"
"""


@pytest.fixture
def rules_of(tmp_path):
    def read(text):
        path = tmp_path / "rules.toml"
        path.write_text(text, encoding="utf-8")
        return load_rules(path)

    return read


def test_every_key_arrives_in_the_rule(rules_of):
    (rule,) = rules_of(GOOD)
    assert (rule.name, rule.model_name, rule.modalities) == ("liver MR", "mr_liver", {"MR"})
    assert rule.body_parts == {"LIVER", "ABDOMEN"}
    assert rule.descriptions[0].search("t1 liver vibe")
    assert rule.orientations == {Orientation.AXIAL, Orientation.CORONAL}
    assert (rule.max_slice_thickness_mm, rule.min_slices, rule.max_slices) == (4, 3, 300)
    assert rule.contrast is True
    assert rule.order_priority is OrderPriority.STAT


def test_the_repositorys_rules_send_chest_ct_to_the_lung_model():
    (rule,) = load_rules(Path("models/routing.toml"))
    assert (rule.model_name, rule.modalities) == ("ct_lung_lesion", {"CT"})


def test_every_key_is_explained_in_the_repositorys_file():
    from services.backends.routing_file import _Entry

    comment = "".join(line for line in Path("models/routing.toml").read_text().splitlines() if line.startswith("#"))
    assert [key for key in _Entry.model_fields if key not in comment] == []


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('name = "liver MR"', 'name = "liver MR"\nslices = 3', "'slices'"),
        ('model = "mr_liver"\n', "", "'model'"),
        ("\\bliver", "(liver", "'descriptions.0'"),
        ('"stat"', '"now"', "'order_priority'"),
        ('"coronal"', '"upright"', "'orientations.1'"),
        ("= 4", '= "thin"', "'max_slice_thickness_mm'"),
        ("= 300", "= 1", "'max_slices'"),
    ],
    ids=["unknown", "missing", "pattern", "priority", "orientation", "number", "too-small"],
)
def test_a_wrong_key_is_named_with_its_rule_and_file(rules_of, old, new, told):
    assert old in GOOD
    with pytest.raises(RulesRefused) as refused:
        rules_of(GOOD + GOOD.replace(old, new))
    assert refused.value.reason.code == "invalid_rules"
    assert "rules.toml: rule 2 'liver MR', key " + told in refused.value.reason.text


@pytest.mark.parametrize("text", ["", "rule = 3", "[[rules]]\nname = 'x'", "[rule]\nname = 'x'"])
def test_a_file_without_rules_is_refused(rules_of, text):
    with pytest.raises(RulesRefused, match="invalid_rules"):
        rules_of(text)


def test_a_file_that_is_not_toml_or_not_there_is_refused(rules_of, tmp_path):
    with pytest.raises(RulesRefused, match="unreadable_rules"):
        rules_of("[[rule")
    with pytest.raises(RulesRefused, match="unreadable_rules"):
        load_rules(tmp_path / "none.toml")
