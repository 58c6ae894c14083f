"""`vigie scrub`: whether every acknowledged image is still there, and known."""

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import Result
from pydantic import SecretStr
from typer.testing import CliRunner

from services.backends.queue import EmbeddedJobQueue
from services.backends.store import SqlStudyStore
from services.backends.store.audit import event_of
from services.cli import app, backup
from services.gateway.erasure import Erasure
from services.gateway.scrubbing import Scrubbing
from services.gateway.unknown import UnknownFile, unknown_files
from services.triage.ports import StudyFiles
from tests.support.ct import ct_series
from tests.support.house import House, chest_with_ball
from tests.support.postgres import Postgres


@dataclass
class Site:
    """A house whose database can be put back to an earlier point, as point-in-time recovery does."""

    house: House
    monkeypatch: pytest.MonkeyPatch
    server: Postgres | None

    def __post_init__(self) -> None:
        self.house.__dict__["queue"] = EmbeddedJobQueue(
            f"sqlite:///{self.house.data.parent / 'bells' / 'queue.sqlite'}"
        )

    def use(self, url: str) -> None:
        self.monkeypatch.setenv("VIGIE_DATABASE_URL", url)
        self.house.settings = self.house.settings.model_copy(update={"database_url": SecretStr(url)})

    @contextmanager
    def put_back(self) -> Iterator[None]:
        """Lose what the database is told in the block; the files stay."""
        self.house.store.close()
        del self.house.__dict__["store"]
        if self.server is None:
            copy = self.house.data.parent / "copy.sqlite"
            with (
                closing(sqlite3.connect(self.house.data / "vigie.sqlite")) as now,
                closing(sqlite3.connect(copy)) as then,
            ):
                now.backup(then)
        else:
            name = self.house.settings.store_url().rpartition("/")[2]
            self.server.execute(f"CREATE DATABASE {name}_copy TEMPLATE {name}")
        yield
        self.house.store.close()
        del self.house.__dict__["store"]
        if self.server is None:
            for path in self.house.data.glob("vigie.sqlite*"):
                path.unlink()
            copy.rename(self.house.data / "vigie.sqlite")
        else:
            self.server.execute(f"DROP DATABASE {name} WITH (FORCE)")
            self.server.execute(f"ALTER DATABASE {name}_copy RENAME TO {name}")


def test_what_is_lost_is_named_and_the_exit_code_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    house = House(data=tmp_path / "data")
    uid = house.queue_study(ct_series(slices=3))
    scrubbing = Scrubbing(house.store, house.files, files_per_s=20, stop=threading.Event())
    monkeypatch.setenv("VIGIE_DATA", str(house.data))
    before = CliRunner().invoke(app, ["scrub"])
    assert (before.exit_code, before.stdout.splitlines()[-1]) == (0, "lost: 0")
    kept = next((house.data / "instances").rglob("*.dcm"))
    kept.unlink()
    scrubbing.turn(datetime.now(UTC))
    after = CliRunner().invoke(app, ["scrub"])
    assert after.exit_code == 1
    assert "lost: 1" in after.stdout
    assert uid in after.stdout
    assert "missing" in after.stdout


