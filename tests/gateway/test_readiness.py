"""What /readyz and the metrics say of outages, and who stays in service through which."""

import sqlite3
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from services.backends.store import SqlStudyStore, connect, never_the_same
from services.backends.store.migrate import downgrade, known_revisions, upgrade
from services.gateway.readiness import check_data_folder
from services.gateway.role import Role
from services.triage.errors import StoreUnavailable
from services.triage.job import OWED_TOO_LONG, UNTAKEN_TOO_LONG
from tests.support.worklist import Ward

NO_DISK_HAS = str(10**12)  # MB
MOMENT = timedelta(seconds=1)
BEFORE = known_revisions()[-2]


@pytest.fixture
def ward(tmp_path: Path) -> Ward:
    return Ward(tmp_path)


def failing(client: TestClient) -> dict[str, str]:
    """The checks that do not hold, with their causes; the metrics must say the same."""
    checks: list[dict[str, Any]] = client.get("/readyz").json()["checks"]
    metrics = client.get("/metrics").text
    for check in checks:
        assert f'vigie_check_ok{{check="{check["name"]}"}} {float(check["ok"])}' in metrics
    return {check["name"]: check["cause"] for check in checks if not check["ok"]}


def take_the_store_away(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise StoreUnavailable("no database")

    monkeypatch.setattr(type(ward.store.board), "result_object", refuse)


@pytest.mark.parametrize("role", Role)
def test_with_all_in_place_it_is_ready(ward: Ward, role: Role) -> None:
    client = ward.client(role=role)
    assert client.get("/readyz").json()["ready"] is True
    assert not failing(client)


@pytest.mark.parametrize(("role", "status"), [(Role.DOOR, 200), (Role.DESK, 503), (Role.ALL, 503)])
def test_without_the_store_the_desk_is_not_ready_and_the_door_keeps_what_comes(
    ward: Ward, monkeypatch: pytest.MonkeyPatch, role: Role, status: int
) -> None:
    client = ward.client(role=role)
    take_the_store_away(ward, monkeypatch)
    assert client.get("/healthz").status_code == 200
    assert client.get("/readyz").status_code == status
    assert "database" in failing(client)["store"]


def test_a_database_that_lost_its_tables_makes_the_desk_unready(ward: Ward) -> None:
    with sqlite3.connect(ward.folder / "vigie.sqlite") as connection:
        connection.execute("DROP TABLE result_object")
    assert ward.client().get("/readyz").status_code == 503


@pytest.fixture(params=["sqlite", "postgresql"])
def older(request: pytest.FixtureRequest, ward: Ward) -> Iterator[Engine]:
    """The database of the ward, at the revision before the newest: its 'vigie db upgrade' is still to come."""
    if request.param == "sqlite":
        engine = connect(f"sqlite:///{ward.folder / 'vigie.sqlite'}")
        downgrade(engine, BEFORE)
        yield engine
        return
    with request.getfixturevalue("postgresql").database(template="template0") as url:  # no other test is to have it
        engine = connect(url)
        upgrade(engine)
        ward.store = SqlStudyStore(engine, same_pixels=never_the_same)
        downgrade(engine, BEFORE)
        yield engine
        engine.dispose()


@pytest.mark.parametrize(("role", "status"), [(Role.DOOR, 200), (Role.DESK, 503), (Role.ALL, 503)])
def test_on_tables_that_are_too_old_the_desk_waits_and_the_door_keeps_what_comes(
    ward: Ward, older: Engine, role: Role, status: int
) -> None:
    client = ward.client(role=role)
    assert client.get("/readyz").status_code == status
    assert f"at revision {BEFORE}" in failing(client)["schema"]
    assert "vigie db upgrade" in failing(client)["schema"]
    upgrade(older)
    assert client.get("/readyz").status_code == 200
    assert not failing(client)


def test_without_any_tables_the_desk_waits_and_its_metrics_answer(ward: Ward, older: Engine) -> None:
    client = ward.client(role=Role.DESK)
    downgrade(older, "base")
    assert client.get("/readyz").status_code == 503
    assert "no tables" in failing(client)["schema"]


def test_on_tables_that_are_too_new_the_desk_is_not_ready(ward: Ward) -> None:
    client = ward.client(role=Role.DESK)
    with sqlite3.connect(ward.folder / "vigie.sqlite") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0999'")
    assert client.get("/readyz").status_code == 200
    with sqlite3.connect(ward.folder / "vigie.sqlite") as connection:
        connection.execute("UPDATE compatibility SET oldest_revision = '0998'")
    assert client.get("/readyz").status_code == 503
    assert "update it" in failing(client)["schema"]


@pytest.mark.parametrize("role", Role)
def test_a_full_disk_is_told_and_takes_nobody_out_of_service(ward: Ward, role: Role) -> None:
    client = ward.client(role=role, min_free_mb=NO_DISK_HAS)
    assert client.get("/readyz").status_code == 200
    assert "MB free" in failing(client)["data_folder"]


def test_a_folder_that_is_gone_is_told_without_its_path(tmp_path: Path) -> None:
    gone = check_data_folder(tmp_path / "gone", free_mb_needed=0)
    assert not gone.ok
    assert "No such file" in str(gone.cause)
    assert str(tmp_path) not in str(gone.cause)


def test_a_broker_that_takes_no_messages_is_told_after_a_while_until_it_does(ward: Ward) -> None:
    client = ward.client()
    ward.arrive(1)
    ward.complete(1)
    ward.now += OWED_TOO_LONG
    assert not failing(client)
    ward.now += MOMENT
    assert "broker" in failing(client)["queue"]
    assert client.get("/readyz").status_code == 200
    ward.store.published(ward.store.unpublished(limit=10))
    assert not failing(client)


def test_jobs_that_no_worker_takes_are_told_until_one_holds_a_lease(ward: Ward) -> None:
    client = ward.client()
    for number in (1, 2):
        ward.arrive(number)
        ward.complete(number)
    ward.store.published(ward.store.unpublished(limit=10))
    ward.now += UNTAKEN_TOO_LONG
    assert not failing(client)
    ward.now += MOMENT
    assert "worker" in failing(client)["workers"]
    ward.lease(1)
    assert not failing(client), "one is at work: the other job waits its turn"
