"""What may be switched off and on, and recalled: by the desk's pages, its API and the command line alike."""

from collections.abc import Collection
from contextlib import suppress

from services.backends.routing_file import load_rules
from services.backends.store import SqlStudyStore
from services.settings import Settings
from services.triage.errors import RulesRefused, SwitchRefused
from services.triage.switch import EVERY, ModelScope


def known_models(settings: Settings, store: SqlStudyStore) -> dict[str, tuple[str, ...]]:
    """Names of models with the versions that have results: those of the routing rules, and all that ever had a job."""
    found: dict[str, tuple[str, ...]] = {}
    with suppress(RulesRefused):  # the desk may be without the dispatcher's file; what has a job is known all the same
        found = {rule.model_name: () for rule in load_rules(settings.routing)}
    for row in store.switches.models():
        found[row.name] = (*found.get(row.name, ()), *([row.version] if row.version else []))
    return dict(sorted(found.items()))


def require_known(scope: ModelScope, known: dict[str, tuple[str, ...]], tenants: Collection[str]) -> None:
    """A mistyped name would switch nothing off and say that it did. Raises SwitchRefused."""
    if scope.model_name not in known:
        raise SwitchRefused("unknown_model", f"there is no model of this name; there are {', '.join(known) or 'none'}")
    versions = known[scope.model_name]
    if scope.version != EVERY and scope.version not in versions:
        there_are = ", ".join(versions) or "none"
        text = f"no result is of this version; there are {there_are}, or '{EVERY}' for all"
        raise SwitchRefused("unknown_version", text)
    if scope.tenant != EVERY and scope.tenant not in tenants:
        there_are = ", ".join(sorted(tenants)) or "none"
        raise SwitchRefused("unknown_tenant", f"there is no tenant of this name; there are {there_are}")


def within(scope: ModelScope, theirs: Collection[str]) -> ModelScope:
    """The scope for somebody of these tenants (none: of all). Raises SwitchRefused: it would be others' too."""
    if not theirs or scope.tenant in theirs:
        return scope
    if scope.tenant == EVERY and len(theirs) == 1:
        return ModelScope(model_name=scope.model_name, version=scope.version, tenant=next(iter(theirs)))
    raise SwitchRefused("not_your_tenant", f"name a tenant that you are of: {', '.join(sorted(theirs))}")


def concerns(scope: ModelScope, theirs: Collection[str]) -> bool:
    """Whether a switch or a recall concerns somebody of these tenants (none: of all)."""
    return not theirs or scope.tenant == EVERY or scope.tenant in theirs
