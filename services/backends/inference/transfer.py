"""How a volume's tensors reach Triton: in the gRPC message, or through memory that both processes map."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput, InferResult
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from services.backends.inference import wire
from services.backends.inference.shared_memory import SharedRegion, abandoned, room, unlink
from services.triage.errors import AnalysisFailed
from services.triage.volume import Volume

MAX_MESSAGE_BYTES = 2**31 - 2**20
"""protobuf ends at 2 GiB, and so do Triton and its client; what is not tensor takes far less than the MiB left."""

CONTROL_TIMEOUT_S = 10.0
"""For calls that need no computing."""

RELEASE_S = 2.0
"""The longest wait for Triton to let go of a region after its answer."""

LabelArray = npt.NDArray[np.uint8]


class NotShared(Exception):
    """The server cannot map our memory: it is on another host, in a container of its own, or another user."""


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """What to ask with, and how to read labels and probability [slice, row, column] from the answer.

    read: raises AnalysisFailed (runner_failed) where they are not those of the whole volume.
    """

    inputs: list[InferInput]
    outputs: list[InferRequestedOutput]
    read: Callable[[InferResult], tuple[LabelArray, LabelArray]]


@contextmanager
def plain(volume: Volume) -> Iterator[Transfer]:
    """Every tensor in the message. Raises AnalysisFailed (volume_too_large) when no message can hold it."""
    given = wire.voxels_of(volume)
    size = max(given.nbytes, 2 * volume.voxels.size)
    if size > MAX_MESSAGE_BYTES:
        raise AnalysisFailed(
            "volume_too_large",
            f"{size} bytes do not fit a gRPC message (2 GiB): let worker and Triton share a host's /dev/shm",
        )
    voxels = _input(wire.VOXELS[given.dtype.name], given)
    voxels.set_data_from_numpy(np.ascontiguousarray(given))
    outputs = [InferRequestedOutput(name) for name in (wire.LABELS, wire.PROBABILITY, wire.REPORT)]

    def read(answer: InferResult) -> tuple[LabelArray, LabelArray]:
        _require_whole(answer, volume)
        # copies, for the arrays of the message cannot be written to
        return answer.as_numpy(wire.LABELS).copy(), answer.as_numpy(wire.PROBABILITY).copy()

    yield Transfer(inputs=[voxels, _affine(volume)], outputs=outputs, read=read)


@contextmanager
def shared(client: InferenceServerClient, volume: Volume) -> Iterator[Transfer]:
    """Voxels, labels and probability in one region; the message carries its name and the affine.

    Raises NotShared; OSError: no room in /dev/shm.
    """
    voxels, shape = wire.voxels_of(volume), volume.voxels.shape
    region = SharedRegion(room(voxels.nbytes) + 2 * room(volume.voxels.size))
    try:
        _register(client, region)
        given, offset = region.array(voxels.shape, voxels.dtype)
        np.copyto(given, voxels)
        asked = _input(wire.VOXELS[voxels.dtype.name], voxels)
        asked.set_shared_memory(region.name, voxels.nbytes, offset)
        outputs = [InferRequestedOutput(wire.REPORT)]
        answers = []
        for name in (wire.LABELS, wire.PROBABILITY):
            array, offset = region.array(shape, np.uint8)
            outputs.append(InferRequestedOutput(name))
            outputs[-1].set_shared_memory(region.name, array.nbytes, offset)
            answers.append(array)
        labels, probability = answers

        def read(answer: InferResult) -> tuple[LabelArray, LabelArray]:
            # what nobody wrote is 0, and would read as nothing found
            _require_whole(answer, volume)
            return labels.copy(), probability.copy()

        yield Transfer(inputs=[asked, _affine(volume)], outputs=outputs, read=read)
    finally:
        # Triton lets go of a region a moment after its answer; a cancelled request holds it until it ends: see `sweep`
        end = time.monotonic() + RELEASE_S
        while not (forgotten := _forgotten(client, region.name)) and time.monotonic() < end:
            time.sleep(RELEASE_S / 100)
        if forgotten:
            region.unlink()
        region.close()


def sweep(client: InferenceServerClient) -> None:
    """Have the server forget regions whose owners are gone, or that it was still using then; unlink them."""
    for name in abandoned():
        if _forgotten(client, name):
            unlink(name)


def _require_whole(answer: InferResult, volume: Volume) -> None:
    whole = ("UINT8", list(volume.voxels.shape))
    for name in (wire.LABELS, wire.PROBABILITY):
        output = answer.get_output(name)
        told = None if output is None else (output.datatype, list(output.shape))
        if told != whole:
            raise AnalysisFailed("runner_failed", f"Triton answered with {name} {told}, and not {whole}")


def _register(client: InferenceServerClient, region: SharedRegion) -> None:
    try:
        client.register_system_shared_memory(
            region.name, f"/{region.name}", region.size_bytes, client_timeout=CONTROL_TIMEOUT_S
        )
    except InferenceServerException as error:
        if "nable to open shared memory region" in error.message():
            raise NotShared(error.message()) from error
        raise


def _forgotten(client: InferenceServerClient, name: str) -> bool:
    """Whether the server maps the region no more. False: it still writes to it, or does not answer; see `sweep`."""
    try:
        client.unregister_system_shared_memory(name, client_timeout=CONTROL_TIMEOUT_S)
        known = client.get_system_shared_memory_status(client_timeout=CONTROL_TIMEOUT_S).regions
    except InferenceServerException as error:
        # a server that is gone maps nothing
        return bool(error.status() == "StatusCode.UNAVAILABLE")
    return name not in known


def _input(name: str, array: npt.NDArray[Any]) -> InferInput:
    return InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))


def _affine(volume: Volume) -> InferInput:
    affine = _input(wire.AFFINE, volume.affine)
    affine.set_data_from_numpy(np.ascontiguousarray(volume.affine))
    return affine
