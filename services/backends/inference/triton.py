"""The Segmenter that asks Triton, by gRPC. It needs no torch: the bundle runs in the server."""

import queue
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

import structlog
from tritonclient.grpc import InferenceServerClient, InferResult
from tritonclient.utils import InferenceServerException

from services import tracing
from services.backends.inference import wire
from services.backends.inference.catalogue import Catalogue, bundle_sha256
from services.backends.inference.transfer import CONTROL_TIMEOUT_S, NotShared, Transfer, plain, shared, sweep
from services.tracing import Kind
from services.triage.errors import AnalysisCancelled, ModelRefused, SegmenterUnavailable, VigieError
from services.triage.model import Model
from services.triage.volume import Segmentation, Volume

log = structlog.get_logger(__name__)

LOAD_TIMEOUT_S = 120.0

_DEAD = "is not healthy"
"""What Triton says of a Python model whose process has ended."""

LISTEN_S = 0.2
"""How often `cancelled` is asked while Triton computes."""


class TritonSegmenter:
    """Implements `services.triage.ports.Segmenter` on a Triton server that serves the catalogue's bundles.

    url: HOST:PORT of its gRPC service. deadline_s: longest wait for one answer, its place in Triton's queue included.
    share_memory: send voxels through /dev/shm if the server can map it; else, and otherwise, in the gRPC message.
    """

    def __init__(self, catalogue: Catalogue, url: str, *, deadline_s: float, share_memory: bool = True) -> None:
        self._catalogue = catalogue
        self._url = url
        self._deadline_s = deadline_s
        self._share_memory = share_memory

    def models(self) -> tuple[Model, ...]:
        """The catalogue's models. Whether Triton serves them is asked for each volume."""
        return self._catalogue.models()

    def require_ready(self) -> None:
        """Raises SegmenterUnavailable while Triton does not answer. A model that cannot be loaded stops no others."""
        with _verdicts(), InferenceServerClient(self._url) as client:
            client.is_server_live(client_timeout=CONTROL_TIMEOUT_S)

    def segment(self, volume: Volume, model: Model, *, cancelled: Callable[[], bool] | None = None) -> Segmentation:
        """Have Triton run the model's bundle over the volume.

        Raises SegmenterUnavailable, AnalysisFailed, ModelRefused, AnalysisCancelled.
        """
        digest = bundle_sha256(self._catalogue.bundle(model.identity.name))
        # a connection of its own: an older one would wait out its backoff after the server has come back
        with _verdicts(), InferenceServerClient(self._url) as client, ExitStack() as stack:
            _require_served(client, model, digest)
            transfer = self._transfer(client, volume, stack)
            with _reviving(client, model.identity.name):
                answer = _infer(client, model, transfer, self._deadline_s, cancelled)
            labels, probability = transfer.read(answer)
        report = wire.Report.from_json(answer.as_numpy(wire.REPORT)[0])
        if report.bundle_sha256 != digest:  # it was exchanged since it was asked for
            raise ModelRefused("other_model_served", f"Triton answered with another '{model.identity.name}'")
        return Segmentation(
            labels=labels,
            tumour_probability=probability,
            timings_s=report.timings_s,
            peak_memory_mb=report.peak_memory_mb,
        )

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


def _require_served(client: InferenceServerClient, model: Model, digest: str) -> None:
    """Raises ModelRefused when Triton serves no such model, cannot load it, or serves another under its name."""
    identity = model.identity
    if not client.is_model_ready(identity.name, client_timeout=CONTROL_TIMEOUT_S):
        raise _not_ready(client, identity.name)
    told = client.get_model_config(identity.name, client_timeout=CONTROL_TIMEOUT_S).config.parameters
    expected = {
        wire.VERSION: identity.version,
        wire.WEIGHTS_SHA256: identity.weights_sha256,
        wire.BUNDLE_SHA256: digest,
    }
    other = [key for key, value in expected.items() if told[key].string_value != value]
    if other:
        text = f"Triton serves '{identity.name}' with another {', '.join(other)} than the models folder: export it"
        raise ModelRefused("other_model_served", text)


def _not_ready(client: InferenceServerClient, name: str) -> VigieError:
    index = client.get_model_repository_index(client_timeout=CONTROL_TIMEOUT_S).models
    found = [entry for entry in index if entry.name == name]
    if not found:
        return ModelRefused("model_not_served", f"Triton has no model '{name}': export it to its repository")
    broken = next((entry.reason for entry in found if entry.reason not in ("", "unloaded")), None)
    if broken is not None:
        return ModelRefused("model_not_loaded", f"Triton cannot load '{name}': {broken.splitlines()[0]}")
    return SegmenterUnavailable(f"Triton has not loaded '{name}' yet")


def _infer(
    client: InferenceServerClient,
    model: Model,
    transfer: Transfer,
    deadline_s: float,
    cancelled: Callable[[], bool] | None,
) -> InferResult:
    """Ask, and wait for the answer with an ear for cancellation; a cancelled call ends at the server too."""
    with tracing.step("triton infer", kind=Kind.CLIENT, model=model.identity.name) as span:
        headers = {"traceparent": span.traceparent} if span else None
        return _answered(client, model, transfer, deadline_s, cancelled, headers)


def _answered(
    client: InferenceServerClient,
    model: Model,
    transfer: Transfer,
    deadline_s: float,
    cancelled: Callable[[], bool] | None,
    headers: dict[str, str] | None,
) -> InferResult:
    answers: queue.SimpleQueue[tuple[InferResult | None, InferenceServerException | None]] = queue.SimpleQueue()
    call = client.async_infer(
        model.identity.name,
        transfer.inputs,
        callback=lambda result, error: answers.put((result, error)),
        outputs=transfer.outputs,
        client_timeout=deadline_s,
        headers=headers,
    )
    while True:
        try:
            result, error = answers.get(timeout=LISTEN_S)
        except queue.Empty:
            if cancelled is not None and cancelled():
                call.cancel()
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


@contextmanager
def _verdicts() -> Iterator[None]:
    """Map what tritonclient raises: a refusal that the runner has coded is final, all else is worth another try."""
    try:
        yield
    except InferenceServerException as error:
        refusal = wire.refusal_from_text(error.message())
        if refusal is not None:
            raise refusal from error
        status = (error.status() or "").removeprefix("StatusCode.")
        raise SegmenterUnavailable(f"Triton: {status}: {error.message().strip().splitlines()[0]}") from error
