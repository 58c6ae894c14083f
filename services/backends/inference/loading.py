"""Which models a Triton server has loaded: asking it, loading and unloading (model control mode EXPLICIT)."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from services.backends.inference import wire
from services.backends.inference.catalogue import Catalogue
from services.backends.inference.transfer import CONTROL_TIMEOUT_S
from services.triage.errors import ModelRefused, SegmenterUnavailable
from services.triage.model import Model

LOAD_TIMEOUT_S = 120.0

_NEVER_LOADED = ("", "unloaded")
"""The reasons in Triton's index of a model that nothing is wrong with."""


def load_version(url: str, catalogue: Catalogue, model: Model) -> None:
    """Have the server at HOST:PORT load what the catalogue has, and wait until it is ready and warm.

    Also where it was broken before, or another was exported under its name. Raises SegmenterUnavailable, ModelRefused:
    it is not in the repository, cannot be loaded, or is another.
    """
    name = catalogue.bundle_of(model).name
    with verdicts(), InferenceServerClient(url) as client:
        if not _is_ready(client, name) or _differences(client, name, model):
            _load(client, name)
        require_served(client, name, model)


def unload_versions(url: str, bundles: Sequence[Path]) -> list[Path]:
    """Have the server unload those of these bundles that it has loaded; answers which. What runs is finished first.

    Raises SegmenterUnavailable.
    """
    with verdicts(), InferenceServerClient(url) as client:
        loaded = [one for one in bundles if _is_ready(client, one.name)]
        for one in loaded:
            client.unload_model(one.name, client_timeout=CONTROL_TIMEOUT_S)
        return loaded


def require_served(client: InferenceServerClient, name: str, model: Model) -> None:
    """Have a model loaded that is not, and see that it is the catalogue's. Raises ModelRefused, SegmenterUnavailable.

    One that was broken when it was loaded last is not tried again: a person has it loaded once it is mended.
    """
    if not _is_ready(client, name):
        _require_unbroken(client, name)
        _load(client, name)
    if other := _differences(client, name, model):
        text = f"Triton serves '{name}' with another {', '.join(other)} than the models folder: export it, then load it"
        raise ModelRefused("other_model_served", text)


def _is_ready(client: InferenceServerClient, name: str) -> bool:
    return bool(client.is_model_ready(name, client_timeout=CONTROL_TIMEOUT_S))


def _differences(client: InferenceServerClient, name: str, model: Model) -> list[str]:
    told = client.get_model_config(name, client_timeout=CONTROL_TIMEOUT_S).config.parameters
    expected = {
        wire.VERSION: model.identity.version,
        wire.WEIGHTS_SHA256: model.identity.weights_sha256,
        wire.BUNDLE_SHA256: model.bundle_sha256,
    }
    return [key for key, value in expected.items() if told[key].string_value != value]


def _load(client: InferenceServerClient, name: str) -> None:
    found = _entries(client, name)
    if not found:
        raise ModelRefused("model_not_served", f"Triton has no model '{name}': export it to its repository")
    if any(entry.state == "LOADING" for entry in found):
        raise SegmenterUnavailable(f"Triton has not loaded '{name}' yet")
    try:
        client.load_model(name, client_timeout=LOAD_TIMEOUT_S)
    except InferenceServerException as error:
        _require_unbroken(client, name)
        raise SegmenterUnavailable(f"Triton has not loaded '{name}': {error.message().splitlines()[0]}") from error


def _entries(client: InferenceServerClient, name: str) -> list[Any]:
    """What Triton's index says of each number of a model; of none: it is not in the repository."""
    index = client.get_model_repository_index(client_timeout=CONTROL_TIMEOUT_S).models
    return [entry for entry in index if entry.name == name]


def _require_unbroken(client: InferenceServerClient, name: str) -> None:
    broken = next((one.reason for one in _entries(client, name) if one.reason not in _NEVER_LOADED), None)
    if broken is not None:
        raise ModelRefused("model_not_loaded", f"Triton cannot load '{name}': {broken.splitlines()[0]}")


@contextmanager
def verdicts() -> Iterator[None]:
    """Map what tritonclient raises: a refusal that the runner has coded is final, all else is worth another try."""
    try:
        yield
    except InferenceServerException as error:
        refusal = wire.refusal_from_text(error.message())
        if refusal is not None:
            raise refusal from error
        status = (error.status() or "").removeprefix("StatusCode.")
        raise SegmenterUnavailable(f"Triton: {status}: {error.message().strip().splitlines()[0]}") from error
