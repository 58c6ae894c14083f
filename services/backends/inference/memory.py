"""Peak memory of this process, by the Linux kernel's own account (proc(5): VmHWM, clear_refs); and when it ran out."""

from pathlib import Path

import torch

_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")


def reset_peak_memory() -> None:
    """Begin a new measure. Where the kernel does not allow it, the peak is that of the whole process."""
    try:
        _CLEAR_REFS.write_text("5")
    except OSError:
        return


def peak_memory_mb() -> float | None:
    """Peak resident memory since the last reset in MB, or None off Linux."""
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")), None)


def is_out_of_memory(error: Exception) -> bool:
    """PyTorch's CPU allocator and OpenVINO have no error class of their own."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "alloc" in str(error)
