"""Reads a config file of a bundle as plain data: no MONAI, no tags of YAML that make objects, no bombs."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MOST_BYTES = 4_000_000
MOST_NODES = 200_000
MOST_DEPTH = 100
SEPARATOR = "::"
Id = tuple[str, ...]


class Unreadable(ValueError):
    """A file that is no config, or too much of one."""


def read(path: Path) -> dict[Any, Any]:
    """The content of a JSON or YAML file, which must be a mapping. Raises Unreadable."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise Unreadable(f"it has more than {MOST_BYTES} bytes")
        text = path.read_text(encoding="utf-8")
        content = json.loads(text) if path.suffix.lower() == ".json" else _yaml(text)
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, Unreadable):
            raise
        raise Unreadable(f"it cannot be read: {str(error).splitlines()[0]}") from error
    if not isinstance(content, dict):
        raise Unreadable("it is no mapping of keys to values")
    return content


def _yaml(text: str) -> Any:
    try:
        import yaml  # here, not above: a Triton that serves JSON only may be without
    except ImportError as error:
        raise Unreadable("it is YAML, and PyYAML is not installed here") from error
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise Unreadable(f"it is no YAML: {str(error).splitlines()[0]}") from error


def walk(content: Any) -> Iterator[tuple[Id, Any]]:
    """Every value with the keys and indices that lead to it, as MONAI numbers them. Raises Unreadable.

    An alias of YAML is a value again at every place; a file that names itself, or multiplies itself, has no end.
    """
    waiting: list[tuple[Id, Any]] = [((), content)]
    seen = 0
    while waiting:
        where, value = waiting.pop()
        seen += 1
        if seen > MOST_NODES or len(where) > MOST_DEPTH:
            raise Unreadable("it has too many values, or holds itself")
        yield where, value
        if isinstance(value, dict):
            waiting.extend(((*where, str(key)), each) for key, each in reversed(value.items()))
        elif isinstance(value, list):
            waiting.extend(((*where, str(index)), each) for index, each in reversed(tuple(enumerate(value))))
