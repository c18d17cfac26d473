"""Fail points: places where a test run may kill this process, named after what they break.

LANKA_FAIL_POINT names one, such as `finalize.before_commit`; LANKA_FAIL_ONCE is a file that does not exist yet and
keeps the restarted process from dying there again. Only test runs set them.
"""

import os
import signal
from pathlib import Path

_ARMED = os.environ.get("LANKA_FAIL_POINT")


def reach(name: str) -> None:
    """Dies here, at once and without a word, if this is the armed fail point."""
    if name != _ARMED:
        return
    try:
        Path(os.environ["LANKA_FAIL_ONCE"]).touch(exist_ok=False)
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)
