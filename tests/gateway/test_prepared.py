"""What was made once is given again: by how much, by whom, and what becomes of failures."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from services.gateway import key_image
from services.gateway.app import create_app
from services.gateway.prepared import Prepared
from tests.support.house import House, chest_with_ball


def test_a_body_is_made_once_even_where_many_ask_at_a_time():
    prepared, made, all_ask = Prepared(), [], threading.Barrier(5)

    def make() -> bytes:
        made.append(1)
        threading.Event().wait(0.1)
        return b"body"

    def ask(_number: int) -> bytes:
        all_ask.wait()
        return prepared.get("key", make)

    with ThreadPoolExecutor(5) as pool:
        assert list(pool.map(ask, range(5))) == [b"body"] * 5
    assert prepared.get("key", make) == b"body"
    assert len(made) == 1


def test_those_go_first_that_were_asked_for_longest_ago():
    prepared = Prepared(most_bytes=10)
    for key in ("a", "b", "a", "c"):
        prepared.get(key, lambda: b"12345")
    made: list[str] = []
    for key in ("a", "c", "b"):
        prepared.get(key, lambda key=key: made.append(key) or b"12345")  # type: ignore[misc,func-returns-value]
    assert made == ["b"]


def test_what_is_larger_than_all_that_may_be_kept_is_given_and_not_kept():
    prepared, made = Prepared(most_bytes=4), []
    for _ in range(2):
        assert prepared.get("key", lambda: made.append(1) or b"12345") == b"12345"  # type: ignore[func-returns-value]
    assert len(made) == 2


def test_a_failure_is_told_and_not_kept():
    prepared = Prepared()

    def fail() -> bytes:
        raise ValueError("cannot be read")

    with pytest.raises(ValueError, match="cannot be read"):
        prepared.get("key", fail)
    assert prepared.get("key", lambda: b"now it can") == b"now it can"


def test_what_the_viewer_asks_for_is_made_when_a_study_is_selected_and_nothing_of_it_is_told(tmp_path: Path):
    house = House(data=tmp_path)
    uid = house.freeze(chest_with_ball())
    result = house.result(uid)
    app = create_app(house.settings, store=house.store, files=house.files)
    client = TestClient(app, base_url="http://127.0.0.1")
    answer = client.get(f"/studies/{uid}/prepared/{result.result_id}")
    assert (answer.status_code, answer.content) == (204, b"")
    made: list[object] = []
    kept = app.state.desk.prepared.get
    app.state.desk.prepared.get = lambda key, make: kept(key, lambda: made.append(key) or make())
    series = client.get(f"/dicomweb/studies/{uid}/series").json()
    assert len(series) == 3
    for one in series:
        where = f"/dicomweb/studies/{uid}/series/{one['0020000E']['Value'][0]}/metadata"
        told = client.get(where)
        assert len(told.json()) == one["00201209"]["Value"][0]
        by_another_name = client.get(where, headers={"Host": "localhost"}).text
        assert by_another_name == told.text.replace("127.0.0.1", "localhost")
    # of each series one: for the name by which the host was asked the second time
    assert len(made) == len(series)


def test_a_series_that_is_streamed_is_not_prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    house = House(data=tmp_path)
    uid = house.freeze(chest_with_ball())
    made: list[int] = []
    monkeypatch.setattr(key_image, "PREPARED_INSTANCES", 19)
    monkeypatch.setattr(key_image, "prepared_metadata", lambda _request, _desk, files: made.append(len(files)))
    client = TestClient(create_app(house.settings, store=house.store, files=house.files), base_url="http://127.0.0.1")
    assert client.get(f"/studies/{uid}/prepared/{house.result(uid).result_id}").status_code == 204
    assert made == [1, 1]  # Segmentation and report
