"""docs/metrics.md from the metrics themselves: `python -m deploy.metrics`. A label needs a bound here (LABELS)."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric

from services.backends.files import FolderStudyFiles
from services.backends.store import open_store
from services.deliver import metrics as of_deliver
from services.exposition import REGISTRY
from services.gateway.app import create_app
from services.gateway.retention import Keeper
from services.gateway.role import Role
from services.settings import Settings
from services.triage.retention import KEEP_EVERYTHING
from services.worker import metrics as of_worker

PAGE = Path(__file__).resolve().parents[1] / "docs" / "metrics.md"
UNITS = ("seconds", "bytes", "joules")

# How many values a label can have. Of words from the wire there are only AE titles that the settings name, and the HL7
# events that are taken.
LABELS = {
    "against": "2: database, ntp",
    "calling_ae_title": "the tables of the file of VIGIE_COMMITMENT",
    "check": "5, those of /readyz",
    "destination": "the destinations and receivers of the settings, and those that were taken out since",
    "end": "3 of attempts: came, stopped, overdue; 4 of shadow runs: kept, interrupted, postponed, failed",
    "event": "the HL7 events that are taken, and `other`",
    "expected": "13, those of `expects` in models.md",
    "fault": "3: missing, damaged, unreadable",
    "flag": "4",
    "from": "2: first_instance, last_instance",
    "how": "2: looked_for, read",
    "in_time": "2",
    "kind": "3: flag_rate, drift, disparity",
    "le": "the bucket's bound, fixed",
    "listener": "3: dicom, http, hl7; empty where it is a peer",
    "measure": "fixed, told in observatory.md",
    "method": "the HTTP methods, `other` for the rest",
    "model": "the models of VIGIE_MODELS, and those that were taken out since",
    "of": "2: cpu, gpu",
    "on": "fixed codes",
    "outcome": "fixed, 5 at most",
    "pacs": "the tables of the file of VIGIE_PACS",
    "part": "5: door, desk, all, worker, deliver",
    "peer": "4: broker, oidc, stow_rs, syslog; and `destination NAME`, `receiver NAME`, `requester NAME`, `PACS NAME` "
    "of the tables of the settings' files; empty where it is a listener",
    "quantile": "2: 0.5, 0.95",
    "reason": "9, those of `Hold`",
    "receiver": "2: syslog, anchors",
    "role": "3: active, canary, shadow",
    "route": "the routes of the API, never a path",
    "source": "2 of results: measured, estimated; 2 of a CPU: rapl, estimated; 3 of a GPU: nvml, unreadable, not_asked",
    "stage": "4: load, segment, find, report",
    "state": "fixed, 7 at most",
    "status": "HTTP status codes",
    "tenant": "the tenants of the settings, and `*`",
    "verdict": "2: refused, caution",
    "version": "the versions of the models that have results or a part, or the one of the program",
    "window": "6: 5m, 30m, 1h, 6h, 1d, 3d",
}

HEAD = """\
# Metrics

Made by `python -m deploy.metrics` from the metrics themselves; a test holds it to what a running system exports. Names
and units follow [Prometheus's conventions](https://prometheus.io/docs/practices/naming/). No label ever carries a UID,
a name, or a word that a sender chose, so the number of series is bounded by the settings.

- `/metrics` of door and desk: the whole service, counted in the database at a scrape, and told again to whoever
  asks within 15 s. Every desk and door tells the same, so take `max`, never `sum`; a restart loses nothing.
- `VIGIE_METRICS=HOST:PORT` of `vigie worker` and `vigie deliver`: what this one process has done since it started. Take
  `sum`. Clocks (`vigie_clock_*`) and the ends of TLS (`vigie_tls_*`) are told here, too: each process has its own, so
  take `min` or `max`.

`process_*` (CPU, memory, open files) comes from the Prometheus client in all of them. Triton, PostgreSQL and RabbitMQ
have their own (`nv_*` and so on). The DICOM listener forks for each association and exports nothing itself: the HTTP
process beside it asks it, and counts its inbox.
"""
TABLE = "| metric | type | unit | labels | what to do |\n| --- | --- | --- | --- | --- |\n"


@dataclass(frozen=True, kw_only=True)
class Documented:
    """One metric. labels: but for `le`."""

    name: str
    kind: str
    labels: tuple[str, ...]
    told: str

    @property
    def unit(self) -> str:
        """By its name; without one it counts, or is yes or no."""
        return next((unit for unit in UNITS if unit in self.name.removesuffix("_total").split("_")), "")


def of_gateway() -> list[Documented]:
    """Those of door and desk, with nothing in the database."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(data=Path(folder))
        store = open_store(settings.store_url())
        files, hour = FolderStudyFiles(settings.data), timedelta(hours=1)
        Keeper(store=store, files=files, rules=KEEP_EVERYTHING, space=lambda: (1, 2), interval=hour).run()
        app = create_app(settings, store=store, files=files, role=Role.ALL)
        found = sorted(_documented(app.state.metrics), key=lambda one: one.name)
        store.close()
        return found


def of_process(module: str) -> list[Documented]:
    """Those of a worker or of deliver."""
    mine = {one._name for one in vars({"worker": of_worker, "deliver": of_deliver}[module]).values() if _is_metric(one)}
    return [one for one in _documented(REGISTRY) if one.name.removesuffix("_total") in mine]


def _is_metric(one: object) -> bool:
    return hasattr(one, "_labelnames") and hasattr(one, "_name")


def _documented(registry: CollectorRegistry) -> Iterator[Documented]:
    declared = {
        getattr(one, "_name", ""): tuple(getattr(one, "_labelnames", ())) for one in registry._collector_to_names
    }
    for family in registry.collect():
        if not family.name.startswith("vigie_"):
            continue
        labels = getattr(family, "_labelnames", None) or declared.get(family.name) or _of_samples(family)
        suffix = {"counter": "_total", "info": "_info"}.get(family.type, "")
        yield Documented(
            name=family.name + suffix,
            kind="gauge" if family.type == "info" else family.type,
            labels=tuple(labels),
            told=family.documentation,
        )


def _of_samples(family: Metric) -> list[str]:
    return sorted({label for sample in family.samples for label in sample.labels} - {"le"})


def document() -> str:
    """The page."""
    parts = [HEAD]
    for title, found in (
        ("Door and desk", of_gateway()),
        ("Worker", of_process("worker")),
        ("Deliver", of_process("deliver")),
    ):
        parts.append(
            f"\n## {title}\n\n| metric | type | unit | labels | what to do |\n| --- | --- | --- | --- | --- |\n"
        )
        parts += [
            f"| `{one.name}` | {one.kind} | {one.unit} | {', '.join(one.labels)} | {one.told} |\n" for one in found
        ]
    parts.append("\n## Labels, and how many values each can have\n\n| label | values |\n| --- | --- |\n")
    used = {label for one in [*of_gateway(), *of_process("worker"), *of_process("deliver")] for label in one.labels}
    parts += [f"| `{label}` | {LABELS[label]} |\n" for label in sorted(used | {"le"})]
    return "".join(parts)


if __name__ == "__main__":
    PAGE.write_text(document())
