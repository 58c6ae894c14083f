"""Routing rules from a TOML file; models/routing.toml explains every key."""

import re
import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from services.triage.errors import RulesRefused
from services.triage.job import OrderPriority
from services.triage.routing import Rule
from services.triage.traits import Orientation, fold

Pattern = re.Pattern[str]
BodyPart = Annotated[str, AfterValidator(lambda text: fold(text).upper())]
Word = Annotated[str, AfterValidator(str.upper)]
SliceOrientation = Literal["axial", "coronal", "sagittal", "oblique"]


class _Entry(BaseModel):
    """One [[rule]] table."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1)
    model: str = Field(min_length=1)
    modalities: list[Word] = Field(min_length=1)
    body_parts: list[BodyPart] = []
    descriptions: list[Pattern] = []
    other_body_parts: list[BodyPart] = []
    other_descriptions: list[Pattern] = []
    orientations: list[SliceOrientation] = Field(["axial"], min_length=1)
    max_slice_thickness_mm: float | None = Field(None, gt=0)
    min_slices: int = Field(3, ge=3)
    max_slices: int | None = Field(None, ge=3)
    image_types: list[Word] = []
    contrast: bool | None = None
    manufacturers: list[Pattern] = []
    order_priority: Literal["stat", "high", "routine"] | None = None

    def rule(self) -> Rule:
        fields = {name: getattr(self, name) for name in ("max_slice_thickness_mm", "min_slices", "max_slices")}
        priority = self.order_priority
        return Rule(
            name=self.name,
            model_name=self.model,
            modalities=frozenset(self.modalities),
            body_parts=frozenset(self.body_parts),
            descriptions=tuple(self.descriptions),
            other_body_parts=frozenset(self.other_body_parts),
            other_descriptions=tuple(self.other_descriptions),
            orientations=frozenset(Orientation(name) for name in self.orientations),
            image_types=frozenset(self.image_types),
            contrast=self.contrast,
            manufacturers=tuple(self.manufacturers),
            order_priority=None if priority is None else OrderPriority[priority.upper()],
            **fields,
        )


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    rule: list[_Entry] = Field(min_length=1)


def load_rules(path: Path) -> tuple[Rule, ...]:
    """Read the rules of a file, in its order.

    Raises RulesRefused: unreadable_rules (no such file, not TOML), invalid_rules (names file, rule and key).
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RulesRefused("unreadable_rules", f"{path}: {error}") from error
    try:
        return tuple(entry.rule() for entry in _File.model_validate(content).rule)
    except ValidationError as error:
        told = "; ".join(_told(content, detail["loc"], detail["msg"]) for detail in error.errors())
        raise RulesRefused("invalid_rules", f"{path}: {told}") from error


def _told(content: dict[str, object], place: tuple[int | str, ...], message: str) -> str:
    rules = content.get("rule")
    if len(place) < 2 or not isinstance(rules, list) or not isinstance(place[1], int):
        return f"{'.'.join(map(str, place))}: {message}"
    entry = rules[place[1]]
    name = entry.get("name", "") if isinstance(entry, dict) else ""
    key = ".".join(map(str, place[2:]))
    return f"rule {place[1] + 1} {str(name)!r}, key {key!r}: {message}"
