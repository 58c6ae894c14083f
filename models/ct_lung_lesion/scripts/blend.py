"""Average the weights of runs that began from the same weights: one network that has learnt from all of them.

    python blend.py without_lung1.pt without_lung2.pt --out model.pt

Averaging weights after fine-tuning from a common start: Wortsman M et al., Model soups, ICML 2022.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from train import save_atomically


def blend(states: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """The mean of every floating-point tensor; counters are taken from the first."""
    first = states[0]
    return {
        key: torch.stack([state[key] for state in states]).mean(0) if value.is_floating_point() else value
        for key, value in first.items()
    }


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    states = [torch.load(path, map_location="cpu", weights_only=True) for path in args.weights]
    save_atomically(blend(states), args.out)


if __name__ == "__main__":
    main()
