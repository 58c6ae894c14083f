"""A real Triton server on ports of its own, started by the script that `make triton` uses."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from services.backends.inference.catalogue import Catalogue
from services.backends.inference.export import export_repository
from services.backends.inference.triton import TritonSegmenter
from tests.support.bundle import bright_spot_bundle, trusted_bundle, unpickling_bundle
from tests.support.peers import free_port, listens, wait_until

SCRIPT = Path(__file__).resolve().parents[2] / "models" / "serve_triton.sh"
THREADS = 2
START_S = 400
"""Many times what its fifteen models take alone: beside other tests, on cold files, 120 s were too few."""

WINDOW_S = 0.25
"""The slow bundle takes so long for each window of 8 x 8 x 8."""

SLOW = f"time.sleep({WINDOW_S}) if inputs[0].min() > 0.4 else None"

TOO_MUCH = 2**50

MIRRORED = "inputs[0][..., 12:].max() > 0.9"
"""Of the spot of `tests.support.spot`, as a network sees it that was mirrored along the slices."""

LOPSIDED_LOGIT = 1.0
LOPSIDED = f"torch.cat([output[..., :12], output[..., 12:].clamp(max={LOPSIDED_LOGIT})], -1)"
"""A network that is sure of nothing from the 13th slice on."""


@dataclass
class Triton:
    """The server as a process group: kill -9 and SIGSTOP reach the processes that run the models, too."""

    models: Path
    repository: Path
    log: Path
    port: int = field(default_factory=free_port)
    metrics_port: int = field(default_factory=free_port)
    inference: str = "reference"
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """HOST:PORT of the gRPC service."""
        return f"127.0.0.1:{self.port}"

    def segmenter(
        self, *, models: Path | None = None, deadline_s: float = 100, share_memory: bool = True, **asked: float
    ):
        """A client of its own."""
        return TritonSegmenter(
            Catalogue(models or self.models), self.url, deadline_s=deadline_s, share_memory=share_memory, **asked
        )

    def start(self) -> None:
        """Start, and wait until it listens: by then every model is loaded and warm, or has failed."""
        environment = {
            **os.environ,
            "VIGIE_TRITON": self.url,
            "VIGIE_TRITON_METRICS": f"127.0.0.1:{self.metrics_port}",
            "VIGIE_THREADS": str(THREADS),
            "VIGIE_INFERENCE": self.inference,
        }
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [SCRIPT, self.repository], env=environment, stdout=log, stderr=log, start_new_session=True
            )
        try:
            wait_until(lambda: listens(self.port) or self.process.poll() is not None, timeout_s=START_S, what="Triton")
        except TimeoutError as late:
            raise TimeoutError(f"{late}. The end of its log:\n{self.log.read_text()[-4000:]}") from None
        assert self.process.poll() is None, self.log.read_text()

    def signal(self, number: signal.Signals) -> None:
        """To the server and the processes of its models."""
        assert self.process is not None
        os.killpg(self.process.pid, number)

    def kill(self) -> None:
        """kill -9."""
        self.signal(signal.SIGKILL)
        self.process.wait()

    def model_pids(self) -> set[int]:
        """The processes that run the models (proc(5))."""
        assert self.process is not None
        told = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        return {int(pid) for children in told for pid in children.read_text().split()}

    def pause(self) -> None:
        """SIGSTOP."""
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self.signal(signal.SIGCONT)


@contextmanager
def triton_server(models: Path, folder: Path, *, inference: str = "reference") -> Iterator[Triton]:
    """Export a folder of models and serve it."""
    export_repository(Catalogue(models), folder / "repository")
    server = Triton(models=models, repository=folder / "repository", log=folder / "triton.log", inference=inference)
    try:
        server.start()
        yield server
    finally:
        if server.process is not None and server.process.poll() is None:
            server.signal(signal.SIGCONT)
            server.kill()
        for left in Path("/dev/shm").glob(f"triton_python_backend_{server.port}_*"):
            left.unlink()


def write_models(models: Path) -> Path:
    """The bundles of the segmenter's tests. What breaks, breaks in PyTorch's own code, and not at the warm-up."""
    bright = "inputs[0].max() > 0.9"
    bright_spot_bundle(models)
    bright_spot_bundle(models, name="sliding", windows_at_once=4)
    bright_spot_bundle(models, name="slow", windows_at_once=1, hook=SLOW)
    hungry = f"torch.empty({TOO_MUCH}) if inputs[0].shape[0] > 1 and {bright} else None"
    bright_spot_bundle(models, name="hungry", windows_at_once=4, hook=hungry)
    bright_spot_bundle(models, name="starved", windows_at_once=4, hook=f"torch.empty({TOO_MUCH}) if {bright} else None")
    bright_spot_bundle(models, name="broken", hook=f"torch.zeros(2).view(3) if {bright} else None")
    bright_spot_bundle(models, name="undefined", hook=f"output.log() if {bright} else None")
    trusted_bundle(models)
    unpickling_bundle(models)
    bright_spot_bundle(models, name="difference", inputs=[{"name": "after"}, {"name": "before"}])
    bright_spot_bundle(models, name="lopsided", hook=LOPSIDED)
    bright_spot_bundle(models, name="starved_mirrored", hook=f"torch.empty({TOO_MUCH}) if {MIRRORED} else None")
    bright_spot_bundle(models, name="broken_mirrored", hook=f"torch.zeros(2).view(3) if {MIRRORED} else None")
    bright_spot_bundle(models, name="undefined_mirrored", hook=f"output.log() if {MIRRORED} else None")
    unfit = bright_spot_bundle(models, name="unfit")
    (unfit / "models" / "model.pt").write_bytes(b"no weights")
    return models
