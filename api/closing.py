"""What runs beside the requests of a process, and what it does when it is told to stop."""

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import FrameType
from typing import Any

STOPS = (signal.SIGINT, signal.SIGTERM)


@asynccontextmanager
async def beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Within it `work` goes on."""
    async with asyncio.TaskGroup() as tasks:
        working = tasks.create_task(work)
        yield
        working.cancel()


@contextmanager
def before_shutdown(act: Callable[[], None]) -> Iterator[None]:
    """Within it `act` is called, on the event loop, at a signal to stop; the server's own handler goes on as ever.

    uvicorn ends the lifespan when all answers are given: too late for streams.
    """
    if threading.current_thread() is not threading.main_thread():  # nobody but the main thread hears signals
        yield
        return
    loop = asyncio.get_running_loop()
    before = {number: handler for number in STOPS if callable(handler := signal.getsignal(number))}

    def stop(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(act)
        before[signal.Signals(number)](number, frame)

    for number in before:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
