"""A bundle's weights: which file, which part of it, and into the network; never anything but tensors."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from monai.networks.utils import copy_model_state
from safetensors import SafetensorError
from safetensors.torch import load_file

from services.backends.inference.bundle_files import weights_file
from services.backends.inference.inference_config import InferenceConfig
from services.triage.errors import ModelRefused

USUAL_KEYS = ("model", "network", "net", "state_dict", "model_state_dict")


def load_weights(
    network: torch.nn.Module, config: InferenceConfig, parser: ConfigParser, bundle: Path, device: torch.device
) -> None:
    """Load the bundle's weights as its CheckpointLoader would: its key of the file, its `strict` and `strict_shape`.

    The loader itself is not run: it wants an engine, and may ask for a device that is not ours.
    Raises ModelRefused: no_weights, other_weights (it loads another file than the one that names the model's version),
    bad_weights (not tensors alone, or not this network's).
    """
    file = weights_file(bundle)
    loader = _loader(network, config, parser)
    named = bundle / _content(parser, loader, "load_path", file)
    if named.is_file() and not named.samefile(file):
        text = f"'{loader}' loads {named.name}, and the version of '{bundle.name}' is that of {file.name}: keep one"
        raise ModelRefused("other_weights", text)
    try:
        told = load_file(file, device=str(device)) if file.suffix == ".safetensors" else _load(file, device)
        state = _state(told, _key(network, parser, loader))
        if not _content(parser, loader, "strict_shape", True):
            copy_model_state(network, state)
        else:
            network.load_state_dict(state, strict=bool(_content(parser, loader, "strict", True)))
    except (
        pickle.UnpicklingError, SafetensorError, RuntimeError, EOFError, OSError, KeyError, AttributeError, TypeError,
    ) as error:  # fmt: skip
        raise ModelRefused("bad_weights", f"{file.name} of '{bundle.name}': {type(error).__name__}: {error}") from error


def _load(file: Path, device: torch.device) -> Any:
    return torch.load(file, map_location=device, weights_only=True)


def _loader(network: torch.nn.Module, config: InferenceConfig, parser: ConfigParser) -> str | None:
    """Id of the CheckpointLoader that fills this network."""
    enabled = (at for at in config.checkpoints if not _content(parser, at, "_disabled_", False))
    return next((at for at in enabled if _key(network, parser, at) is not None), None)


def _key(network: torch.nn.Module, parser: ConfigParser, loader: str | None) -> str | None:
    """Under which key of the file the network's weights lie, by the loader's `load_dict`."""
    if loader is None:
        return None
    told = parser.get(f"{loader}#load_dict")
    if not isinstance(told, dict):
        told = parser.get_parsed_content(f"{loader}#load_dict")
        return next((key for key, value in told.items() if value is network), None)
    found = (key for key in told if parser.get_parsed_content(f"{loader}#load_dict#{key}") is network)
    return next(found, None)


def _content(parser: ConfigParser, loader: str | None, argument: str, default: Any) -> Any:
    given = loader is not None and f"{loader}#{argument}" in parser
    return parser.get_parsed_content(f"{loader}#{argument}") if given else default


def _state(told: Any, key: str | None) -> Mapping[str, Any]:
    """The part of a file that holds the weights: the key's, a usual one's, or all of it."""
    for name in (key, *USUAL_KEYS):
        if name in told and isinstance(told[name], Mapping):
            return dict(told[name])
    return dict(told)
