"""Word of changes: one look at the store for all who listen, none when nobody does, and word when it is away."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncGenerator

import pytest

from services.gateway import live
from services.gateway.live import Changes
from services.triage.errors import StoreUnavailable


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("LOOK_S", 0.02), ("BEAT_S", 0.1), ("AWAY_AFTER_S", 0.5)):
        monkeypatch.setattr(live, name, seconds)


class Store:
    """Answers the number that it was told, or refuses."""

    def __init__(self) -> None:
        self.number: int | None = 1
        self.asked = 0

    def newest_event(self) -> int:
        self.asked += 1
        if self.number is None:
            raise StoreUnavailable("away")
        return self.number


async def until(listener: AsyncGenerator[int | None, None], wanted: int | None) -> None:
    async with asyncio.timeout(10):
        async for number in listener:
            if number == wanted:
                return


def test_many_listeners_are_one_look_and_without_any_there_is_none() -> None:
    async def scene() -> None:
        store = Store()
        changes = Changes(store.newest_event)
        listeners = [changes.listen() for _ in range(50)]
        for one in listeners:
            await until(one, 1)
        asked, began = store.asked, asyncio.get_running_loop().time()
        store.number = 2
        await asyncio.gather(*(until(one, 2) for one in listeners))
        took = asyncio.get_running_loop().time() - began
        assert store.asked - asked <= 2 + took / 0.02
        for one in listeners:
            await one.aclose()
        assert not changes.is_watching
        asked = store.asked
        await asyncio.sleep(0.1)
        assert store.asked == asked

    asyncio.run(scene())


def test_two_who_come_at_once_are_one_look_and_leave_none_behind() -> None:
    async def scene() -> None:
        store = Store()
        changes = Changes(store.newest_event)
        listeners = [changes.listen() for _ in range(5)]
        await asyncio.gather(*(until(one, 1) for one in listeners))
        for one in listeners:
            await one.aclose()
        asked = store.asked
        await asyncio.sleep(0.1)
        assert store.asked == asked

    asyncio.run(scene())


def test_it_beats_and_says_when_the_store_is_away_and_back() -> None:
    async def scene() -> None:
        store = Store()
        async with contextlib.aclosing(Changes(store.newest_event).listen()) as listener:
            for _ in range(3):
                await until(listener, 1)
            store.number = None
            await until(listener, None)
            store.number = 7
            await until(listener, 7)

    asyncio.run(scene())


def test_who_comes_later_hears_at_once_where_it_stands() -> None:
    async def scene() -> None:
        numbers = itertools.count(1)
        changes = Changes(lambda: next(numbers))
        async with contextlib.aclosing(changes.listen()) as first, contextlib.aclosing(changes.listen()) as second:
            assert await anext(first) == 1
            assert await anext(second) >= 1

    asyncio.run(scene())


def test_a_watch_that_breaks_is_begun_again() -> None:
    async def scene() -> None:
        store = Store()
        changes = Changes(lambda: store.newest_event() // (store.asked - 2))
        listener = changes.listen()
        await until(listener, -1)
        await until(listener, 1)
        await listener.aclose()

    asyncio.run(scene())
