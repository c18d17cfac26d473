"""A group commit: what many ask for at the same moment is done in one go."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextvars import Context, copy_context
from typing import Generic, NamedTuple, TypeVar

from chain.failures import Outage

T = TypeVar("T")
R = TypeVar("R")

LARGEST = 100  # how many go together


class _Asked(NamedTuple, Generic[T, R]):
    item: T
    answer: asyncio.Future[R]
    context: Context


class GroupCommit(Generic[T, R]):
    """Whoever comes while `go` is under way waits for the next go; whoever comes alone goes alone, at once.

    `go` answers those it is given in their order. Where it fails for many, not in an outage, each is tried alone.
    """

    def __init__(self, go: Callable[[Sequence[T]], Coroutine[None, None, Sequence[R]]]) -> None:
        self._go = go
        self._waiting: list[_Asked[T, R]] = []
        self._working: asyncio.Task[None] | None = None

    async def __call__(self, item: T) -> R:
        answer: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Asked(item, answer, copy_context()))
        if self._working is None:
            self._working = asyncio.create_task(self._work())
        return await answer

    async def _work(self) -> None:
        try:
            while self._waiting:
                together, self._waiting = self._waiting[:LARGEST], self._waiting[LARGEST:]
                await self._answer(together)
        finally:
            self._working = None

    async def _answer(self, together: Sequence[_Asked[T, R]]) -> None:
        try:
            # What is done for all is seen in the trace of the first.
            go = self._go([each.item for each in together])
            results = await asyncio.create_task(go, context=together[0].context)
        except Exception as error:  # noqa: BLE001, it is for those who asked
            if len(together) > 1 and not isinstance(error, Outage):
                for each in together:
                    await self._answer([each])
                return
            for _, answer, _ in together:
                if not answer.done():  # who asked may have gone
                    answer.set_exception(error)
        else:
            for (_, answer, _), result in zip(together, results, strict=True):
                if not answer.done():
                    answer.set_result(result)
