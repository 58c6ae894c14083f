"""What of the observatory is asked for: window, model version, grouping."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlencode

from fastapi import Depends, Query

from services.gateway.days import Day
from services.gateway.desk import TheDesk
from services.gateway.observatory.looking import LONGEST, Window, last_days
from services.gateway.problems import ProblemError
from services.observatory.history import Attribute


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """model is empty while no model answered in the window. models: (name, version, results) of those that did."""

    window: Window
    model: str
    model_version: str
    by: Attribute
    models: Sequence[tuple[str, str, int]]

    def query(self, **changed: str) -> str:
        """The query string that asks for the same, or for something else of it."""
        told = {
            "from": self.window.first.isoformat(),
            "to": self.window.last.isoformat(),
            "model": key_of(self.model, self.model_version),
            "by": self.by.value,
            **changed,
        }
        return urlencode({name: value for name, value in told.items() if value})


def key_of(model: str, model_version: str) -> str:
    """A model version as one word."""
    return f"{model}@{model_version}" if model else ""


def chosen(
    desk: TheDesk,
    first: Annotated[
        Day | None, Query(alias="from", description="First day (UTC); default: 30 days that end yesterday.")
    ] = None,
    last: Annotated[Day | None, Query(alias="to", description="Last day (UTC), inclusive.")] = None,
    model: Annotated[
        str, Query(max_length=200, description="NAME@VERSION; default: the one that answered most in the window.")
    ] = "",
    by: Annotated[Attribute, Query(description="By what the page groups.")] = Attribute.SEX,
) -> Choice:
    """The choice that a request makes."""
    usual = last_days(desk.settings.observatory_days, desk.clock())
    last = last or usual.last
    window = Window(first=first or min(usual.first, last), last=last)
    if window.first > window.last or window.until - window.since > LONGEST:
        raise ProblemError(
            422,
            "invalid_window",
            "Invalid window",
            detail="The first day comes after the last one, or the window is longer than a year.",
            way_out="Choose from one day to 366.",
        )
    models = desk.store.observations.models(window.span)
    asked = next((one for one in models if key_of(one[0], one[1]) == model), None)
    if model and asked is None:
        name, _, version = model.rpartition("@")
        asked = name, version, 0
    name, version, _ = asked or (models[0] if models else ("", "", 0))
    return Choice(window=window, model=name, model_version=version, by=by, models=models)


TheChoice = Annotated[Choice, Depends(chosen)]
