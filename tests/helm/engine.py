"""Helm's engine in a process of its own: it is a Go library, which can end a process that has many threads by then."""

import atexit
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Chart:
    """As `helm_python.Chart`, of which it has what the tests use."""

    path: Path

    @classmethod
    def load(cls, path: Path) -> "Chart":
        return cls(path)

    def render(self, values: dict[str, Any] | None = None, **release: Any) -> dict[str, str]:
        """Raises HelmValuesError."""
        return _engine().submit(_render, self.path, values, release).result()


def lint(path: Path, values: dict[str, Any], **options: Any) -> dict[str, Any]:
    """As `helm_python.lint`."""
    return _engine().submit(_lint, path, values, options).result()


@cache
def _engine() -> ProcessPoolExecutor:
    pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
    atexit.register(pool.shutdown)
    return pool


@cache
def _loaded(path: Path) -> Any:
    import helm_python

    return helm_python.Chart.load(path)


def _render(path: Path, values: dict[str, Any] | None, release: dict[str, Any]) -> dict[str, str]:
    return _loaded(path).render(values, **release)


def _lint(path: Path, values: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    import helm_python

    return helm_python.lint(path, values, **options)
