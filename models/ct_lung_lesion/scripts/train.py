"""Train the network in two stages: the coarse branch on whole chests at 4 mm, then the fine branch on 2 mm patches.

    python train.py coarse --pool DIR --out coarse.pt
    python train.py fine --pool DIR --out blind.pt                 (no coarse channel yet: can run beside the first)
    python train.py finetune --pool DIR --pool REAL_DIR --init blind.pt --coarse coarse.pt
        --without lung1 --out without_lung1.pt

All settings are in configs/train.json. Each run writes the weights (averaged over the last steps) and, beside them, a
.json with its loss curve and the processor time it took. A checkpoint is written every minute. It computes on a GPU if
there is one, and in bfloat16 where the processor has instructions for it (twice as fast; without them, far slower).
"""

from __future__ import annotations

import argparse
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from bundle import coarse_part, fine_part, load_weights, new_network, take_coarse, train_settings
from dataset import Pool, coarse_patch, fine_patch
from torch.nn import functional


def lesion_loss(logits, label, weight, settings) -> tuple[torch.Tensor, torch.Tensor]:
    """Focal cross entropy and soft Dice, both with the lesions' weights."""
    probability = torch.sigmoid(logits)
    weight = torch.where(label > 0, weight, torch.ones_like(weight))
    entropy = functional.binary_cross_entropy_with_logits(logits, label, reduction="none")
    missed = 1 - torch.where(label > 0, probability, 1 - probability)
    focal = (entropy * (2 * missed + 0.1) * torch.where(label > 0, 2 * weight, weight)).mean() * settings[
        "focal_weight"
    ]
    overlap, total = (probability * label * weight).sum(), ((probability + label) * weight).sum()
    dice = 1 - (2 * overlap + settings["dice_smooth"]) / (total + settings["dice_smooth"])
    return focal, dice


