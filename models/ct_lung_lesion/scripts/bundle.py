"""The bundle's own configuration, read the way MONAI reads it, and its network."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from monai.bundle import ConfigParser

ROOT = Path(__file__).resolve().parent.parent


def inference_config() -> ConfigParser:
    """The bundle's inference config, parsed, without data."""
    parser = ConfigParser()
    parser.read_config(ROOT / "configs" / "inference.json")
    parser["bundle_root"] = str(ROOT)
    parser["datalist"] = []
    parser.parse()
    return parser


def train_settings() -> dict:
    """What configs/train.json says."""
    return json.loads((ROOT / "configs" / "train.json").read_text())


def metadata() -> dict:
    """What configs/metadata.json says."""
    return json.loads((ROOT / "configs" / "metadata.json").read_text())


def new_network() -> torch.nn.Sequential:
    """The network of `inference.json`; both heads start almost sure that there is no tumour."""
    network = inference_config().get_parsed_content("network_def")
    for head in (coarse_part(network)[-1], network[2]):
        torch.nn.init.normal_(head.weight, 0, 0.2)
        torch.nn.init.constant_(head.bias, -3.5)
    for module in network[1].modules():
        if isinstance(module, torch.nn.Conv3d) and module.in_channels == 2:
            torch.nn.init.zeros_(module.weight[:, 1])  # blind to the coarse channel until there is something to see
    return network


def coarse_part(network: torch.nn.Sequential) -> torch.nn.Sequential:
    """4 mm image to tumour logits: the network's coarse branch without pooling, sigmoid and upsampling."""
    return torch.nn.Sequential(network[0].submodule[1], network[0].submodule[2])


def fine_part(network: torch.nn.Sequential) -> torch.nn.Sequential:
    """(2 mm image, coarse probability) to tumour logits."""
    return torch.nn.Sequential(network[1], network[2])


def take_coarse(network: torch.nn.Sequential, path: Path) -> None:
    """Replace the coarse branch by that of other weights."""
    state = torch.load(path, map_location="cpu", weights_only=True)
    network.load_state_dict({k: v for k, v in state.items() if k.startswith("0.")}, strict=False)


def load_weights(network: torch.nn.Module, path: Path) -> torch.nn.Module:
    """The network with the weights of a file that holds nothing but tensors."""
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return network
