"""Tests that need outside data (`data`) are deselected when VIGIE_TEST_DATA is unset; nothing is ever skipped."""

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
import structlog
from hypothesis import settings
from sqlalchemy import Engine

from services.backends import store
from services.backends.store import migrate
from tests.support.certificates import Authority
from tests.support.load_file import LoadFile
from tests.support.postgres import Postgres, postgres
from tests.support.rabbitmq import RabbitMQ, rabbitmq

# where the environment is activated, pynetdicom's storescu and echoscu stand before dcmtk's, which the tests mean
_OURS = str(Path(sys.prefix) / "bin")
os.environ["PATH"] = os.pathsep.join(one for one in os.environ["PATH"].split(os.pathsep) if one != _OURS)

# how long an example takes says nothing on a machine that runs many tests at a time
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

if TYPE_CHECKING:
    from xdist.remote import Producer

    from tests.support.triton import Triton


def pytest_xdist_make_scheduler(config: pytest.Config, log: "Producer") -> LoadFile | None:
    """Whichever worker dies, the run comes to its end."""
    return LoadFile(config, log) if config.getvalue("dist") == "loadfile" else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if os.environ.get("VIGIE_TEST_DATA"):
        return
    needy = [item for item in items if item.get_closest_marker("data")]
    config.hook.pytest_deselected(items=needy)
    items[:] = [item for item in items if item not in needy]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What a test failed of that passed when tried again: else nobody would ever know."""
    for report in terminalreporter.getreports("rerun"):
        terminalreporter.section(f"first try of {report.nodeid}")
        terminalreporter.write_line(report.longreprtext)


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """A command that ran in this process must not decide what the next test hears."""
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session", autouse=True)
def _converted_networks_lie_in_a_folder_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Not in the cache of whoever runs them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VIGIE_CONVERTED", str(tmp_path_factory.mktemp("cache") / "converted"))
        yield


@pytest.fixture(scope="session", autouse=True)
def _new_sqlite_stores_are_copies(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Of one that all revisions have made; else each new store of a test would go through them, for half a second."""
    made = tmp_path_factory.mktemp("template") / "vigie.sqlite"
    engine = store.connect(f"sqlite:///{made}")
    migrate.upgrade(engine)
    engine.dispose()

    def upgrade(engine: Engine) -> None:
        place = Path(str(engine.url.database))
        if not place.exists():
            copy = place.with_name(f"{place.name}.{uuid4().hex}")
            shutil.copy(made, copy)
            with suppress(FileExistsError):  # another thread or process was first
                place.hardlink_to(copy)
            copy.unlink()
        migrate.upgrade(engine)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "upgrade", upgrade)
        yield


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of outside data."""
    return Path(os.environ["VIGIE_TEST_DATA"])


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Postgres]:
    """A real PostgreSQL, made quick: after a power cut it would be gone."""
    with postgres("fsync=off") as server:
        yield server


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    """A real RabbitMQ; a test that kills or pauses it starts one of its own."""
    with rabbitmq(tmp_path_factory.mktemp("rabbitmq") / "broker") as server:
        yield server


@pytest.fixture(scope="session")
def segmenter_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of small bundles, good and faulty ones."""
    from tests.support.triton import write_models

    return write_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def triton(segmenter_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator["Triton"]:
    """A Triton server that serves them; tests that harm a server start their own."""
    from tests.support.triton import triton_server

    with triton_server(segmenter_models, tmp_path_factory.mktemp("triton")) as server:
        yield server


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Of the certificates of a module's tests."""
    return Authority(tmp_path_factory.mktemp("tls") / "authority")
