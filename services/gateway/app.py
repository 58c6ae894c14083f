"""The desk: API, work list, DICOMweb, probes and metrics in one application."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import structlog
from fastapi import Depends, FastAPI
from fastapi.staticfiles import StaticFiles
from prometheus_client import generate_latest
from starlette.middleware.trustedhost import TrustedHostMiddleware

from services import __version__
from services.backends.audit_spool import AuditSpool
from services.backends.files import FolderStudyFiles
from services.backends.senders import tenants_in_force
from services.backends.store import SqlStudyStore, connect, never_the_same, open_store
from services.exposure import is_loopback
from services.gateway import (
    api,
    blind,
    health,
    key_image,
    live,
    metrics,
    models,
    models_api,
    preferences,
    reading,
    study,
    training,
    verdicts,
    viewer,
    views,
    worklist,
)
from services.gateway.access import login, oidc
from services.gateway.access.cross_site import NotCrossSite
from services.gateway.access.middleware import Access
from services.gateway.access.rates import RateLimit
from services.gateway.access.scope import within_tenants
from services.gateway.access.setup import sign_in_in_force
from services.gateway.audit import page as audit_page
from services.gateway.audit.recorder import Recorder
from services.gateway.audit.watching import Watching
from services.gateway.desk import Desk
from services.gateway.dicomweb import dicomweb_router
from services.gateway.dicomweb.cors import DicomWebCors
from services.gateway.dicomweb.not_here import not_here
from services.gateway.dicomweb.root import ALIAS, ROOT
from services.gateway.edge import BodyLimit, RequestDurations, SecurityHeaders
from services.gateway.kept import Kept
from services.gateway.language import PageLanguage
from services.gateway.live import Changes
from services.gateway.observatory.install import install_observatory
from services.gateway.openapi import DescribedApi
from services.gateway.problems import documented, install_problem_handlers
from services.gateway.readiness import checks
from services.gateway.role import Role
from services.gateway.serve import serve
from services.gateway.stow import stow_router
from services.gateway.tenant_paths import PREFIX, known, of_study, sending
from services.gateway.ups import ups_router
from services.lifetime import beside
from services.patience import wait_for
from services.settings import Settings
from services.triage.errors import SchemaRefused
from services.triage.ports import StudyFiles
from services.triage.tenant import Tenants

log = structlog.get_logger(__name__)

STATIC = Path(__file__).parent / "static"

MAX_BODY_BYTES = 1_000_000
"""Of a request, but for STOW-RS: what people and programs tell us fits into far less."""

METRICS_S = 15.0
"""Less than the time between two scrapes: Prometheus always has new ones."""

READY_S = 1.0

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]", "::1")

DESCRIPTION = """\
Work list, results and operations of Vigie, an AI triage of imaging studies. **Not a medical device; a person reads
every study.** A score is the model's own, never a probability. Where people are set up (VIGIE_PEOPLE, VIGIE_OIDC), a
program sends its key, or an access token of the identity provider, as `Authorization: Bearer KEY`; without them it
serves this machine alone unless told otherwise. Errors are application/problem+json (RFC 9457). Security and answers
are told as this Vigie is set up.
"""

_NO_TENANT = "No tenant has this name."
_NO_STOW = "This tenant does not send by STOW-RS."
_TENANT_NEEDED = "No tenant is named: then it is for people, who add to studies that they see."

TAGS = [
    {"name": "studies", "description": "The work list and each study in it."},
    {"name": "verdicts", "description": "What readers answer to the AI."},
    {"name": "results", "description": "The frozen DICOM objects."},
    {"name": "models", "description": "Switching models off and on, and recalling their results of a period."},
    {
        "name": "dicomweb",
        "description": "Studies in (STOW-RS), studies and results out (QIDO-RS, WADO-RS), reviews (UPS-RS); PS3.18.",
    },
    {"name": "observatory", "description": "How well the AI does, and for whom."},
    {"name": "operations", "description": "Probes and metrics."},
]


def utc_now() -> datetime:
    """The time now, in UTC."""
    return datetime.now(UTC)


def create_app(
    settings: Settings,
    *,
    store: SqlStudyStore,
    files: StudyFiles,
    role: Role = Role.ALL,
    clock: Callable[[], datetime] = utc_now,
    keeps_public: bool = False,
) -> FastAPI:
    """Build the application of a role on given implementations.

    keeps_public: /metrics and /readyz, which anybody may ask, are told again for METRICS_S and READY_S.
    """
    tenants = tenants_in_force(settings)
    # no docs_url: Swagger UI would load scripts from other hosts
    app = DescribedApi(
        title="Vigie",
        version=__version__,
        description=DESCRIPTION,
        openapi_tags=TAGS,
        docs_url=None,
        redoc_url=None,
        dependencies=[Depends(within_tenants)],
    )
    app.state.desk = desk = Desk(settings=settings, store=store, files=files, role=role, clock=clock, tenants=tenants)
    app.state.metrics = metrics.new_registry(desk)
    app.state.told = Kept(partial(generate_latest, app.state.metrics), for_s=METRICS_S if keeps_public else 0)
    app.state.checks = Kept(partial(checks, desk), for_s=READY_S if keeps_public else 0)
    app.state.changes = Changes(store.board.newest_event)
    app.state.audit = recorder = Recorder(
        store.audit, AuditSpool(settings.data), clock, window=timedelta(minutes=settings.audit_window_min)
    )
    app.state.sign_in = sign_in = sign_in_in_force(settings, store, tenants, clock, recorder)
    install_problem_handlers(app, partial(not_here, role))
    if role.is_desk:
        for told in (api, verdicts, models_api):
            app.include_router(told.router)
    for root in (ROOT, ALIAS):
        _serve_dicomweb(app, root, settings, files=files, role=role, tenants=tenants)
    app.include_router(health.router)
    app.include_router(metrics.router)
    if role.is_desk:
        app.include_router(training.training_dicomweb())
        for page in (
            login,
            audit_page,
            oidc,
            worklist,
            study,
            blind,
            training,
            models,
            reading,
            views,
            preferences,
            live,
            key_image,
            viewer,
        ):
            app.include_router(page.router)
        install_observatory(app, desk)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    app.add_middleware(BodyLimit, most=MAX_BODY_BYTES)
    app.add_middleware(RateLimit, per_minute=settings.requests_per_minute)
    app.add_middleware(NotCrossSite, origins=settings.dicomweb_origins)
    app.add_middleware(Access, sign_in=sign_in, clock=clock, per_minute=settings.requests_per_minute)
    app.add_middleware(Watching, recorder=recorder)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=_allowed_hosts(settings.http), www_redirect=False)
    if settings.dicomweb_origins:
        app.add_middleware(DicomWebCors, origins=settings.dicomweb_origins)
    app.add_middleware(PageLanguage)
    app.add_middleware(SecurityHeaders, https=settings.https)
    app.add_middleware(RequestDurations, histogram=metrics.request_durations(app.state.metrics))
    return app


def _serve_dicomweb(
    app: FastAPI, root: str, settings: Settings, *, files: StudyFiles, role: Role, tenants: Tenants
) -> None:
    """Everybody's studies below the root, each tenant's below `/t/{tenant}`; with tenants, instances come in there."""
    include = partial(app.include_router, include_in_schema=root == ROOT)
    if role.is_desk:
        check, answers = [Depends(known(tenants))], documented(s404=_NO_TENANT)
        for router in (dicomweb_router(), ups_router()):
            include(router, prefix=root)
            if tenants:
                include(router, prefix=PREFIX + root, dependencies=check, responses=answers)
    if role.is_door:
        stow = partial(
            stow_router,
            files,
            max_instance_bytes=settings.max_instance_mb * 1_000_000,
            max_parts=settings.max_stow_parts,
            audit=AuditSpool(settings.data),
            ae_title=settings.ae_title,
        )
        if tenants:
            check, answers = [Depends(sending(tenants))], documented(s403=_NO_STOW, s404=_NO_TENANT)
            include(stow(), prefix=PREFIX + root, dependencies=check, responses=answers)
            include(stow(whose=of_study), prefix=root, responses=documented(s403=_TENANT_NEEDED))
        else:
            include(stow(), prefix=root)


def run_http(settings: Settings, role: Role = Role.ALL) -> None:
    """Serve until SIGTERM or SIGINT, from the first moment: while the database is not there, /readyz says so.

    Raises SchemaRefused where there is a desk.
    """
    settings.data.mkdir(parents=True, exist_ok=True)
    url = settings.store_url()
    store = SqlStudyStore(connect(url), same_pixels=never_the_same)
    files = FolderStudyFiles(settings.data, min_free_mb=settings.min_free_mb)
    stop = threading.Event()
    # a database that is still waited for does not hold up the end
    with beside(partial(_upgrade, url, role), stop=stop, patience_s=0):
        serve(create_app(settings, store=store, files=files, role=role, keeps_public=True), settings, stop)


def _upgrade(url: str, role: Role) -> None:
    try:
        wait_for("database", lambda: open_store(url).close())
    except SchemaRefused as error:
        if role.is_desk:
            raise
        # the door keeps what comes, whatever the database is
        log.error("schema_refused", error=str(error))  # noqa: TRY400 - our own text


def _allowed_hosts(http: str) -> list[str]:
    """On loopback only loopback names: else a web page could reach us by rebinding its own name to 127.0.0.1."""
    return [*LOOPBACK_NAMES, http.rpartition(":")[0].strip("[]")] if is_loopback(http) else ["*"]
