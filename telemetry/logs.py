"""Logs: JSON on standard output."""

import logging
import sys
import time

import structlog
from stamina.instrumentation import RetryDetails, set_on_retry_hooks
from structlog.typing import EventDict, WrappedLogger

log = structlog.get_logger()

SAID_AGAIN = 60.0
"""Seconds after which a warning that has not changed is said again: an outage is told, not counted."""

_WITHOUT_LOCALS = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)  # they hold the API key


def set_up_logs(*more: structlog.types.Processor) -> None:
    """One form for our own lines and those of the libraries. To be called once, by a root."""
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        *more,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.ExceptionRenderer(_WITHOUT_LOCALS),
    ]
    structlog.configure(
        processors=[_Once(), *shared, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    set_on_retry_hooks([_tried_again])


def _tried_again(details: RetryDetails) -> None:
    """Without the arguments, which the library would tell as well: there are secrets among them, and whole orders."""
    error = f"{type(details.caused_by).__name__}: {details.caused_by}"
    log.warning("tried again", what=details.name, attempt=details.retry_num, after=details.wait_for, error=error)


class _Once:
    """Leaves out a warning that says the same as one a moment ago: several loops try again twice a second."""

    def __init__(self) -> None:
        self._said: dict[str, float] = {}

    def __call__(self, _: WrappedLogger, method: str, event_dict: EventDict) -> EventDict:
        if method != "warning":
            return event_dict
        now, words = time.monotonic(), repr(event_dict)
        self._said = {each: at for each, at in self._said.items() if now - at < SAID_AGAIN}
        if words in self._said:
            raise structlog.DropEvent
        self._said[words] = now
        return event_dict