@pytest.fixture(params=["sqlite", "postgresql"])
def site(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("VIGIE_DATA", str(tmp_path / "data"))
    if request.param == "sqlite":
        yield Site(House(data=tmp_path / "data"), monkeypatch, None)
        return
    server = request.getfixturevalue("postgresql")
    with server.database() as url:
        house = House(data=tmp_path / "data")
        site = Site(house, monkeypatch, server)
        site.use(url)
        yield site
        site.house.store.close()


def scrub(*words: str) -> Result:
    return CliRunner().invoke(app, ["scrub", *words])


@pytest.mark.parametrize("resent", ["never", "before", "between", "after"])
def test_images_that_came_after_the_point_to_which_the_database_was_put_back_are_recorded(
    site: Site, resent: str
) -> None:
    house, series = site.house, chest_with_ball()
    earlier = house.take_in(chest_with_ball())
    with site.put_back():
        uid = house.take_in(series)
    kept = {path.stem: path.read_bytes() for path in (house.data / "instances").rglob("*.dcm")}
    if resent == "before":
        house.keep(series)  # what is settled is not written again, and nobody would ever record it
        house.dispatch()
        assert house.store.board.study(uid) is None
    dry = scrub("--unknown", "--dry-run")
    assert (dry.exit_code, dry.stdout) == (
        1,
        "40 settled files looked at: the database does not know 20, of 1 studies\n",
    )
    assert list(house.files.pending()) == []
    done = scrub("--unknown")
    assert done.exit_code == 0, done.output
    assert "the database does not know 20, of 1 studies: they will be recorded" in done.stdout
    if resent == "between":
        house.keep(series)
    house.dispatch()
    if resent == "after":
        house.keep(series)
        house.dispatch()
    assert list(house.files.pending()) == []
    assert {path.stem: path.read_bytes() for path in (house.data / "instances").rglob("*.dcm")} == kept
    assert len(house.store.retaining.digests(uid)) == len(set(house.store.retaining.digests(uid))) == len(series)
    assert [version.number for version in house.store.board.study(uid).versions] == [1]
    assert len(house.jobs(uid)) == len(house.jobs(earlier)) == 1
    assert scrub("--unknown").stdout == "40 settled files looked at: the database knows them all\n"
    assert [event_of(one.document).type for one in house.store.audit.records()].count("restore") == 1


def test_what_was_erased_or_is_damaged_does_not_come_back(site: Site) -> None:
    house, erased = site.house, chest_with_ball(PatientID="PID-7")
    uid = house.take_in(erased)
    files = {digest: house.files.path(digest) for digest in house.store.retaining.digests(uid)}
    saved = {path: path.read_bytes() for path in files.values()}
    Erasure(store=house.store, files=house.files).erase([uid], actor="test", reason="request 3")
    for path, content in saved.items():  # a snapshot of the volume from before
        path.write_bytes(content)
        os.utime(path, (time.time() - 60, time.time() - 60))
    damaged = house.data / "instances" / "ab" / f"{'ab' * 32}.dcm"
    damaged.parent.mkdir(exist_ok=True)
    damaged.write_bytes(b"torn")
    done = scrub("--unknown")
    assert done.exit_code == 1
    assert f"not the bytes that were kept, left: {damaged}" in done.stdout
    assert all(f"of a study that was erased after it came, left: {path}" in done.stdout for path in saved)
    assert list(house.files.pending()) == []
    house.keep(erased)  # now it was sent again after the erasure
    for path in saved:
        os.utime(path)
    assert "they will be recorded" in scrub("--unknown").stdout
    house.dispatch()
    assert len(house.store.retaining.digests(uid)) == len(erased)


def test_while_another_process_deletes_or_copies_files_nothing_is_put_back(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup, "PATIENCE_S", 0.0)
    assert site.house.store.retaining.claim(now=datetime.now(UTC), duration=timedelta(minutes=1))
    refused = scrub("--unknown")
    assert refused.exit_code == 1
    assert "another process deletes or copies files now" in refused.stderr


def test_where_another_process_may_have_deleted_files_meanwhile_nothing_is_put_back(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    with site.put_back():
        site.house.freeze(chest_with_ball())
    unknown, hour = unknown_files, timedelta(hours=1)

    def held_up(store: SqlStudyStore, files: StudyFiles) -> Iterator[tuple[int, list[UnknownFile]]]:
        assert store.retaining.claim(now=datetime.now(UTC) + hour, duration=hour)
        return unknown(store, files)

    monkeypatch.setattr("services.cli.scrub.unknown_files", held_up)
    stopped = scrub("--unknown")
    assert stopped.exit_code == 1
    assert "has taken over" in stopped.stderr
    assert list(site.house.files.pending()) == []


def test_a_dry_run_is_of_something() -> None:
    assert scrub("--dry-run").exit_code == 2
