"""`vigie models remove`: what nobody is served with goes, what somebody needs stays."""

import getpass
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from services.backends.inference.bundle_files import METADATA
from services.backends.store import SqlStudyStore, open_store
from services.cli import app
from services.settings import Settings
from tests.support.bundle import bright_spot_bundle, routing_file
from tests.support.records import MODEL, complete_study, lease_next

NAME = MODEL.name
WHY = ("--reason", "measured on 200 studies")


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three versions of a model that a rule names, the first of them standing."""
    models = tmp_path / "models"
    monkeypatch.setenv("VIGIE_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("VIGIE_MODELS", str(models))
    monkeypatch.setenv("VIGIE_ROUTING", str(routing_file(tmp_path / "routing.toml", model=NAME)))
    bright_spot_bundle(models, name=NAME, version="1.0")
    for version in ("2.0", "3.0"):
        bright_spot_bundle(models, name=f"{NAME}@{version}", version=version)
    return models


@pytest.fixture
def store(models: Path) -> SqlStudyStore:
    return open_store(Settings().store_url())


def vigie(*words: str) -> Result:
    return CliRunner().invoke(app, ["models", *words])


def remove(version: str, *words: str) -> Result:
    return vigie("remove", f"{NAME}@{version}", *words)


def folders(models: Path) -> list[str]:
    return sorted(path.name.removeprefix(NAME) for path in models.iterdir())


def test_a_version_without_a_part_goes_and_who_did_it_is_written_down(models: Path, store: SqlStudyStore) -> None:
    told = remove("2.0", "--dry-run")
    assert (told.exit_code, "would be removed" in told.stdout) == (0, True), told.output
    assert folders(models) == ["", "@2.0", "@3.0"]
    removed = remove("2.0")
    assert removed.exit_code == 0, removed.output
    assert folders(models) == ["", "@3.0"], "nothing is left, hidden or not"
    (path,) = (Settings().data / "audit" / "spool").glob("*.json")
    event = json.loads(path.read_text())
    (actor,), (model,) = event["actors"], event["objects"]
    assert (event["type"], actor["name"], model["object_id"]) == ("model_removed", getpass.getuser(), NAME)
    assert model["details"]["version"] == "2.0"
    assert remove("2.0").exit_code == 2, "there is none any more"


def test_a_version_that_has_a_part_stays(models: Path, store: SqlStudyStore) -> None:
    for words in (("canary", NAME, "2.0", *WHY), ("shadow", NAME, "3.0", *WHY)):
        assert vigie(*words).exit_code == 0
    for version in ("1.0", "2.0", "3.0"):
        refused = remove(version)
        assert (refused.exit_code, "it has a part" in refused.stderr) == (1, True), refused.output
    vigie("promote", NAME, "2.0", *WHY)
    assert remove("2.0").exit_code == 1
    assert remove("1.0").exit_code == 0, "it is not the active one any more"
    assert folders(models) == ["@2.0", "@3.0"]


def test_a_version_that_an_analysis_began_with_stays_until_that_ends(models: Path, store: SqlStudyStore) -> None:
    complete_study(store)
    lease_next(store, at=50)
    vigie("promote", NAME, "2.0", *WHY)
    refused = remove("1.0")
    assert (refused.exit_code, "an analysis uses it" in refused.stderr) == (1, True), refused.output
    assert folders(models) == ["", "@2.0", "@3.0"]


def test_the_last_version_goes_when_no_rule_names_the_model_and_no_job_waits(
    models: Path, store: SqlStudyStore
) -> None:
    for version in ("2.0", "3.0"):
        assert remove(version).exit_code == 0
    assert "the routing rule 'chest CT' names the model" in remove("1.0").stderr
    routing_file(Settings().routing, model="another")
    complete_study(store)
    assert "jobs of the model wait" in remove("1.0").stderr
    assert folders(models) == [""]


def test_a_model_that_nobody_asks_for_goes_altogether(models: Path, store: SqlStudyStore) -> None:
    routing_file(Settings().routing, model="another")
    assert "it has a part" in remove("1.0").stderr, "while another version would silently stand in its place"
    for version in ("2.0", "3.0", "1.0"):
        assert remove(version).exit_code == 0
    assert folders(models) == []


def test_an_unreadable_version_is_known_by_its_folders_name(models: Path, store: SqlStudyStore) -> None:
    (models / f"{NAME}@2.0" / METADATA).write_text("{")
    (models / NAME / METADATA).write_text("{")
    refused = vigie("remove", NAME)
    assert (refused.exit_code, "one bundle of this name and version" in " ".join(refused.output.split())) == (2, True)
    assert remove("2.0").exit_code == 0
    assert folders(models) == ["", "@3.0"]


def test_of_a_link_only_the_link_goes(models: Path, store: SqlStudyStore, tmp_path: Path) -> None:
    place = (models / f"{NAME}@2.0").rename(tmp_path / "elsewhere")
    (models / f"{NAME}@2.0").symlink_to(place)
    assert remove("2.0").exit_code == 0
    assert folders(models) == ["", "@3.0"]
    assert (place / METADATA).is_file()


def test_nothing_goes_while_triton_does_not_answer(
    models: Path, store: SqlStudyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIGIE_TRITON", "127.0.0.1:9")
    assert remove("2.0").exit_code == 1
    assert folders(models) == ["", "@2.0", "@3.0"]
