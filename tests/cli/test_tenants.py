"""`vigie tenants`, as an operator uses it when a scanner was set up for the wrong hospital."""

from datetime import UTC, datetime

import pytest
from typer.testing import CliRunner

from services.backends.headers import read_instance
from services.cli import app
from services.triage.tenant import Tenant
from tests.support.ct import ct_series, write_series
from tests.support.house import House
from tests.support.two_hospitals import TENANTS, write_files


@pytest.fixture
def house(tmp_path, monkeypatch):
    for name, value in write_files(tmp_path, "PACS@h:104", "PACS_B@h:104").items():
        monkeypatch.setenv(f"VIGIE_{name.upper()}", value)
    monkeypatch.setenv("VIGIE_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "300")
    return House(data=tmp_path / "data")


@pytest.fixture
def study(house, tmp_path):
    """A study of hospital b."""
    (path,) = write_series(ct_series(slices=1), tmp_path / "ct")
    instance = read_instance(path)
    uid = instance.study.study_instance_uid
    house.files.claim(uid, "b")
    house.store.record([(instance, "CT1")], now=datetime.now(UTC), tenant=Tenant(name="b"))
    return uid


def vigie(*words):
    return CliRunner().invoke(app, list(words))


def test_the_list_says_how_each_is_told_and_how_many_studies_it_has(house, study):
    listed = {line.split()[1]: line for line in vigie("tenants", "list").stdout.splitlines() if len(line.split()) > 1}
    assert [word.strip() for word in listed["a"].split("│")[1:-1]] == [
        "a", "VIGIE_A", "CT_A", "no", "HOSPITAL-A", "pacs-a", "0"
    ]  # fmt: skip
    assert [word.strip() for word in listed["b"].split("│")[1:-1]] == [
        "b", "VIGIE_B", "any", "yes", "HOSPITAL-B", "pacs-b", "1"
    ]  # fmt: skip


def test_studies_of_a_tenant_that_the_file_does_not_know_are_listed_too(house, study, tmp_path):
    (tmp_path / "tenants.toml").write_text(TENANTS.replace("[b]", "[c]"))
    (line,) = (line for line in vigie("tenants", "list").stdout.splitlines() if "not in the file" in line)
    assert line.split("│")[1].strip() == "b"


def test_a_study_is_moved_in_the_store_and_at_the_door(house, study):
    answer = vigie("tenants", "move", study, "a")
    assert (answer.exit_code, answer.stdout) == (0, f"{study} is of tenant a\n")
    assert house.store.tenant(study) == house.files.claim(study, "b") == "a"


def test_a_study_of_which_nothing_was_recorded_can_be_moved_too(house):
    """A scanner may have claimed it for the wrong tenant, and have been killed before an instance was kept."""
    house.files.claim("1.2.3", "b")
    assert vigie("tenants", "move", "1.2.3", "a").stdout.endswith("; no instance of it is recorded yet\n")
    assert house.files.claim("1.2.3", "b") == "a"


def test_an_unknown_tenant_is_said(house, study):
    answer = vigie("tenants", "move", study, "nobody")
    assert answer.exit_code == 2
    assert "there is no tenant 'nobody'; there are a, b" in answer.output
    assert house.store.tenant(study) == "b"


def test_without_a_file_there_is_nothing_to_list(monkeypatch):
    monkeypatch.delenv("VIGIE_TENANTS", raising=False)
    assert vigie("tenants", "list").exit_code == 2


@pytest.mark.parametrize("command", ["gateway", "deliver", "worker", "standalone"])
def test_a_mistake_in_the_file_is_a_wrong_usage_of_every_command(house, tmp_path, command):
    (tmp_path / "tenants.toml").write_text(TENANTS.replace("VIGIE_B", "VIGIE_A"))
    answer = vigie(command)
    assert answer.exit_code == 2
    assert "tenants 'a' and 'b': an association that calls VIGIE_A from CT_A would be of both" in answer.output
