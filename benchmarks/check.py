"""`make bench-check`: whether one commit is slower than another on this machine, by more than the machine's noise."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from itertools import cycle, islice, permutations

import uvloop
from pydantic import BaseModel

from benchmarks.customers import Sent, all_at_once, take_turns
from benchmarks.figures import Stretch, stretch
from benchmarks.measure import Reading
from benchmarks.outside import Outside
from benchmarks.session import CONNECTIONS, CUSTOMERS
from benchmarks.side import Side, Tell, checked_out
from benchmarks.verdict import AGAIN, ALONE, BURST, IN_FLIGHT, NEW, OLD, SIDES, SINGLE, Judged, Run, judged


class Sizes(BaseModel):
    """How much is asked of a side in each turn: orders, and seconds at most."""

    warm_up: int = 40
    alone: int = 30
    alone_seconds: float = 5.0
    in_flight: int = 1_500
    in_flight_seconds: float = 4.0
    burst: int = 1_500
    single: int = 100


class Checked(BaseModel):
    """The whole run. `commits`: side -> commit; `turns`: of each the sides, of each side the figures."""

    commits: dict[str, str]
    turns: list[dict[str, Run]]
    verdicts: list[Judged]


def check(old: str, new: str, turns: int, tell: Tell) -> Checked:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_check(old, new, turns, Sizes(), tell))


async def _check(old: str, new: str, turns: int, sizes: Sizes, tell: Tell) -> Checked:
    _end_in_order()
    began = time.monotonic()

    def say(line: str) -> None:
        tell(f"{time.monotonic() - began:4.0f} s  {line}")

    taken: list[dict[str, Run]] = []
    with ExitStack() as checkouts:
        before, after = (checkouts.enter_context(checked_out(commit, say)) for commit in (old, new))
        sides = {OLD: before, AGAIN: before, NEW: after}
        say(f"old is {before.commit[:12]}, new is {after.commit[:12]}")
        for nth, order in enumerate(islice(cycle(permutations(SIDES)), turns), start=1):
            taken.append(await _turn({side: sides[side] for side in order}, sizes))
            for side in SIDES:
                figures = ", ".join(f"{figure} {value:.1f}" for figure, value in taken[-1][side].items())
                say(f"{nth}/{turns}  {side:<10}{figures}")
        say("done")
    return Checked(commits={OLD: before.commit, NEW: after.commit}, turns=taken, verdicts=judged(taken))


def _end_in_order() -> None:
    """What ends this run ends what it has started: once, so that a second Ctrl-C does not cut that short."""
    running = asyncio.current_task()
    assert running

    def end() -> None:
        if not running.cancelling():
            running.cancel()

    for ended in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(ended, end)


# ---- one turn ------------------------------------------------------------------------------------------------------


async def _turn(sides: Mapping[str, Side], sizes: Sizes) -> dict[str, Run]:
    """All sides are up, one at a time has customers: so a figure of one is taken seconds after that of another."""
    found: dict[str, Run] = {side: {} for side in sides}
    async with _up(sides, sizes.warm_up) as people:
        for side, those in people.items():
            alone = await _turns(those, sizes.alone, 1, sizes.alone_seconds)
            assert alone.confirmation
            found[side][ALONE] = alone.confirmation.p50
        for side, those in people.items():
            in_flight = await _turns(those, sizes.in_flight, CUSTOMERS, sizes.in_flight_seconds)
            found[side][IN_FLIGHT] = in_flight.confirmed_per_s
        for side, those in people.items():
            found[side][BURST] = (await _burst(those, sizes.burst)).confirmed_per_s
    async with _up(sides, sizes.warm_up, LANKA_BATCH_SIZE="1") as people:
        for side, those in people.items():
            found[side][SINGLE] = (await _burst(those, sizes.single)).confirmed_per_s
    return found


@asynccontextmanager
async def _up(sides: Mapping[str, Side], warm_up: int, **env: str) -> AsyncIterator[Mapping[str, Outside]]:
    """All of them, furnished and warm. They start side by side, and end so."""
    over = asyncio.Event()
    people: dict[str, asyncio.Future[Outside]] = {side: asyncio.Future() for side in sides}

    async def keep(side: str) -> None:
        async with sides[side].up(**env) as door:
            people[side].set_result(Outside(door))
            await over.wait()

    async with asyncio.TaskGroup() as group:
        for side in sides:
            group.create_task(keep(side))
        ready = {side: await those for side, those in people.items()}
        for those in ready.values():
            await those.furnish()
            await _turns(those, warm_up, warm_up // 2, 30)
        yield ready
        over.set()


async def _turns(people: Outside, number: int, customers: int, seconds: float) -> Stretch:
    orders = await people.paid(number)
    return _all_well(await take_turns(people, orders, customers, seconds))


async def _burst(people: Outside, number: int) -> Stretch:
    orders = await people.paid(number)
    return _all_well(await all_at_once(people, orders, CONNECTIONS, 0, lambda: None, confirm=True))


NOTHING_READ = Reading({}, {}, 0, 0, 0)


def _all_well(sent: Sequence[Sent]) -> Stretch:
    """A side that refuses or loses orders has no figures to compare."""
    lost = [each for each in sent if each.error or not each.confirmed]
    if lost:
        raise RuntimeError(f"{len(lost)} of {len(sent)} orders were not confirmed, such as {lost[0]}")
    return stretch(sent, NOTHING_READ, NOTHING_READ, 0.0)
