"""What is asked of OpenVINO: networks in float32 for the CPU, and nothing that leaves this machine."""

import sys
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch


def compile_network(network: torch.nn.Module, windows: torch.Tensor) -> Any:
    """The network for batches of exactly this shape [N, C, ...], called with an array and answering with a list.

    By torch.export, which refuses a network whose course depends on its data. Raises whatever of RuntimeError's kind
    PyTorch and OpenVINO raise.
    """
    openvino = _openvino()
    with torch.inference_mode(mode=False), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        example = torch.zeros(tuple(windows.shape), dtype=windows.dtype)
        exported = torch.export.export(network, (example,), strict=False)
        model = openvino.convert_model(exported)
    return openvino.Core().compile_model(model, "CPU", _hints())


def export_network(compiled: Any) -> bytes:
    """The bytes of a compiled network, for `import_network`. Raises RuntimeError."""
    return bytes(compiled.export_model().getbuffer())


def import_network(exported: memoryview) -> Any:
    """The network of which these are the bytes, in the same OpenVINO, on the same processor. Raises RuntimeError.

    They must be our own: OpenVINO reads them as it would its own memory.
    """
    openvino = _openvino()
    content = openvino.Tensor(np.frombuffer(exported, np.uint8))  # a copy: what it shares it does not keep alive
    return openvino.Core().import_model(content, "CPU", _hints())


def processor() -> Mapping[str, str]:
    """What of this machine, and of what is asked of it, decides in which order a network sums."""
    core = _openvino().Core()
    return {
        "processor": core.get_property("CPU", "FULL_DEVICE_NAME"),
        "capabilities": " ".join(sorted(core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"))),
        "build": _openvino().__version__,
        **{name: str(value) for name, value in _hints().items()},
    }


def _hints() -> dict[str, Any]:
    return {
        "INFERENCE_PRECISION_HINT": "f32",
        "EXECUTION_MODE_HINT": "ACCURACY",
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "ENABLE_CPU_PINNING": False,  # other processes of ours have the same cores
    }


def _openvino() -> Any:
    # it would tell Google Analytics, unasked, that a network was converted; without the package OpenVINO has a stub
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino
