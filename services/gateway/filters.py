"""The filters of the work list, as they stand in the address of the page and of the API."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal
from urllib.parse import parse_qs, urlencode

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from services.backends.store.board import AiSays, ShownState
from services.backends.store.work_list import NOBODY, Place, WorkListFilter
from services.gateway.language import noted
from services.gateway.problems import ProblemError
from services.triage.job import OrderPriority
from services.triage.person import Person
from services.triage.reading import ReadingState

LONGEST_SEARCH = 64
_PLACE = re.compile(r"(-?[0-9]+(?:\.[0-9]+)?)~([0-9.]{1,64})")
_PLACE_PATTERN = f"^{_PLACE.pattern}$"

PriorityWord = Literal["stat", "high", "routine"]
ReadingWord = Literal["unread", "taken", "read", "all"]


def _or_empty(schema: dict[str, Any]) -> None:
    """Tell OpenAPI that it may be left empty, as a form does it."""
    if "items" in schema:
        schema["items"] = {"anyOf": [schema["items"], {"const": ""}]}
    else:
        schema["anyOf"].append({"const": ""})


class ListQuery(BaseModel):
    """What is asked of the list; of each list any, an empty one: all. What a form left empty was not asked."""

    model_config = ConfigDict(extra="ignore")

    reading: list[ReadingWord] = Field(
        default_factory=list,
        description="How far the reading is. Default: not read yet; of a search: all.",
        json_schema_extra=_or_empty,
    )
    state: list[ShownState] = Field(
        default_factory=list,
        description="Default: all but out_of_scope; of a search: all.",
        json_schema_extra=_or_empty,
    )
    priority: list[PriorityWord] = Field(default_factory=list, description="Of the order.", json_schema_extra=_or_empty)
    ai: list[AiSays] = Field(
        default_factory=list,
        description="What the list shows for the AI, in one word: `ai_says` of a study.",
        json_schema_extra=_or_empty,
    )
    modality: list[str] = Field(default_factory=list, description="The study has a series of one of these.")
    model: list[str] = Field(default_factory=list, description="Name of the model whose result leads.")
    assigned: Literal["me", "nobody"] | None = Field(
        None, description="Who has taken or read the study.", json_schema_extra=_or_empty
    )
    tenant: str | None = Field(None, max_length=32, description="Only studies of this tenant.")

    @field_validator("*", mode="before")
    @classmethod
    def _without_what_was_left_empty(cls, value: Any) -> Any:
        if isinstance(value, list):
            return [one for one in value if one != ""]
        return None if value == "" else value

    @field_validator("modality", "model")
    @classmethod
    def _short(cls, values: list[str]) -> list[str]:
        if len(values) > 20 or any(len(one) > 64 for one in values):
            raise ValueError("at most 20 names of at most 64 characters")
        return values

    def wanted(self, person: Person, search: str = "") -> WorkListFilter:
        """What the store is asked for on behalf of a person."""
        default: list[ReadingWord] = ["all"] if search else ["unread", "taken"]
        readings = self.reading or default
        states = self.state or (list(ShownState) if search else None)
        return WorkListFilter(
            states=states,
            priorities=[OrderPriority[one.upper()] for one in self.priority],
            ai_says=self.ai,
            modalities=self.modality,
            models=self.model,
            readings=set() if "all" in readings else {ReadingState(one) for one in readings},
            reader={None: None, "me": person.name, "nobody": NOBODY}[self.assigned],
            tenant=self.tenant,
            search=search,
        )

    def query(self, **changed: Any) -> str:
        """As a query string, in one order, with some of it changed; None takes a filter away."""
        told = self.model_dump(mode="json") | changed
        return urlencode({name: value for name, value in told.items() if value not in (None, "", [])}, doseq=True)


def parsed(query: str) -> ListQuery:
    """A query string that a form brought back, with all of it left out that is no filter. Raises ProblemError (422)."""
    told: Mapping[str, list[str]] = parse_qs(query)
    lists = {name for name, field in ListQuery.model_fields.items() if field.default_factory is not None}
    try:
        return ListQuery(**{name: value if name in lists else value[-1] for name, value in told.items()})
    except ValidationError as error:
        raise ProblemError(
            422,
            "invalid_request",
            "Invalid request",
            detail=noted("The filter is none of this list."),
            way_out=noted("Choose the filter anew on the page of the work list."),
        ) from error


def place(before: str | None, after: str | None) -> Place | None:
    """Where a page begins."""
    found = _PLACE.fullmatch(before or after or "")
    if found is None:
        return None
    return Place(rank=float(found[1]), study_instance_uid=found[2], backwards=before is not None)


def written(at: Place | None) -> str | None:
    """A place as it stands in an address."""
    return None if at is None else f"{at.rank!r}~{at.study_instance_uid}"  # to the last bit: it is compared


TheListQuery = Annotated[ListQuery, Query()]
Before = Annotated[str | None, Query(pattern=_PLACE_PATTERN, description="`previous` of another page.")]
After = Annotated[str | None, Query(pattern=_PLACE_PATTERN, description="`next` of another page.")]
