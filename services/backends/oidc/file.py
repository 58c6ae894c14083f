"""At which identity provider people sign in, from the TOML file that VIGIE_OIDC names; deploy/oidc.toml explains it."""

import hashlib
import re
import tomllib
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from services.exposure import is_loopback
from services.triage.errors import OidcRefused
from services.triage.person import MachineTask, PersonRole

PREFIX = "oidc:"
"""Names from the provider begin so. No name of the people file has a colon: the two never meet in a history."""

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""What a token may be signed by (RFC 7518, 8037): with a key that only the provider has. Never none, never HMAC."""

CALLBACK = "/login/oidc/callback"


def _address(url: str) -> str:
    parts = urlsplit(url)
    is_good = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.netloc))
    if not is_good or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise ValueError("is no https://HOST/PATH; http:// is for this machine alone")
    return url


def _path_of_claim(told: object) -> object:
    return (told,) if isinstance(told, str) else told


Address = Annotated[str, AfterValidator(_address)]
Claim = Annotated[tuple[str, ...], BeforeValidator(_path_of_claim), Field(min_length=1)]
"""The name of a claim, or the names on the way to it: ["realm_access", "roles"]."""


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Machines(_Table):
    """Who may come with an access token, and what for. must_have: claims with the values that they must have."""

    audience: str = Field(min_length=1)
    tasks_claim: Claim = ("scope",)
    name_claim: Claim = ("azp",)
    tenants_claim: Claim | None = None
    must_have: dict[str, str | bool | int] = {}
    tasks: dict[MachineTask, tuple[str, ...]] = Field(min_length=1)


class Oidc(_Table):
    """What the file says. tenants: by name, the claim's values that stand for it; every_tenant: those for all."""

    issuer: Address
    url: Address
    client_id: str = Field(min_length=1)
    label: str = Field("the hospital's account", min_length=1, max_length=64)
    scopes: tuple[str, ...] = ("openid", "profile")
    algorithms: tuple[str, ...] = Field(("RS256", "PS256", "ES256"), min_length=1)
    name_claim: Claim = ("preferred_username",)
    display_name_claim: Claim = ("name",)
    roles_claim: Claim = ("roles",)
    tenants_claim: Claim | None = None
    roles: dict[PersonRole, tuple[str, ...]] = Field(min_length=1)
    tenants: dict[str, tuple[str, ...]] = {}
    every_tenant: tuple[str, ...] = ()
    machines: Machines | None = None
    ca: Path | None = None
    proxy: Address | None = None

    @model_validator(mode="after")
    def _holds_together(self) -> "Oidc":
        if unknown := set(self.algorithms) - set(ALGORITHMS):
            raise ValueError(f"algorithms: '{min(unknown)}' is none of {', '.join(ALGORITHMS)}")
        if "openid" not in self.scopes:
            raise ValueError("scopes: 'openid' is missing")
        if urlsplit(self.url).path.strip("/"):
            raise ValueError("url: the desk is at the root of its host, so without a path")
        if self.machines is not None and self.machines.audience == self.client_id:
            # ID tokens are for client_id, and a browser has one: it must never pass for an access token
            raise ValueError("machines.audience: is client_id; give the API an audience of its own")
        if self.tenants_claim is None and (self.tenants or self.every_tenant):
            raise ValueError("tenants_claim: is missing, and there are tenants")
        return self

    @property
    def redirect_uri(self) -> str:
        """Where the provider sends people back to; it must be told of it."""
        return self.url.rstrip("/") + CALLBACK

    @property
    def signed_out_uri(self) -> str:
        """Where people are after they have signed out at the provider; it must be told of it."""
        return self.url.rstrip("/") + "/login"

    @property
    def digest(self) -> str:
        """Changes with whatever stands in the file: who signed in by what stood there before signs in again."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


def load_oidc(path: Path, tenants: Collection[str]) -> Oidc:
    """The file. tenants: the names of those in force.

    Raises OidcRefused: unreadable_oidc (no such file, not TOML), invalid_oidc (the text names file and key).
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise OidcRefused("unreadable_oidc", f"{path}: {type(error).__name__}") from error
    except tomllib.TOMLDecodeError as error:
        place = re.search(r"\(at .*\)", str(error))
        raise OidcRefused("unreadable_oidc", f"{path}: is not TOML {place[0] if place else ''}".strip()) from None
    try:
        return _read(content, tenants)
    except ValueError as error:
        raise OidcRefused("invalid_oidc", f"{path}: {error}") from None


def _read(content: dict[str, Any], tenants: Collection[str]) -> Oidc:
    try:
        found = Oidc.model_validate(content)
    except ValidationError as error:
        told = (f"{'.'.join(map(str, each['loc'])) or 'file'}: {each['msg']}" for each in error.errors())
        raise ValueError("; ".join(told).replace("Value error, ", "")) from None
    for tenant in sorted(found.tenants):
        if tenant not in tenants:
            there_are = ", ".join(sorted(tenants)) or "none (VIGIE_TENANTS)"
            raise ValueError(f"tenants: there is no tenant '{tenant}'; there are {there_are}")
    return found
