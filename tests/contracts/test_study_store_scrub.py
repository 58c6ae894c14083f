"""The search for lost instances, over a real folder."""

import threading
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from services.backends.files import FolderStudyFiles
from services.backends.headers import read_instance
from services.backends.store import SqlStudyStore
from services.backends.store.engine import writing
from services.backends.store.tables import instance
from services.gateway.scrubbing import INTERVAL, READ_ONE_OF, Scrubbing
from tests.support.ct import ct_series, write_series
from tests.support.records import after


@pytest.fixture
def kept(store: SqlStudyStore, files: FolderStudyFiles, tmp_path: Path) -> list[str]:
    """Digests of instances that were acknowledged, in the order of the search."""
    instances = []
    for path in write_series(ct_series(slices=4), tmp_path / "series"):
        one = read_instance(path)
        files.keep(path.read_bytes(), digest=one.digest, received_from="CT1")
        instances.append((one, "CT1"))
    store.record(instances, now=after(0))
    files.settle(one.digest for one, _ in instances)
    return [one.digest for one, _ in instances]


class Search:
    """Turns, one interval after the other."""

    def __init__(self, store: SqlStudyStore, files: FolderStudyFiles) -> None:
        self._scrubbing = Scrubbing(store, files, files_per_s=100, stop=threading.Event())
        self._turns = 0

    def __call__(self) -> None:
        """One round: all of them, and the turn that finds no more."""
        for _ in range(2):
            self._turns += 1
            assert self._scrubbing.turn(after(self._turns * INTERVAL.total_seconds()))


@pytest.fixture
def search(store: SqlStudyStore, files: FolderStudyFiles) -> Search:
    return Search(store, files)


def test_where_everything_is_there_nothing_is_lost(store: SqlStudyStore, kept: list[str], search: Search) -> None:
    search()
    found = store.scrub.state()
    assert found.checked == len(kept)
    assert found.lost == {}
    assert found.round_finished_at == after(2 * INTERVAL.total_seconds())


def test_one_that_is_gone_is_said_once_and_counted_until_it_is_there_again(
    store: SqlStudyStore, files: FolderStudyFiles, kept: list[str], search: Search
) -> None:
    path = files.path(kept[1])
    content = path.read_bytes()
    path.unlink()
    with capture_logs() as lines:
        search()
        search()
    assert [(one["event"], one["digest"], one["fault"]) for one in lines] == [("instance_lost", kept[1], "missing")]
    assert store.scrub.state().lost == {"missing": 1}
    assert [one.digest for one in store.scrub.lost()] == [kept[1]]
    path.write_bytes(content)
    search()
    assert store.scrub.state().lost == {}


def test_one_whose_bytes_are_others_is_damaged(
    store: SqlStudyStore, files: FolderStudyFiles, kept: list[str], search: Search
) -> None:
    with writing(store._engine) as connection:
        this = instance.c.digest == kept[2]
        connection.execute(sa.update(instance).where(this).values(id=READ_ONE_OF))
    files.path(kept[2]).write_bytes(files.path(kept[0]).read_bytes())
    search()
    assert store.scrub.state().lost == {"damaged": 1}


def test_one_that_is_empty_is_damaged_though_it_is_not_read(
    store: SqlStudyStore, files: FolderStudyFiles, kept: list[str], search: Search
) -> None:
    files.path(kept[0]).write_bytes(b"")
    search()
    assert store.scrub.state().lost == {"damaged": 1}


def test_what_is_not_to_be_kept_any_more_is_not_lost(
    store: SqlStudyStore, files: FolderStudyFiles, kept: list[str], search: Search
) -> None:
    files.path(kept[3]).unlink()
    search()
    assert store.scrub.state().lost == {"missing": 1}
    with writing(store._engine) as connection:
        connection.execute(sa.delete(instance).where(instance.c.digest == kept[3]))
    search()
    assert store.scrub.state().lost == {}


def test_of_two_searchers_one_takes_each_turn(store: SqlStudyStore, files: FolderStudyFiles, kept: list[str]) -> None:
    one, other = (Scrubbing(store, files, files_per_s=1, stop=threading.Event()) for _ in range(2))
    assert one.turn(after(0))
    assert not other.turn(after(1))
    assert other.turn(after(0) + INTERVAL)
    assert not one.turn(after(0) + INTERVAL + timedelta(seconds=1))
