"""What Lanka wants to be, as ratios within one run: absolute figures of a shared machine mean nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.figures import Result, at
from benchmarks.funnel import FUNNEL

LANKA = "lanka"


@dataclass(frozen=True)
class Figure:
    """One figure of one system, as `benchmarks.figures.at` names it."""

    system: str
    path: str


@dataclass(frozen=True)
class Goal:
    """`one` divided by `other`, or `one` itself, is to be at least or at most so much."""

    what: str
    one: Figure
    other: Figure | None = None
    least: float | None = None
    most: float | None = None

    @property
    def bound(self) -> str:
        word, bound = ("at least", self.least) if self.least is not None else ("at most", self.most or 0.0)
        return f"{word} {round(bound, 2):g}"

    def met_by(self, value: float) -> bool:
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)


@dataclass(frozen=True)
class Judged:
    """`value` is the middle of the rounds in which both were measured, None where there is none."""

    goal: Goal
    value: float | None
    low: float | None = None
    high: float | None = None

    @property
    def verdict(self) -> str:
        if self.value is None:
            return "not measured"
        return "met" if self.goal.met_by(self.value) else "not met"


def judged(result: Result, sweep: Result | None = None) -> list[Judged]:
    """What is compared comes from one of the two runs."""
    both = result.model_copy(update={"sessions": [*result.sessions, *(sweep.sessions if sweep else ())]})
    return [_judge(both, goal) for goal in GOALS]


def _judge(result: Result, goal: Goal) -> Judged:
    one = _by_round(result, goal.one)
    other = _by_round(result, goal.other) if goal.other else dict.fromkeys(one, 1.0)
    rounds = [one[nth] / other[nth] for nth in one if nth in other]
    return Judged(goal, median(rounds), min(rounds), max(rounds)) if rounds else Judged(goal, None)


def _by_round(result: Result, figure: Figure) -> dict[int, float]:
    found = {s.round: at(s, figure.path) for s in result.sessions if s.system == figure.system}
    return {nth: value for nth, value in found.items() if value is not None}


def _compared(
    what: str, path: str, other: str, other_path: str | None = None, *, system: str = LANKA, **bound: float
) -> Goal:
    return Goal(what, Figure(system, path), Figure(other, other_path or path), **bound)


RATE, CPU = "burst.confirmed_per_s", "burst.cpu.own"

GOALS: Sequence[Goal] = (
    _compared("burst: confirmed orders/s, of the four-transaction monolith's", RATE, "monolith", least=1.0),
    _compared("burst: confirmed orders/s, of the one-transaction monolith's", RATE, "monolith-one", least=0.7),
    _compared("burst: confirmed orders/s, times DBOS's", RATE, "dbos", least=8),
    _compared("burst: confirmed orders/s, times the samples' on the tuned server", RATE, "samples", least=15),
    _compared(
        "burst: accepted/s, times the four-transaction monolith's orders/s",
        "burst.accepted_per_s",
        "monolith",
        RATE,
        least=2,
    ),
    _compared(
        "50 in flight: confirmed orders/s, of the four-transaction monolith's",
        "in_flight.confirmed_per_s",
        "monolith",
        least=0.7,
    ),
    _compared(
        "50 in flight: p99 of the answer, of the four-transaction monolith's",
        "in_flight.answer.p99",
        "monolith",
        most=0.5,
    ),
    _compared("one at a time: answer, of the four-transaction monolith's", "alone.answer.p50", "monolith", most=0.7),
    _compared("one at a time: confirmation, of the floor's", "alone.confirmation.p50", "floor", most=1.2),
    _compared(
        "burst with `LANKA_BATCH_SIZE=1`: confirmed orders/s, of the floor's",
        RATE,
        "floor",
        system="lanka-single",
        least=0.9,
    ),
    _compared("burst: CPU of our own processes, of the floor's worker and client", CPU, "floor", most=1 / 6),
    Goal("one at a time: billable actions an order", Figure(LANKA, "alone.actions"), most=5),
    Goal("burst: billable actions an order", Figure(LANKA, "burst.actions"), most=0.2),
    Goal(
        "the funnel of a million events, with 10,000 open orders: the median answer, in ms",
        Figure(FUNNEL, "funnel.p50"),
        most=100,
    ),
    _compared(
        "one hot SKU in all orders: confirmed orders/s, of that with 1,000",
        RATE,
        "lanka-empty",
        system="lanka-hot",
        least=0.7,
    ),
    _compared(
        "10,000 open orders and a million in the tables: CPU an order, of that when empty",
        "burst.cpu.all",
        "lanka-empty",
        system="lanka-full",
        most=1.2,
    ),
)
