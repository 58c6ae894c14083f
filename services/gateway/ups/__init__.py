"""UPS-RS (PS3.18 section 11): the reviews of results as a worklist that a reader's system can pull."""

from services.gateway.ups.router import ups_router

__all__ = ["ups_router"]
