"""Helm's engine in a process of its own: it is a Go library, and no process that tests anything else may load it.

Go takes SIGPIPE over, which Python ignores: then a write to a TLS socket that the peer has closed ends the process.
"""

import atexit
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any


class HelmValuesError(Exception):
    """As `helm_python.HelmValuesError`: importing that one would load the library."""


class HelmRenderError(Exception):
    """As `helm_python.HelmRenderError`."""


@dataclass(frozen=True)
class Chart:
    """As `helm_python.Chart`, of which it has what the tests use."""

    path: Path

    @classmethod
    def load(cls, path: Path) -> "Chart":
        return cls(path)

    def render(self, values: dict[str, Any] | None = None, **release: Any) -> dict[str, str]:
        """Raises HelmValuesError, HelmRenderError."""
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
    import helm_python

    try:
        return _loaded(path).render(values, **release)
    except helm_python.HelmValuesError as error:
        raise HelmValuesError(str(error)) from None
    except helm_python.HelmRenderError as error:
        raise HelmRenderError(str(error)) from None


def _lint(path: Path, values: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    import helm_python

    return helm_python.lint(path, values, **options)
