"""The Segmenter that asks Triton, by gRPC. It needs no torch: the bundle runs in the server."""

import math
import queue
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

import structlog
from tritonclient.grpc import InferenceServerClient, InferResult
from tritonclient.utils import InferenceServerException

from services import tracing
from services.backends.inference import wire
from services.backends.inference.asked import AskedCatalogue
from services.backends.inference.catalogue import Catalogue
from services.backends.inference.loading import LOAD_TIMEOUT_S, require_served, verdicts
from services.backends.inference.transfer import CONTROL_TIMEOUT_S, NotShared, Transfer, plain, shared, sweep
from services.tracing import Kind
from services.triage.errors import AnalysisCancelled, ModelRefused
from services.triage.model import Model
from services.triage.uncertainty import NOT_SERVED
from services.triage.volume import Segmentation, Volume

log = structlog.get_logger(__name__)

_DEAD = "is not healthy"
"""What Triton says of a Python model whose process has ended."""

LISTEN_S = 0.2
"""How often `cancelled` is asked while Triton computes."""

_Answers = queue.SimpleQueue[tuple[InferResult | None, InferenceServerException | None]]


class TritonSegmenter:
    """Implements `services.triage.ports.Segmenter` on a Triton server that serves the catalogue's bundles.

    url: HOST:PORT of its gRPC service. deadline_s: longest wait for one answer, its place in Triton's queue included.
    share_memory: send voxels through /dev/shm if the server can map it; else, and otherwise, in the gRPC message.
    flips_within_s: see `BundleRunner.run`; each request asks for it, a server that does not know how says nothing.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        url: str,
        *,
        deadline_s: float,
        share_memory: bool = True,
        flips_within_s: float | None = None,
    ) -> None:
        self._catalogue, self._asked = catalogue, AskedCatalogue(catalogue)
        self._url = url
        self._deadline_s = deadline_s
        self._share_memory = share_memory
        self._asked_for = {} if flips_within_s is None else {wire.FLIPS_WITHIN_S: math.ceil(flips_within_s)}

    def model(self, name: str, version: str | None = None) -> Model:
        """The catalogue's model. Whether Triton serves it is asked for each volume."""
        return self._asked.model(name, version)

    def require_ready(self) -> None:
        """Raises SegmenterUnavailable while Triton does not answer. A model that cannot be loaded stops no others."""
        with verdicts(), InferenceServerClient(self._url) as client:
            client.is_server_live(client_timeout=CONTROL_TIMEOUT_S)

    def segment(self, volume: Volume, model: Model, *, cancelled: Callable[[], bool] | None = None) -> Segmentation:
        """Have Triton run the model's bundle over the volume.

        Raises SegmenterUnavailable, VersionNotHere, AnalysisFailed, ModelRefused, AnalysisCancelled.
        """
        name = self._catalogue.bundle_of(model).name
        # a connection of its own: an older one would wait out its backoff after the server has come back
        with verdicts(), InferenceServerClient(self._url) as client, ExitStack() as stack:
            require_served(client, name, model)
            transfer = self._transfer(client, volume, stack)
            with _reviving(client, name):
                answer = self._infer(client, name, transfer, cancelled)
            labels, probability = transfer.read(answer)
        report = wire.Report.from_json(answer.as_numpy(wire.REPORT)[0])
        if report.bundle_sha256 != model.bundle_sha256:  # it was exchanged since it was asked for
            raise ModelRefused("other_model_served", f"Triton answered with another '{name}'")
        return Segmentation(
            labels=labels,
            tumour_probability=probability,
            timings_s=report.timings_s,
            peak_memory_mb=report.peak_memory_mb,
            inference=report.inference,
            mirrored=NOT_SERVED if self._asked_for and report.mirrored is None else report.mirrored,
        )

    def _infer(
        self, client: InferenceServerClient, name: str, transfer: Transfer, cancelled: Callable[[], bool] | None
    ) -> InferResult:
        answers: _Answers = queue.SimpleQueue()
        with tracing.step("triton infer", kind=Kind.CLIENT, model=name) as span:
            call = client.async_infer(
                name,
                transfer.inputs,
                callback=lambda result, error: answers.put((result, error)),
                outputs=transfer.outputs,
                client_timeout=self._deadline_s,
                headers={"traceparent": span.traceparent} if span else None,
                parameters=self._asked_for,
            )
            return _first(answers, call.cancel, cancelled)

    def _transfer(self, client: InferenceServerClient, volume: Volume, stack: ExitStack) -> Transfer:
        if self._share_memory:
            try:
                sweep(client)
                return stack.enter_context(shared(client, volume))
            except NotShared:
                log.info("triton_shares_no_memory", triton=self._url)
                self._share_memory = False
            except OSError as error:
                log.warning("no_shared_memory", error=error.strerror)
        return stack.enter_context(plain(volume))


def _first(answers: _Answers, cancel: Callable[[], object], cancelled: Callable[[], bool] | None) -> InferResult:
    """Wait for the answer with an ear for cancellation; a cancelled call ends at the server too."""
    while True:
        try:
            result, error = answers.get(timeout=LISTEN_S)
        except queue.Empty:
            if cancelled is not None and cancelled():
                cancel()
                raise AnalysisCancelled("the request to Triton was cancelled") from None
            continue
        if error is not None:
            raise error
        return result


@contextmanager
def _reviving(client: InferenceServerClient, name: str) -> Iterator[None]:
    """Have a model loaded anew whose process has died: Triton does not do so by itself, and still calls it ready."""
    try:
        yield
    except InferenceServerException as error:
        if _DEAD in error.message():
            log.warning("triton_model_died", model=name)
            with suppress(InferenceServerException):  # another worker does it too, or the next try will
                client.unload_model(name, client_timeout=CONTROL_TIMEOUT_S)
                client.load_model(name, client_timeout=LOAD_TIMEOUT_S)
        raise
