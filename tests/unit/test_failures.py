"""Every failure of every consumer becomes one of two: an outage that Temporal retries, or a fault that it does not."""

import asyncio
import dataclasses
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
from temporalio.api.failure.v1 import Failure
from temporalio.converter import default
from temporalio.exceptions import ApplicationError, CancelledError
from temporalio.testing import ActivityEnvironment
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput

from activities import failures
from activities.failures import OUTAGE, Failures, Told
from chain.batch import Batch, Processed
from chain.failures import Outage, UnexpectedAnswer
from tests.servers import HANGS_AFTER
from tests.shop import an_order, batch, payment_confirmed

JITTER = 1.25


class Consumer(ActivityInboundInterceptor):
    """Stands where the worker would call the activity."""

    def __init__(self, work: Callable[[], Awaitable[Any]]) -> None:
        self._work = work

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002, Temporal's name
        return await self._work()


def environment(attempt: int = 1) -> ActivityEnvironment:
    env = ActivityEnvironment()
    env.info = dataclasses.replace(env.info, attempt=attempt)
    return env


async def sorted_by_the_interceptor(
    work: Callable[[], Awaitable[Any]], env: ActivityEnvironment | None = None, *args: Any, told: Told | None = None
) -> Any:
    chain = Failures(told).intercept_activity(Consumer(work))

    def nothing() -> None: ...

    call = ExecuteActivityInput(fn=nothing, args=args, executor=None, headers={})
    return await (env or environment()).run(chain.execute_activity, call)


async def failure(error: BaseException, attempt: int = 1, *args: Any) -> ApplicationError:
    """What Temporal gets to see of `error`."""

    async def work() -> None:
        raise error

    with pytest.raises(ApplicationError) as raised:
        await sorted_by_the_interceptor(work, environment(attempt), *args)
    return raised.value


async def delay(outage: Outage, attempt: int) -> float:
    seen = await failure(outage, attempt)
    assert seen.next_retry_delay is not None
    return seen.next_retry_delay.total_seconds()


async def test_an_outage_is_tried_again() -> None:
    seen = await failure(Outage("the provider is away"))

    assert seen.type == OUTAGE
    assert not seen.non_retryable
    assert seen.message == "the provider is away"


@pytest.mark.parametrize(
    ("attempt", "seconds"), [(1, 0.25), (2, 0.5), (3, 1), (4, 2), (5, 4), (6, 8), (7, 10), (8, 10), (10_000, 10)]
)
async def test_the_longer_an_outage_the_longer_the_pause(attempt: int, seconds: float) -> None:
    assert seconds <= await delay(Outage("away"), attempt) <= seconds * JITTER


async def test_not_everybody_comes_back_at_once() -> None:
    delays = {await delay(Outage("away"), attempt=5) for _ in range(20)}

    assert len(delays) > 1


async def test_a_dependency_that_asks_for_time_gets_it() -> None:
    assert 30 <= await delay(Outage("overloaded", retry_after=30), attempt=1) <= 30 * JITTER


async def test_a_dependency_cannot_ask_for_less_than_our_own_pause() -> None:
    assert await delay(Outage("overloaded", retry_after=0.001), attempt=4) >= 2


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (UnexpectedAnswer("no amount"), "unexpected_answer"),
        (KeyError("sku"), "key_error"),
        (TimeoutError("slow"), "timeout_error"),
    ],
)
async def test_anything_else_is_a_fault_named_by_its_reason_and_not_tried_again(error: Exception, reason: str) -> None:
    seen = await failure(error)

    assert seen.type == reason
    assert seen.non_retryable
    assert seen.message == f"{type(error).__name__}: {error}"
    assert seen.__cause__ is error


@pytest.mark.parametrize("error", [ValueError("half \ud83d"), Outage("half \ud83d"), KeyError("x")])
async def test_a_failure_with_half_a_surrogate_pair_can_be_sent_to_temporal(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "temporalio.activity")  # what was logged cannot be sent to the test's runner
    error.__cause__ = ValueError("what it came from \udc00")
    converter = default()
    sent = Failure()
    converter.failure_converter.to_failure(await failure(error), converter.payload_converter, sent)
    assert sent.message in {r"ValueError: half \ud83d", r"half \ud83d", "KeyError: 'x'"}


