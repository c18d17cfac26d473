"""How many live streams each caller has open, which take a connection each for as long as they go on."""

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

from fastapi import Request

from api.auth import Anybody, Caller
from api.problems import Code, Problem, raises
from api.shared import Here
from api.stream import wants_stream
from edge.proxies import counted_as

OF_A_SESSION = 50
"""Of a customer's browser at most: sessions are given to everybody."""

RETRY_AFTER = 10


class Streams:
    """Those of this process, counted by caller and by address."""

    def __init__(self, at_most: int) -> None:
        self._at_most = at_most
        self._open: Counter[str] = Counter()

    @contextmanager
    def one_more(self, request: Request, caller: Caller | None) -> Iterator[None]:
        """Raises the problem `too_many_streams`. Without a caller (a signed link) only the address counts."""
        counted = {f"at {counted_as(request.client.host)}": self._at_most} if request.client else {}
        if caller:
            counted[f"of {caller.name}"] = min(self._at_most, OF_A_SESSION) if caller.customer_id else self._at_most
        if any(self._open[each] >= allowed for each, allowed in counted.items()):
            raise Problem(Code.TOO_MANY_STREAMS, headers={"Retry-After": str(RETRY_AFTER)})
        self._open.update(counted.keys())
        try:
            yield
        finally:
            self._open.subtract(counted.keys())
            for each in counted:
                if not self._open[each]:
                    del self._open[each]


@raises(Code.TOO_MANY_STREAMS)
async def one_stream(request: Request, here: Here, caller: Anybody) -> AsyncIterator[None]:
    """A dependency of what is a stream: it is counted until it ends."""
    with here.streams.one_more(request, caller):
        yield


@raises(Code.TOO_MANY_STREAMS)
async def stream_if_wanted(request: Request, here: Here, caller: Anybody) -> AsyncIterator[None]:
    """A dependency of what is a stream for those who ask for one."""
    if not wants_stream(request):
        yield
        return
    with here.streams.one_more(request, caller):
        yield
