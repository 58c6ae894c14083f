"""A network converted by OpenVINO to run on a CPU in float32, for as long as it answers as PyTorch does.

It is converted by torch.export, which refuses a network whose course depends on its data; a trace would keep the course
of the first windows for all others. What decides is the comparison of the answers to the first windows of a shape.
"""

import logging
import sys
import warnings
from typing import Any

import numpy as np
import torch
from monai.utils import convert_to_dst_type

from services.backends.inference.memory import is_out_of_memory
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
    """Called like the network. Once refused, it is the network; `told` says what became of a run since `begin`."""

    def __init__(self, network: torch.nn.Module) -> None:
        self._network = network
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
        if self._fits(windows):
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
            self._compiled = _compile(self._network, windows)
            self._shape = tuple(windows.shape)
            answer = self._answer(windows)
            difference, scale = _difference(answer, reference), float(reference.abs().max())
        except _BREAKS as error:
            if is_out_of_memory(error):
                raise
            self._answered = answered
            self._refuse(NOT_CONVERTED, f"OpenVINO did not take the network: {type(error).__name__}")
            log.debug("not converted", exc_info=error)
            return None
        if difference <= TOLERANCE * scale:  # false for NaN
            return answer
        self._answered = answered
        self._refuse(DIFFERS, f"OpenVINO's answer is off by {difference:.2g} where the greatest is {scale:.2g}")
        return None

    def _refuse(self, code: str, text: str) -> None:
        if self._refused is None:
            self._compiled = None
            self._refused = self._why = Reason(code=code, text=text)
            log.warning("no fast mode, the network stays in PyTorch: %s: %s", code, text)


def _difference(answer: torch.Tensor, reference: torch.Tensor) -> float:
    if answer.shape != reference.shape:
        raise ValueError(f"an answer of {tuple(answer.shape)}, not of {tuple(reference.shape)}")
    return float((answer - reference).abs().max())


def _compile(network: torch.nn.Module, windows: torch.Tensor) -> Any:
    """The network for batches of exactly this shape, in memory alone."""
    # it would tell Google Analytics, unasked, that a network was converted; without the package OpenVINO has a stub
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    with torch.inference_mode(mode=False), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        example = torch.zeros(tuple(windows.shape), dtype=windows.dtype)
        exported = torch.export.export(network, (example,), strict=False)
        model = openvino.convert_model(exported)
    hints = {
        "INFERENCE_PRECISION_HINT": "f32",
        "EXECUTION_MODE_HINT": "ACCURACY",
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "ENABLE_CPU_PINNING": False,  # other processes of ours have the same cores
    }
    return openvino.Core().compile_model(model, "CPU", hints)