def going_together(number: int) -> Batch:
    return batch("payment", [payment_confirmed(an_order(f"pay_{nth}", cup=1)) for nth in range(number)])


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (Outage("GET /payments/pay_0 answered 500"), "somebody who is needed is away"),
        (Outage("GET /payments/pay_0 answered 500", for_all="the provider answered 500"), "the provider answered 500"),
        (UnexpectedAnswer("pay_0 is captured"), "UnexpectedAnswer: about one of several"),
        (UnexpectedAnswer("pay_0 is what?", for_all="no payment"), "UnexpectedAnswer: no payment"),
        (KeyError("pay_0"), "KeyError: about one of several"),
    ],
)
async def test_what_is_said_of_a_batch_names_none_of_its_orders(error: Exception, message: str) -> None:
    seen = await failure(error, 1, going_together(2))
    alone = await failure(error, 1, going_together(1))

    assert (seen.message, seen.__cause__) == (message, None), "Temporal keeps the cause as well"
    assert "pay_0" in alone.message, "whose failure it is may be told all of it"
    assert (seen.type, seen.non_retryable) == (alone.type, alone.non_retryable)


async def test_what_is_sorted_already_passes() -> None:
    sorted_already = ApplicationError("somebody decided", type="Decided")

    assert await failure(sorted_already) is sorted_already


@pytest.mark.parametrize("cancelled", [asyncio.CancelledError(), CancelledError()])
async def test_a_cancellation_passes(cancelled: BaseException) -> None:
    async def work() -> None:
        raise cancelled

    with pytest.raises(type(cancelled)):
        await sorted_by_the_interceptor(work)


async def test_a_result_passes() -> None:
    async def work() -> str:
        return "done"

    assert await sorted_by_the_interceptor(work) == "done"


async def test_temporal_hears_that_long_work_is_alive_until_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failures, "HEARTBEAT", 0.001)
    heard, env = asyncio.Event(), environment()
    env.on_heartbeat = lambda *_: heard.set()

    async with asyncio.timeout(HANGS_AFTER):
        await sorted_by_the_interceptor(heard.wait, env)

    heard.clear()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await heard.wait()


# ---- who is told of it -------------------------------------------------------------------------------------------


class Listener:
    def __init__(self) -> None:
        self.heard: list[tuple[Any, ...]] = []

    def failed(self, *what: Any) -> None:
        self.heard.append(what[1:-1])

    def works(self, *what: Any) -> None:
        self.heard.append(what[1:])


async def heard(
    error: Exception | None, *, attempt: int = 1, tried: int = 0
) -> tuple[list[tuple[Any, ...]], list[str]]:
    """What whoever listens has heard of a batch, and the subjects in it."""
    orders = [an_order(cup=1) for _ in range(2)]
    given = batch("cart", [payment_confirmed(order) for order in orders]).model_copy(update={"tried": tried})

    async def work() -> Processed:
        if error:
            raise error
        return Processed(events=[], left_out=[orders[1].order_id])

    listener = Listener()
    with suppress(ApplicationError):
        await sorted_by_the_interceptor(work, environment(attempt), given, told=listener)
    return listener.heard, [order.order_id for order in orders]


async def test_whoever_listens_hears_what_failed_in_words_that_name_no_subject() -> None:
    told, subjects = await heard(Outage("pay_1: away", for_all="the provider is away"))
    assert told == [("cart", subjects, "outage", "the provider is away")]
    told, subjects = await heard(Outage("pay_1: away"))
    assert told == [("cart", subjects, "outage", "somebody who is needed is away")]
    told, subjects = await heard(UnexpectedAnswer("pay_1 is banana", for_all="nonsense"))
    assert told == [("cart", subjects, "fault", "nonsense")]
    told, subjects = await heard(UnexpectedAnswer("pay_1 is banana"))
    assert told == [("cart", subjects, "fault", "unexpected_answer")]


async def test_nobody_hears_anything_while_all_is_well() -> None:
    assert (await heard(None))[0] == []


@pytest.mark.parametrize("before", [{"attempt": 2}, {"tried": 1}])
async def test_what_works_after_a_failure_is_heard_of(before: dict[str, int]) -> None:
    told, subjects = await heard(None, **before)
    assert told == [("cart", subjects[:1])]
