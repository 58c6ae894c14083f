"""What is asked of OpenVINO: networks in float32 for the CPU, and nothing that leaves this machine."""

import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

_CPUINFO = Path("/proc/cpuinfo")
_DECISIVE = ("cpu family", "model", "stepping", "flags", "CPU part", "CPU revision", "Features")  # of x86, and of ARM


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


def export_network(compiled: Any) -> memoryview:
    """The bytes of a compiled network, for `import_network`. Raises RuntimeError."""
    exported: memoryview = compiled.export_model().getbuffer()
    return exported


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
        **_of_the_kernel(),
        "build": _openvino().__version__,
        **{name: str(value) for name, value in _hints().items()},
    }


def _of_the_kernel() -> dict[str, str]:
    """Model and instructions of the first processor (proc(5)); clouds call very different ones the same."""
    try:
        lines = _CPUINFO.read_text().partition("\n\n")[0].splitlines()
    except OSError:
        return {}
    told = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return {name: told[name] for name in _DECISIVE if name in told}


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
