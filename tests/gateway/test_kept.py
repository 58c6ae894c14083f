"""/metrics and /readyz are anybody's: whoever asks however often, the database is asked now and then."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, Event

import pytest
from fastapi.testclient import TestClient

from services.gateway.app import create_app
from services.gateway.kept import Kept
from services.settings import Settings
from services.triage.errors import StoreUnavailable
from tests.support.worklist import Ward


def counting() -> Callable[[], int]:
    made = iter(range(1, 1000))
    return lambda: next(made)


def test_it_is_made_anew_once_it_is_so_old() -> None:
    now = 0.0
    kept = Kept(counting(), for_s=15, clock=lambda: now)
    assert [kept.get(), kept.get()] == [1, 1]
    now = 14.9
    assert kept.get() == 1
    now = 15.0
    assert [kept.get(), kept.get()] == [2, 2]


def test_without_an_age_it_is_made_each_time() -> None:
    kept = Kept(counting(), for_s=0)
    assert [kept.get(), kept.get()] == [1, 2]


def test_of_many_who_ask_first_one_has_it_made_and_all_have_it() -> None:
    together, count = Barrier(8), counting()
    kept = Kept(count, for_s=15)

    def ask(_: int) -> int:
        together.wait(10)
        return kept.get()

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(ask, range(8))) == {1}
    assert count() == 2


def test_while_it_is_made_anew_the_others_have_the_one_before_at_once() -> None:
    now, count, begun, go_on = 0.0, counting(), Event(), Event()

    def make() -> int:
        number = count()
        if number == 2:
            begun.set()
            go_on.wait(10)
        return number

    kept = Kept(make, for_s=15, clock=lambda: now)
    assert kept.get() == 1
    now = 15.0
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(kept.get)
        assert begun.wait(10)
        assert kept.get() == 1
        go_on.set()
        assert slow.result(10) == 2
    assert kept.get() == 2


def test_what_could_not_be_made_is_made_again_for_the_next() -> None:
    now, answers = 0.0, iter([1, StoreUnavailable("away"), 3])

    def make() -> int:
        found = next(answers)
        if isinstance(found, StoreUnavailable):
            raise found
        return found

    kept = Kept(make, for_s=15, clock=lambda: now)
    assert kept.get() == 1
    now = 15.0
    with pytest.raises(StoreUnavailable):
        kept.get()
    assert kept.get() == 3


def test_whoever_asks_in_vain_has_the_database_count_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ward = Ward(tmp_path)
    app = create_app(Settings(data=ward.folder), store=ward.store, files=ward.files, keeps_public=True)
    client = TestClient(app, base_url="http://127.0.0.1:8000")
    counted: list[int] = []
    looked: list[int] = []
    counts, backlog = ward.store.board.counts, ward.store.backlog
    monkeypatch.setattr(ward.store.board, "counts", lambda: (counted.append(1), counts())[1])
    monkeypatch.setattr(ward.store, "backlog", lambda **of: (looked.append(1), backlog(**of))[1])
    assert {client.get("/readyz").status_code for _ in range(5)} == {200}
    assert len(looked) == 1
    assert len({client.get("/metrics").text for _ in range(5)}) == 1
    assert len(counted) == 1
