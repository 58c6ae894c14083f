"""Tests that need outside data (`data`) are deselected when VIGIE_TEST_DATA is unset; nothing is ever skipped."""

import os
from pathlib import Path

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if os.environ.get("VIGIE_TEST_DATA"):
        return
    needy = [item for item in items if item.get_closest_marker("data")]
    config.hook.pytest_deselected(items=needy)
    items[:] = [item for item in items if item not in needy]


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of outside data."""
    return Path(os.environ["VIGIE_TEST_DATA"])
