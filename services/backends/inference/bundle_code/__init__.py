"""Code in bundles is code: what MONAI's parser would run of a config is held against an allow-list first.

MONAI imports and calls whatever a `_target_` names, and evaluates whatever begins with `$` (MONAI, bundle
configuration). Here both are checked without MONAI, torch, or running anything. What is outside the allow-list
needs a trust that is recorded in registration.json, and then runs in Triton only
(docs/decisions/0035).
"""

import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.backends.inference.bundle_code import config_file, names
from services.backends.inference.bundle_code.components import NAMES
from services.backends.inference.bundle_code.config_file import SEPARATOR, Id, Unreadable
from services.backends.inference.bundle_code.expressions import Refused, check, imported

CONFIGS = ("inference.json", "inference.yaml", "inference.yml")
"""MONAI's inference config, the first that is there."""

_RELATIVE = re.compile(r"(?:@|%)(?:#|::)")
_FILE_MACRO = re.compile(r"%(.*\.(?:json|yaml|yml))(?=$|::|#)", re.IGNORECASE)
_REFERENCES = re.compile(r"([@%])((?:::)*)(\w*(?:::\w+)*)")
_WORD = re.compile(r"\w+")
_MODES = ("default", "callable")
_TOLD = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Outside:
    """One thing of a config that is outside the allow-list. where: its id, as in `preprocessing#transforms#2`."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


def outside_of(path: Path) -> tuple[Outside, ...]:
    """All that a config file holds outside the allow-list, with the metadata beside it; nothing of it is run.

    The metadata is checked as a part of the config (`_meta_`), for that is what MONAI's own run makes of it.
    """
    metadata = path.with_name("metadata.json")
    nested: list[Outside] = []
    try:
        content = config_file.read(path)
        everything = list(config_file.walk(content))
        if metadata.is_file():
            everything.extend(
                (("_meta_", *where), each) for where, each in config_file.walk(config_file.read(metadata))
            )
        for other in _files_read(everything, path.parents[1]):
            inside = str(other.relative_to(path.parents[1]))
            further = [((inside, *where), each) for where, each in config_file.walk(config_file.read(other))]
            nested.extend(
                _outside(where, f"the macro '{each}' of a file in a file")
                for where, each in further
                if isinstance(each, str) and _FILE_MACRO.match(each)
            )
            everything.extend(further)
    except Unreadable as error:
        return (Outside(where=path.name, what=str(error)),)
    imports, found = _imports(everything)
    found.extend(nested)
    modules = [SEPARATOR.join(where) for where, value in everything if _is_import(value)]
    for where, value in everything:
        if isinstance(value, str):
            found.extend(_of_references(where, value, modules))
        if isinstance(value, dict):
            found.extend(_of_mapping(where, value))
        elif isinstance(value, str):
            found.extend(_of_text(where, value, imports, content))
            if _FILE_MACRO.match(value) and not _named(value, path.parents[1]):
                found.append(_outside(where, f"the macro '{value}' reads a file that is not in the bundle"))
    return tuple(dict.fromkeys(found))


def outside_of_bundle(bundle: Path) -> tuple[Outside, ...]:
    """The same of the inference config that a bundle has; nothing where it has none."""
    configs = (bundle / "configs" / name for name in CONFIGS)
    config = next((path for path in configs if path.is_file()), None)
    return outside_of(config) if config is not None else ()


def in_triton() -> bool:
    """Whether this process is one in which Triton's Python backend runs a model."""
    return "triton_python_backend_utils" in sys.modules


def told(found: tuple[Outside, ...]) -> str:
    """The first of them, for people."""
    more = f"; and {len(found) - _TOLD} more" if len(found) > _TOLD else ""
    return "; ".join(str(each) for each in found[:_TOLD]) + more


def _imports(everything: list[tuple[Id, Any]]) -> tuple[dict[str, str], list[Outside]]:
    """The names that import statements bind anywhere in a config: they hold everywhere in it."""
    bound: dict[str, str] = {}
    found = []
    for where, value in everything:
        if not (isinstance(value, str) and value.startswith("$")):
            continue
        with suppress(Refused):  # it is told with the other expressions
            for name, dotted in (imported(_normalised(value[1:])) or {}).items():
                known = bound.setdefault(name, names.GLOBALS.get(name, dotted))
                if name in names.BUILTINS or name.startswith("__") or known != dotted:
                    found.append(_outside(where, f"an import of '{dotted}' as '{name}', which is something else"))
    return bound, found


