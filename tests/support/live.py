"""An application whose stream of changes ends, for those who ask every route."""

from collections.abc import AsyncGenerator

from fastapi import FastAPI


class _OneWord:
    async def listen(self) -> AsyncGenerator[int, None]:
        yield 1


def told_once(app: FastAPI) -> FastAPI:
    """The same application: `/events` tells one number, and no more."""
    app.state.changes = _OneWord()
    return app
