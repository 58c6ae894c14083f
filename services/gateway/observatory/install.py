"""The observatory as part of the desk's application."""

from fastapi import FastAPI

from services.gateway.desk import Desk
from services.gateway.observatory import api, pages, versions
from services.gateway.observatory.looking import Lately


def install_observatory(app: FastAPI, desk: Desk) -> None:
    """Serve its pages, its CSV and its JSON."""
    app.state.lately = Lately(desk.store.observations, minimum=desk.settings.observatory_minimum)
    app.include_router(api.router)
    app.include_router(pages.router)
    app.include_router(versions.router)
