"""The file of blind-first mode: what it says is in force, and what is wrong in it is named."""

from datetime import timedelta
from pathlib import Path

import pytest

from services.backends.blind_file import load_blind
from services.triage.blind import NOT_BLIND, BlindRule
from services.triage.errors import BlindRefused
from services.triage.tenant import Tenant, Tenants

EXAMPLE = Path(__file__).parents[2] / "deploy" / "blind.toml"
TENANTS = Tenants(tenants=(Tenant(name="hospital-a"), Tenant(name="hospital-b")))
KEY = 'key = "sixteen or more letters"\n'


def test_without_a_file_nothing_is_withheld() -> None:
    assert load_blind(None) is NOT_BLIND


def test_the_example_is_in_force_as_it_stands() -> None:
    policy = load_blind(EXAMPLE, TENANTS)
    assert policy.rules == (
        BlindRule(share=0.0, tenant="hospital-b"),
        BlindRule(share=0.1, model_name="lung_nodule_ct"),
    )


def test_a_rule_has_the_time_of_the_file_or_its_own(tmp_path: Path) -> None:
    path = tmp_path / "blind.toml"
    rule = "[[hold]]\nshare = 1.0\n"
    path.write_text(f"{KEY}blind_max_hold_min = 10\n{rule}{rule}blind_max_hold_min = 5")
    assert [rule.max_hold for rule in load_blind(path).rules] == [timedelta(minutes=10), timedelta(minutes=5)]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("key = ", "Invalid value"),
        ("", "key"),
        (KEY, "hold"),
        ('key = "short"\n[[hold]]\nshare = 1.0', "key"),
        (f"{KEY}[[hold]]", "hold.0.share"),
        (f"{KEY}[[hold]]\nshare = 1.5", "hold.0.share"),
        (f"{KEY}[[hold]]\nshare = 0.5\n[[hold]]\nshare = nan", "hold.1.share"),
        (f"{KEY}[[hold]]\nshare = 0.5\nsite = 'x'", "hold.0.site"),
        (f"{KEY}[[hold]]\nshare = 0.5\nblind_max_hold_min = 0", "hold.0.blind_max_hold_min"),
        (f"{KEY}[[hold]]\nshare = 0.5\ntenant = 'hospital-c'", "there are hospital-a, hospital-b"),
    ],
)
def test_what_is_wrong_in_it_is_named(tmp_path: Path, content: str, told: str) -> None:
    path = tmp_path / "blind.toml"
    path.write_text(content)
    with pytest.raises(BlindRefused) as refused:
        load_blind(path, TENANTS)
    assert told in refused.value.reason.text
    assert str(path) in refused.value.reason.text
    assert "short" not in refused.value.reason.text  # the key stays a secret


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(BlindRefused, match="nothing"):
        load_blind(tmp_path / "nothing.toml")
