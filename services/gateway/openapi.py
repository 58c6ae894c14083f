"""What OpenAPI tells: of an operation what its endpoint says of itself, and what a request meets on its way there.

The second comes from the rules that the middleware goes by, as this application is set up: no endpoint repeats it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

from fastapi import FastAPI

from services.gateway.access.cross_site import CROSS_SITE, is_change
from services.gateway.access.middleware import (
    NOT_SIGNED_IN,
    NOT_YOUR_PART,
    PROVIDER_UNAVAILABLE,
    TOO_MANY_ATTEMPTS,
)
from services.gateway.access.rates import TOO_OFTEN, is_counted
from services.gateway.access.rules import ANYBODY, is_public, rule_for
from services.gateway.access.session import cookie_name
from services.gateway.access.sign_in import SignIn
from services.gateway.desk import Desk
from services.gateway.dicomweb.root import is_stow
from services.gateway.problems import (
    INTERNAL_ERROR,
    MEDIA_TYPE,
    STORE_UNAVAILABLE,
    TOLD,
    TOO_LARGE,
    Problem,
    invalid_request,
)

_JSON = "application/json"
_INVALID = invalid_request("A parameter or the body is not as it is described here.")
_RETRY_AFTER = {"Retry-After": {"description": "When to ask again, in seconds.", "schema": {"type": "integer"}}}
_HEADERS = {
    "401": {
        "WWW-Authenticate": {"description": "How to show who asks (RFC 9110 11.6.1).", "schema": {"type": "string"}}
    },
    "429": _RETRY_AFTER,
    "503": _RETRY_AFTER,
}
_NEVER_INVALID = frozenset({"type", "title", "description", "default"})


class DescribedApi(FastAPI):
    """An application whose document is complete. `state` has its desk and its sign_in."""

    def openapi(self) -> dict[str, Any]:
        """The document; made anew where routes were added since."""
        before, document = self.openapi_schema, super().openapi()
        if document is not before:
            _Gate(sign_in=self.state.sign_in, desk=cast(Desk, self.state.desk)).complete(document)
        return document


@dataclass(frozen=True, kw_only=True, slots=True)
class _Gate:
    """All that stands before the endpoints. sign_in: None where nobody has to."""

    sign_in: SignIn | None
    desk: Desk

    def complete(self, document: dict[str, Any]) -> None:
        """Add to a document of FastAPI's what it does not know."""
        components = document.setdefault("components", {})
        schemas = components.setdefault("schemas", {})
        for theirs in ("HTTPValidationError", "ValidationError"):
            schemas.pop(theirs, None)
        schemas["Problem"] = Problem.model_json_schema()
        examples = components["examples"] = {}
        if self.sign_in is not None:
            components["securitySchemes"] = schemes = self._schemes(self.sign_in)
            document["security"] = [{name: []} for name in schemes]
        for template, item in document["paths"].items():
            path = re.sub(r"{[^}]*}", "x", template)
            for method, operation in item.items():
                for problem in (*_invalid(operation), *self._refusals(method.upper(), path)):
                    examples[problem.code] = {"value": problem.model_dump()}
                    _tell(operation["responses"], problem)
                self._finish(operation, path)

    def _schemes(self, sign_in: SignIn) -> dict[str, Any]:
        settings = self.desk.settings
        keys = "a key that `vigie people hash` made (NAME.SECRET)" if sign_in.people else ""
        tokens = "an access token of the identity provider (client credentials)" if sign_in.provider else ""
        told = " or ".join(filter(None, (keys, tokens)))
        schemes = {"key": {"type": "http", "scheme": "bearer", "description": f"{told[:1].upper()}{told[1:]}."}}
        if sign_in.people:
            schemes["name_and_key"] = {"type": "http", "scheme": "basic", "description": "Name and key."}
        schemes["session"] = {
            "type": "apiKey",
            "in": "cookie",
            "name": cookie_name(secure=settings.https or settings.http_certificate is not None),
            "description": "Of a person who signed in on the page /login.",
        }
        return schemes

    def _refusals(self, method: str, path: str) -> Iterator[Problem]:
        """What a request may be answered before or instead of its endpoint."""
        instances = method == "POST" and is_stow(path)
        if not is_public(path):
            yield from self._of_callers(method, path)
            # the door asks no database, unless for who asks or for whose a study is
            if not instances or self.sign_in is not None or self.desk.tenants:
                yield STORE_UNAVAILABLE
        if is_change(method):
            yield CROSS_SITE
            if not instances:
                yield TOO_LARGE
        if self.desk.settings.requests_per_minute and self._is_counted(path):
            yield TOO_OFTEN
        yield INTERNAL_ERROR

    def _of_callers(self, method: str, path: str) -> Iterator[Problem]:
        if self.sign_in is None:
            return
        yield NOT_SIGNED_IN
        rule = rule_for(method, path)
        if rule is None or rule.need is not ANYBODY:
            yield NOT_YOUR_PART
        if self.sign_in.people is not None:
            yield TOO_MANY_ATTEMPTS
        if self.sign_in.provider is not None:
            yield PROVIDER_UNAVAILABLE

    def _is_counted(self, path: str) -> bool:
        return is_counted(path) or (self.sign_in is not None and not is_public(path))

    def _finish(self, operation: dict[str, Any], path: str) -> None:
        responses = operation["responses"] = dict(sorted(operation["responses"].items()))
        if is_public(path):
            if self.sign_in is not None:
                operation["security"] = []
            return
        for status in _HEADERS.keys() & responses.keys():
            responses[status]["headers"] = _HEADERS[status]


def _invalid(operation: dict[str, Any]) -> Iterator[Problem]:
    """FastAPI tells a 422 of its own wherever there is a parameter: ours, where one can be invalid."""
    if _JSON not in operation["responses"].get("422", {}).get("content", {}):
        return
    del operation["responses"]["422"]
    body = operation.get("requestBody", {}).get("content", {})
    if _JSON in body or any(each["schema"].keys() - _NEVER_INVALID for each in operation.get("parameters", [])):
        yield _INVALID


def _tell(responses: dict[str, Any], problem: Problem) -> None:
    """Add a problem to what is told under its status already."""
    told = responses.setdefault(str(problem.status), {"description": ""})
    told["description"] = f"{told['description']} {problem.detail}".strip()
    content = told.setdefault("content", {}).setdefault(MEDIA_TYPE, dict(TOLD[MEDIA_TYPE]))
    content.setdefault("examples", {})[problem.code] = {"$ref": f"#/components/examples/{problem.code}"}
