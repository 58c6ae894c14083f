"""Logging of the server processes: one line per event on stderr, with no patient data. JSON, but on a terminal.

What libraries say by `logging` (uvicorn, Alembic, SQLAlchemy...) comes out in the same form, from WARNING on. Of an
error, theirs or ours, the type and the place are told, never the text nor a traceback: they may quote a value.
"""

import logging
import sys
import threading
import traceback
import warnings
from types import TracebackType
from typing import Any

import structlog

# Their warnings quote the values of elements, which may be patient data; what matters is logged by us, without values.
_TALKATIVE = ("highdicom", "pika", "pydicom", "pynetdicom")

_FRAMES = 6  # innermost first


def configure_logging(level: str) -> None:
    """Log from `level` on: readable on a terminal, JSON elsewhere."""
    number = logging.getLevelNamesMapping()[level.upper()]
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        if sys.stderr.isatty()
        else structlog.processors.JSONRenderer()
    )
    common: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*common, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *_: structlog.WriteLogger(sys.stderr),  # of this moment: it may have been replaced
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[_without_text, structlog.stdlib.add_logger_name, *common],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    logging.basicConfig(level=max(number, logging.WARNING), handlers=[handler])
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    warnings.simplefilter("ignore")
    sys.excepthook = _uncaught
    threading.excepthook = lambda given: _uncaught(given.exc_type, given.exc_value, given.exc_traceback)
    sys.unraisablehook = lambda given: _uncaught(given.exc_type, given.exc_value, given.exc_traceback)


def where(error: BaseException) -> dict[str, str]:
    """What may be logged of an error nobody foresaw: its type and place, never its text, which may quote a value."""
    frames = traceback.extract_tb(error.__traceback__)[: -_FRAMES - 1 : -1]
    return {"error": type(error).__name__, "place": " < ".join(f"{each.filename}:{each.lineno}" for each in frames)}


def _without_text(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """A library's record; with an exception its own words are left out, too: most repeat its text."""
    record: logging.LogRecord = event["_record"]
    error = record.exc_info[1] if record.exc_info else None
    # the formatter would render it after us
    event.pop("exc_info", None)
    event.pop("stack_info", None)
    return {**event, "event": "library_error", **where(error)} if error else event


def _uncaught(kind: type[BaseException], error: BaseException | None, _where: TracebackType | None) -> Any:
    """What Python would print, text and all."""
    if error is None or issubclass(kind, (KeyboardInterrupt, SystemExit)):
        return
    structlog.get_logger(__name__).error("uncaught_error", **where(error))


class Conditions:
    """Says when something lasting begins and when it is over, not each time that it is seen."""

    def __init__(self, log: structlog.typing.FilteringBoundLogger) -> None:
        self._log = log
        self._present: set[tuple[str, str]] = set()

    def begins(self, name: str, subject: str = "", **details: object) -> None:
        """Log `name` unless it lasts already."""
        if (name, subject) not in self._present:
            self._present.add((name, subject))
            self._log.warning(name, **details)

    def ends(self, name: str, subject: str = "", **details: object) -> None:
        """Log `<name>_over` if it lasted."""
        if (name, subject) in self._present:
            self._present.discard((name, subject))
            self._log.info(f"{name}_over", **details)
