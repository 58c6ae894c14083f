"""`vigie models rollout` and what decides on it, as who brings a new version uses them."""

import pytest
from typer.testing import CliRunner, Result

from services.backends.store import SqlStudyStore, open_store
from services.cli import app
from services.settings import Settings
from services.triage.rollout import Canary, Rollout
from tests.support.bundle import bright_spot_bundle

NAME = "bright_spot"
WHY = ("--reason", "measured on 200 studies")


@pytest.fixture
def store(tmp_path, monkeypatch) -> SqlStudyStore:
    monkeypatch.setenv("VIGIE_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("VIGIE_MODELS", str(tmp_path / "models"))
    bright_spot_bundle(tmp_path / "models")
    for version in ("2.0", "3.0"):
        bright_spot_bundle(tmp_path / "models", name=f"{NAME}@{version}", version=version)
    return open_store(Settings().store_url())


def vigie(*words: str) -> Result:
    return CliRunner().invoke(app, ["models", *words])


def parts(text: str) -> dict[str, str]:
    """Version -> part, of the table that `rollout` prints."""
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in text.splitlines() if "│" in line]
    return {row[1]: row[2] for row in cells if len(row) == 3}


def test_before_any_decision_the_standing_version_is_active(store) -> None:
    told = vigie("rollout")
    assert told.exit_code == 0, told.output
    assert parts(told.stdout) == {"1.2.3": "active", "2.0": "", "3.0": ""}


def test_a_model_that_cannot_be_read_hides_no_other(store) -> None:
    torn = bright_spot_bundle(Settings().models, name="torn")
    (torn / "configs" / "metadata.json").write_text("{")
    told = vigie("rollout")
    assert told.exit_code == 1
    assert parts(told.stdout) == {"1.2.3": "active", "2.0": "", "3.0": ""}
    assert "torn: configs/metadata.json of 'torn' is not JSON" in told.stderr
    assert vigie("rollout", "torn").exit_code == 2


def test_canary_shadow_promote_and_rollback_each_say_what_is_in_force(store) -> None:
    canary = vigie("canary", NAME, "2.0", "--share", "0.25", *WHY)
    assert canary.stdout.splitlines() == [f"{NAME} 1.2.3: active", f"{NAME} 2.0: canary, 0.25 of studies"]
    assert vigie("shadow", NAME, "3.0", *WHY).exit_code == 0
    assert store.rollouts.of(NAME) == Rollout(model_name=NAME, canary=Canary(version="2.0", share=0.25), shadow="3.0")
    told = vigie("rollout", NAME).stdout
    assert parts(told) == {"1.2.3": "active", "2.0": "canary, 0.25 of studies", "3.0": "shadow"}
    assert "measured on 200 studies" in told
    assert f"{NAME} 2.0: active" in vigie("promote", NAME, "2.0", *WHY).stdout
    assert f"{NAME} 1.2.3: active" in vigie("rollback", NAME, *WHY).stdout
    assert store.rollouts.of(NAME) == Rollout(model_name=NAME, shadow="3.0")
    vigie("shadow", NAME, "--end", *WHY)
    assert store.rollouts.of(NAME) == Rollout(model_name=NAME)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("promote", NAME, "9.9"), "no version '9.9'"),
        (("promote", NAME, "1.2.3"), "already"),
        (("promote", "no_such", "2.0"), "no bundle named 'no_such'"),
        (("canary", NAME, "2.0", "--share", "1"), "between 0 and 1"),
        (("canary", NAME), "name a version, or say --end"),
        (("canary", NAME, "--end"), "no canary"),
        (("shadow", NAME, "2.0", "--end"), "name a version, or say --end"),
        (("rollback", NAME), "there is no canary"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(store, words, said) -> None:
    refused = vigie(*words, *WHY)
    assert refused.exit_code == 2
    assert said in " ".join(refused.output.replace("│", " ").split())
    assert store.rollouts.history(NAME) == ()


def test_a_reason_must_be_said(store) -> None:
    assert vigie("promote", NAME, "2.0", "--reason", " ").exit_code == 2
    assert store.rollouts.history(NAME) == ()


def test_a_version_that_triton_does_not_serve_is_not_promoted(store, monkeypatch) -> None:
    monkeypatch.setenv("VIGIE_TRITON", "127.0.0.1:9")
    refused = vigie("promote", NAME, "2.0", *WHY)
    assert refused.exit_code == 1
    assert "Triton" in refused.output
    assert store.rollouts.history(NAME) == ()


def test_nothing_is_loaded_where_no_triton_serves(store) -> None:
    assert vigie("load", NAME, "2.0").exit_code == 2