def _files_read(everything: list[tuple[Id, Any]], bundle: Path) -> set[Path]:
    """The bundle's own files of which macros of a config take something; these may name no further ones."""
    texts = (value for _, value in everything if isinstance(value, str))
    return {file for text in texts if _FILE_MACRO.match(text) for file in _named(text, bundle)}


def _named(macro: str, bundle: Path) -> list[Path]:
    """The files of the bundle that a macro may mean: told from its root, or beside the config."""
    told = _FILE_MACRO.match(macro)
    if told is None or Path(told[1]).is_absolute() or ".." in Path(told[1]).parts:
        return []
    files = (bundle / told[1], bundle / "configs" / told[1])
    return [file for file in files if file.is_file()]


def _of_mapping(where: Id, value: dict[Any, Any]) -> Iterator[Outside]:
    for key in value:
        if isinstance(key, str) and ("#" in key or SEPARATOR in key or key.startswith("+")):
            yield _outside(where, f"the key '{key}' reaches into another section: write it there")
    if "_target_" not in value:
        return
    target = value["_target_"]
    if not isinstance(target, str) or not (target in NAMES or names.is_allowed(target)):
        yield _outside(where, f"_target_ {target!r}")
        return
    mode = value.get("_mode_", "default")
    if mode not in _MODES or (mode != "default" and names.is_target_only(target)):
        yield _outside(where, f"_mode_ {mode!r} of {target}")
    for argument, allowed in names.ARGUMENTS.items():
        if argument in value and not all(_is_in(each, allowed) for each in _each(value[argument])):
            yield _outside(where, f"the argument {argument} = {value[argument]!r} of {target}")


def _of_references(where: Id, value: str, modules: list[str]) -> Iterator[Outside]:
    """A reference to an import statement would be a module, whose every function has a name."""
    for sign, ups, id_ in _REFERENCES.findall(_normalised(value)):
        if not value.startswith(("$", sign)):
            continue
        above = where[: len(where) - len(ups) // len(SEPARATOR)] if ups else ()
        target = SEPARATOR.join((*above, *([id_] if id_ else ())))
        if any(not target or each == target or each.startswith(target + SEPARATOR) for each in modules):
            yield _outside(where, f"a reference to the import statements, '{sign}{ups}{id_}'")


def _is_import(value: Any) -> bool:
    """Whether MONAI may take it for an import statement."""
    with suppress(Refused):
        return isinstance(value, str) and value.startswith("$") and imported(_normalised(value[1:])) is not None
    return True


def _of_text(where: Id, value: str, imports: dict[str, str], content: dict[Any, Any]) -> Iterator[Outside]:
    if not value.startswith("$"):
        return
    # MONAI puts the keys that lead here into the text, whatever they are
    if _RELATIVE.search(value) and not all(_WORD.fullmatch(key) for key in where):
        yield _outside(where, "a relative reference below a key that is not a word")
        return
    try:
        text = _normalised(value[1:])
        if imported(text) is None:
            check(text, imports, lambda id_: _under(content, id_))
    except Refused as refused:
        yield _outside(where, refused)


def _under(content: Any, id_: str) -> object:
    for key in id_.split(SEPARATOR):
        if isinstance(content, dict) and key in content:
            content = content[key]
        elif isinstance(content, list) and key.isdecimal() and int(key) < len(content):
            content = content[int(key)]
        else:
            return None
    return content


def _normalised(text: str) -> str:
    return text.replace("#", SEPARATOR)


def _each(given: object) -> list[object]:
    return given if isinstance(given, list) and given else [given]


def _is_in(given: object, allowed: frozenset[object]) -> bool:
    return isinstance(given, str | bool | int | None) and given in allowed


def _outside(where: Id, what: object) -> Outside:
    return Outside(where="#".join(where) or "the whole", what=str(what))