class Average:
    """A running average of all weights and buffers: the model that is saved."""

    def __init__(self, module: torch.nn.Module, decay: float):
        self.module, self.decay, self.steps = module, decay, 0
        self.state = {k: v.clone() for k, v in module.state_dict().items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights as they are now."""
        self.steps += 1
        keep = min(self.decay, self.steps / (self.steps + 10.0))
        for key, value in self.module.state_dict().items():
            if value.is_floating_point():
                self.state[key].mul_(keep).add_(value, alpha=1 - keep)
            else:
                self.state[key].copy_(value)


def save_atomically(state: dict, path: Path) -> None:
    """Write a state dict so that a reader never meets half of it."""
    part = path.with_suffix(".part")
    torch.save({k: v.cpu().contiguous() for k, v in state.items()}, part)
    part.replace(path)


def fast_in_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 by itself."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return torch.cpu._is_avx512_bf16_supported()  # torch has no public name for this question


class Run:
    """One training run of a part of the network, for a given number of steps."""

    def __init__(self, network, part, draw, steps, rate, batch, settings, out: Path):
        self.network, self.part, self.draw = network, part, draw
        self.steps, self.rate, self.batch = steps, rate, batch
        self.settings, self.out = settings, out
        self.curve: list[dict] = []
        self.device = next(part.parameters()).device
        self.bfloat16 = fast_in_bfloat16(self.device)

    def go(self) -> None:
        """Train, save now and then and at the end, and leave the averaged weights in the network."""
        self.part.train().to(memory_format=torch.channels_last_3d)
        optimiser = torch.optim.AdamW(self.part.parameters(), lr=self.rate, weight_decay=self.settings["weight_decay"])
        average = Average(self.network, self.settings["ema_decay"])
        saved, losses = time.monotonic(), []
        with ThreadPoolExecutor(1) as reader:
            coming = reader.submit(self._batch)
            for step in range(1, self.steps + 1):
                self._set_rate(optimiser, step)
                batch, coming = coming.result(), reader.submit(self._batch)
                losses.append(self._step(optimiser, batch))
                average.update()
                if step % 50 == 0:
                    self._note(step, losses)
                    losses = []
                if time.monotonic() - saved > 60:
                    saved = time.monotonic()
                    save_atomically(average.state, self.out)
        save_atomically(average.state, self.out)
        self.network.load_state_dict(average.state)

    def _batch(self) -> list[torch.Tensor]:
        layers = zip(*(self.draw() for _ in range(self.batch)), strict=True)
        return [torch.from_numpy(np.stack(layer)) for layer in layers]

    def _set_rate(self, optimiser, step: int) -> None:
        """A short rise, then a cosine fall."""
        rate = self.rate * (min(1.0, step / 40) * 0.5 * (1 + np.cos(np.pi * step / self.steps)) + 0.01)
        for group in optimiser.param_groups:
            group["lr"] = rate

    def _step(self, optimiser, batch) -> tuple[float, float]:
        image, label, weight, *coarse = (layer.to(self.device) for layer in batch)
        x = torch.cat([image, *coarse], dim=1).contiguous(memory_format=torch.channels_last_3d)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            logits = self.part(x)
        focal, dice = lesion_loss(logits.float(), label, weight, self.settings["loss"])
        optimiser.zero_grad()
        (focal + dice).backward()
        torch.nn.utils.clip_grad_norm_(self.part.parameters(), self.settings["gradient_clip"])
        optimiser.step()
        return focal.item(), dice.item()

    def _note(self, step: int, losses) -> None:
        focal, dice = (round(float(v), 4) for v in np.mean(losses, axis=0))
        self.curve.append({"step": step, "focal": focal, "dice": dice})
        print(
            f"step {step}, {time.process_time():.0f} s of processor time: focal {focal:.3f}, dice {dice:.3f}",
            flush=True,
        )


@torch.no_grad()
def cache_coarse(network, pool: Pool, window) -> None:
    """Run the coarse branch over every volume of the pool; the fine stage reads its probabilities."""
    part = coarse_part(network).eval()
    device = next(part.parameters()).device
    for sample in pool.samples:
        image = torch.from_numpy(
            np.clip((sample.coarse_hu.astype(np.float32) - window[0]) / (window[1] - window[0]), 0, 1)
        )
        pad = [p for s in reversed(image.shape) for p in (0, -s % 16)]
        logits = part(functional.pad(image, pad)[None, None].to(device))[0, 0]
        shape = tuple(slice(0, s) for s in image.shape)
        sample.coarse_probability = (torch.sigmoid(logits[shape]) * 255).round().byte().cpu().numpy()


def train_coarse(network, pool, settings, args, steps, rate) -> list[dict]:
    """The coarse branch; returns the loss curve."""
    stage, rng = settings["coarse"], np.random.default_rng(settings["seed"] + 1)

    def draw():
        return coarse_patch(pool, rng, stage, settings["augment"], settings["window_hu"])

    run = Run(network, coarse_part(network), draw, steps, rate, stage["batch"], settings, args.out)
    run.go()
    return run.curve


def train_fine(network, pool, settings, args, steps, rate) -> list[dict]:
    """The fine branch on top of the coarse one; returns the loss curve."""
    stage, rng = settings["fine"], np.random.default_rng(settings["seed"] + 2)
    if args.init or args.coarse:
        cache_coarse(network, pool, settings["window_hu"])

    def draw():
        return fine_patch(pool, rng, stage, settings["augment"], settings["window_hu"])

    run = Run(network, fine_part(network), draw, steps, rate, stage["batch"], settings, args.out)
    run.go()
    return run.curve


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=("coarse", "fine", "finetune"))
    parser.add_argument(
        "--pool", type=Path, action="append", required=True, help="folder of .npz volumes; may be repeated"
    )
    parser.add_argument("--init", type=Path)
    parser.add_argument("--coarse", type=Path, help="take the coarse branch from these weights")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--without", choices=("lung1", "lung2"), help="leave this real background out")
    parser.add_argument("--steps", type=int, help="instead of the configured number (coarse and fine)")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    settings, began = train_settings(), time.monotonic()
    torch.manual_seed(settings["seed"])
    torch.set_num_threads(args.threads)
    network = new_network()
    if args.init:
        load_weights(network, args.init)
    if args.coarse:
        take_coarse(network, args.coarse)
    network.to("cuda" if torch.cuda.is_available() else "cpu")
    pool = Pool(args.pool, settings["loss"], settings["seed"], without=args.without)
    print(f"{len(pool.phantoms)} phantoms, {len(pool.real)} on real backgrounds", flush=True)
    curves = {}
    if args.stage == "finetune":
        plan = settings["finetune"]
        curves["coarse"] = train_coarse(network, pool, settings, args, plan["coarse_steps"], plan["learning_rate"])
        curves["fine"] = train_fine(network, pool, settings, args, plan["fine_steps"], plan["learning_rate"])
    else:
        train, stage = {"coarse": train_coarse, "fine": train_fine}[args.stage], settings[args.stage]
        curves[args.stage] = train(network, pool, settings, args, args.steps or stage["steps"], stage["learning_rate"])
    record = {
        "stage": args.stage,
        "without": args.without,
        "phantoms": len(pool.phantoms),
        "real": len(pool.real),
        "wall_seconds": round(time.monotonic() - began, 1),
        "cpu_seconds": round(time.process_time(), 1),
        "curves": curves,
    }
    args.out.with_suffix(".json").write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
