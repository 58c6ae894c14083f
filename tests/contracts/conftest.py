"""Every implementation of a port, by name: a production one is added here and passes the same suites."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from services.backends.files import FolderStudyFiles
from services.backends.store import SqlStudyStore, open_store
from services.triage.ports import JobQueue
from tests.support.queues import queue_at


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'store' / 'vigie.sqlite'}"
    else:
        with request.getfixturevalue("postgresql").database() as url:
            yield url


@pytest.fixture
def store(store_url: str) -> Iterator[SqlStudyStore]:
    opened = open_store(store_url)
    yield opened
    opened.close()


@pytest.fixture(params=["folder"])
def files(tmp_path: Path) -> FolderStudyFiles:
    return FolderStudyFiles(tmp_path / "files")


@pytest.fixture(params=["embedded", "rabbitmq"])
def queue_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "embedded":
        return f"sqlite:///{tmp_path / 'queue' / 'vigie.sqlite'}"
    return f"{request.getfixturevalue('broker').url}#{uuid4().hex}"


@pytest.fixture
def queue(queue_url: str) -> Iterator[JobQueue]:
    opened = queue_at(queue_url)
    yield opened
    opened.close()
