"""Logging of the server processes: one line per event on stderr, with no patient data."""

import logging
import sys
import traceback
import warnings

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
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *_: structlog.WriteLogger(sys.stderr),  # of this moment: it may have been replaced
    )
    logging.basicConfig(
        level=max(number, logging.WARNING), stream=sys.stderr, format="%(levelname)s %(name)s %(message)s"
    )
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    warnings.simplefilter("ignore")


def where(error: BaseException) -> dict[str, str]:
    """What may be logged of an error nobody foresaw: its type and place, never its text, which may quote a value."""
    frames = traceback.extract_tb(error.__traceback__)[: -_FRAMES - 1 : -1]
    return {"error": type(error).__name__, "place": " < ".join(f"{each.filename}:{each.lineno}" for each in frames)}


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
