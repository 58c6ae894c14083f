"""What the channels of an answer mean: which are tumour, whether they exclude each other, and which label they make."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from monai.transforms import Activationsd, AsDiscreted, MapTransform

from services.triage.errors import AnalysisFailed
from services.triage.model import ClassKind, Model

Transform = Callable[[Any], Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """The form of an answer, read from the bundle's own steps.

    overlapping: each channel stands for itself (sigmoid), several may hold at once; else one of them does (softmax).
    activated: the channels are probabilities already. one_hot: labels come as one channel per label value.
    """

    overlapping: bool
    activated: bool
    one_hot: bool

    @classmethod
    def of(cls, soft: Sequence[Transform], rest: Sequence[Transform], key: str, *, channels: int) -> "Answer":
        """soft, rest: the steps before and from the one that makes the answer discrete. key: of the answer."""
        activations = [step for step in soft if isinstance(step, Activationsd) and key in step.keys]
        discrete = next((step for step in rest if isinstance(step, AsDiscreted) and key in step.keys), None)
        argmax = discrete is not None and bool(_told(discrete, "argmax", key))
        threshold = discrete is not None and _told(discrete, "threshold", key) is not None
        sigmoid = any(_told(step, "sigmoid", key) for step in activations)
        return cls(
            overlapping=channels == 1 or (not argmax and (sigmoid or threshold)),
            activated=bool(activations),
            one_hot=discrete is not None and _told(discrete, "to_onehot", key) is not None,
        )


def _told(step: MapTransform, argument: str, key: str) -> Any:
    """A step keeps each of its arguments once per key."""
    return getattr(step, argument)[step.keys.index(key)]


def tumour_probability(pred: torch.Tensor, answer: Answer, model: Model) -> torch.Tensor:
    """Channels [C, x, y, z] to one [1, x, y, z], 0..1.

    The one channel there is; the sum of the tumour classes' channels where these exclude each other; the greatest of
    them where they may overlap. A class's channel is its label value unless its `channels` say otherwise. Raises
    AnalysisFailed when that does not fit the answer.
    """
    if not answer.activated:
        pred = torch.sigmoid(pred) if answer.overlapping else torch.softmax(pred, dim=0)
    if pred.shape[0] == 1:
        return pred
    tumours = [told for told in model.classes if told.kind is ClassKind.TUMOUR]
    told = [channel for one in tumours for channel in one.channels]
    if answer.overlapping and not told:
        if len(tumours) < len(model.classes):
            raise AnalysisFailed("runner_failed", "channels overlap: say `channels` of each of triage.classes")
        return pred.amax(dim=0, keepdim=True)
    channels = sorted({channel for one in tumours for channel in one.channels or (one.value,)})
    if any(channel >= pred.shape[0] for channel in channels):
        raise AnalysisFailed("runner_failed", f"classes {channels} do not fit the model's {pred.shape[0]} channels")
    chosen = pred[channels]
    return chosen.amax(dim=0, keepdim=True) if answer.overlapping else chosen.sum(dim=0, keepdim=True)


def merged(labels: torch.Tensor, answer: Answer) -> torch.Tensor:
    """Labels of one channel [1, x, y, z]. Of overlapping channels n (from 0) makes label n + 1, the last one wins."""
    if labels.shape[0] == 1:
        return labels
    if answer.one_hot:
        return labels.argmax(dim=0, keepdim=True)
    values = torch.arange(1, labels.shape[0] + 1, device=labels.device).view(-1, 1, 1, 1)
    return (labels.gt(0) * values).amax(dim=0, keepdim=True)
