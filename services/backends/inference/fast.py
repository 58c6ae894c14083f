"""A network converted by OpenVINO to run on a CPU in float32, for as long as it answers as PyTorch does.

It is converted by torch.export, which refuses a network whose course depends on its data; a trace would keep the course
of the first windows for all others. What decides is the comparison of the answers to the first windows of a shape, in
this process or in one before that had the same network, software and processor (`converted.py`).
"""

import logging
from typing import Any

import numpy as np
import torch
from monai.utils import convert_to_dst_type

from services.backends.inference.converted import Comparison, ConvertedNetworks, Key, key_of
from services.backends.inference.memory import is_out_of_memory
from services.backends.inference.openvino_cpu import compile_network, export_network, import_network, processor
from services.triage.errors import Reason
from services.triage.inference import Inference, InferenceMode

log = logging.getLogger(__name__)  # Triton's Python has no structlog

TOLERANCE = 1e-3
"""Greatest difference of any element of an answer, as a share of the reference's greatest absolute value.

Float32 in another order of summation: 5e-7 for a UNet, 3e-4 for a SwinUNETR, both with random weights."""

NOT_CONVERTED, DIFFERS, OUT_OF_MEMORY = "not_converted", "differs", "out_of_memory"

_BREAKS = (
    RuntimeError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, AssertionError, ImportError,
    NotImplementedError,
)  # fmt: skip


class FastNetwork:
    """Called like the network. Once refused, it is the network; `told` says what became of a run since `begin`.

    bundle: digest of what defines the network. kept: where converted ones are looked for and kept; None: nowhere.
    """

    def __init__(self, network: torch.nn.Module, *, bundle: str = "", kept: ConvertedNetworks | None = None) -> None:
        self._network, self._bundle, self._kept = network, bundle, kept
        self._keys: dict[tuple[int, ...], Key] = {}  # by the shape of windows
        self._compiled: Any = None
        self._shape: tuple[int, ...] = ()
        self._refused: Reason | None = None
        self._why: Reason | None = None
        self._answered = False

    def begin(self) -> None:
        """Of another volume."""
        self._why, self._answered = self._refused, False

    def told(self) -> Inference:
        """fast: at least one batch of windows was answered by the converted network."""
        mode = InferenceMode.FAST if self._answered else InferenceMode.REFERENCE
        return Inference(mode=mode, why=self._why)

    def forget(self) -> None:
        """Give back the memory of the converted network; this run has none, the next one converts anew."""
        self._compiled, self._shape, self._answered = None, (), False
        self._why = Reason(code=OUT_OF_MEMORY, text="memory ran out; the network ran in PyTorch, a window at a time")

    def __call__(self, windows: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        """The network's answer to a batch of windows [N, C, ...]; a smaller batch than the first is padded to it."""
        if args or kwargs:
            self._refuse(NOT_CONVERTED, "it is given more than windows")
        if self._refused is not None:
            return self._network(windows, *args, **kwargs)
        if self._fits(windows) or self._found(windows):
            return self._answer(windows)
        reference = self._network(windows)
        answer = self._converted(windows, reference)
        return reference if answer is None else answer

    def _fits(self, windows: torch.Tensor) -> bool:
        same = self._compiled is not None and tuple(windows.shape[1:]) == self._shape[1:]
        return same and windows.shape[0] <= self._shape[0]

    def _answer(self, windows: torch.Tensor) -> Any:
        given = windows.numpy()
        missing = self._shape[0] - len(given)
        if missing:
            given = np.concatenate([given, np.zeros((missing, *self._shape[1:]), given.dtype)])
        answer = torch.from_numpy(self._compiled(given)[0][: len(windows)])
        self._answered = True
        return convert_to_dst_type(answer, windows)[0]  # a MetaTensor keeps its place

    def _converted(self, windows: torch.Tensor, reference: Any) -> Any:
        """The converted network's answer, or None: it is refused."""
        answered = self._answered
        try:
            self._compiled = None  # of another shape: two would double the memory
            self._compiled = compile_network(self._network, windows)
            self._shape = tuple(windows.shape)
            answer = self._answer(windows)
            comparison = _compared(answer, reference)
        except _BREAKS as error:
            if is_out_of_memory(error):
                raise
            self._answered = answered
            self._refuse(NOT_CONVERTED, f"OpenVINO did not take the network: {type(error).__name__}")
            log.debug("not converted", exc_info=error)
            return None
        if comparison.holds(TOLERANCE):
            self._keep(windows, comparison)
            return answer
        self._answered = answered
        off, scale = comparison.difference, comparison.scale
        self._refuse(DIFFERS, f"OpenVINO's answer is off by {off:.2g} where the greatest is {scale:.2g}")
        return None

    def _found(self, windows: torch.Tensor) -> bool:
        """Whether a kept network answers from now on: one that has passed the comparison for windows of this shape."""
        if self._kept is None:
            return False
        self._compiled = None
        try:
            key = self._key(windows)
            found = self._kept.read(key)
            if found is None or not found[1].holds(TOLERANCE):
                return False
        except _BREAKS as error:
            log.debug("no kept network can be looked for", exc_info=error)  # the conversion will tell why
            return False
        try:
            self._compiled = import_network(found[0])
        except _BREAKS as error:
            if is_out_of_memory(error):
                raise
            log.warning("a kept network is not used and is made anew: OpenVINO: %s", type(error).__name__)
            self._kept.drop(key)
            return False
        self._shape = tuple(windows.shape)
        return True

    def _keep(self, windows: torch.Tensor, comparison: Comparison) -> None:
        if self._kept is None:
            return
        try:
            self._kept.keep(self._key(windows), export_network(self._compiled), comparison)
        except _BREAKS as error:  # of memory, too: the answer is there
            log.warning("a converted network could not be kept: %s", type(error).__name__)

    def _key(self, windows: torch.Tensor) -> Key:
        shape = tuple(windows.shape)
        if shape not in self._keys:
            self._keys[shape] = key_of(self._network, shape, windows.dtype, bundle=self._bundle, processor=processor())
        return self._keys[shape]

    def _refuse(self, code: str, text: str) -> None:
        if self._refused is None:
            self._compiled = None
            self._refused = self._why = Reason(code=code, text=text)
            log.warning("no fast mode, the network stays in PyTorch: %s: %s", code, text)


def _compared(answer: torch.Tensor, reference: torch.Tensor) -> Comparison:
    if answer.shape != reference.shape:
        raise ValueError(f"an answer of {tuple(answer.shape)}, not of {tuple(reference.shape)}")
    return Comparison(difference=float((answer - reference).abs().max()), scale=float(reference.abs().max()))
