"""The embedded Temporal: the command line of the dev server, with the settings that measurably matter."""

import sysconfig
from pathlib import Path

from lanka.ports import HOST
from workflows.search_attributes import NAMES as SEARCH_ATTRIBUTES

BINARY = Path(sysconfig.get_path("scripts")) / "temporal"

ENVIRONMENT = {"GOGC": "400"}
"""About 3 % less CPU for a little more memory."""

_DURABLE = {"journal_mode": "WAL", "synchronous": "2"}
"""Keeps every acknowledged start through kill -9, at 2-3 times the orders per second of the default."""

_DYNAMIC_CONFIG = {
    # Without these two every task waits 50 ms.
    "history.transferProcessorMaxPollRPS": "2000",
    "history.timerProcessorMaxPollRPS": "2000",
    # Without these three a task costs more the more tasks there were in the last 30 s.
    "history.transferProcessorUpdateAckInterval": '"1s"',
    "history.timerProcessorUpdateAckInterval": '"1s"',
    "history.visibilityProcessorUpdateAckInterval": '"1s"',
    # Without this a timer, so also a retry, may be a second late.
    "history.timerProcessorMaxTimeShift": '"100ms"',
    # One partition: oldest first.
    "matching.numTaskqueueReadPartitions": "1",
    "matching.numTaskqueueWritePartitions": "1",
}


def command(*, port: int, ui_port: int | None, database: str | None) -> list[str]:
    """Without `ui_port` there is no Web UI, without `database` everything is forgotten at the end.

    `database` is a name in the working directory: Temporal makes a URI of it, in which a path with `%`, `#` or `?`
    would be another one.
    """
    words = [str(BINARY), "server", "start-dev", "--log-level", "warn", "--ip", HOST, "--port", str(port)]
    words += ["--headless"] if ui_port is None else ["--ui-port", str(ui_port), "--ui-disable-news-fetch"]
    if database is not None:
        words += ["--db-filename", database]
        for pragma, value in _DURABLE.items():
            words += ["--sqlite-pragma", f"{pragma}={value}"]
    for key, value in _DYNAMIC_CONFIG.items():
        words += ["--dynamic-config-value", f"{key}={value}"]
    for name in SEARCH_ATTRIBUTES:
        words += ["--search-attribute", f"{name}=KeywordList"]
    return words
