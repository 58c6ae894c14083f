"""Every implementation of a port, by name: a production one is added here and passes the same suites."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from services.backends.files import FolderStudyFiles
from services.backends.queue import EmbeddedJobQueue
from services.backends.store import SqlStudyStore, open_store


@pytest.fixture(params=["sqlite"])
def store_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'store' / 'vigie.sqlite'}"


@pytest.fixture
def store(store_url: str) -> Iterator[SqlStudyStore]:
    opened = open_store(store_url)
    yield opened
    opened.close()


@pytest.fixture(params=["folder"])
def files(tmp_path: Path) -> FolderStudyFiles:
    return FolderStudyFiles(tmp_path / "files")


@pytest.fixture(params=["embedded"])
def queue_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'queue' / 'vigie.sqlite'}"


@pytest.fixture
def queue(queue_url: str) -> Iterator[EmbeddedJobQueue]:
    opened = EmbeddedJobQueue(queue_url)
    yield opened
    opened.close()
