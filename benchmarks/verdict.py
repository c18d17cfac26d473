"""Whether one commit is slower than another, by figures that were taken in turns: pure arithmetic.

In each turn the old commit is measured twice. How far its two runs are apart is the noise of the machine.
"""

from collections.abc import Mapping, Sequence
from math import sqrt
from statistics import median
from typing import Literal

from pydantic import BaseModel

OLD, AGAIN, NEW = "old", "old again", "new"
SIDES = (OLD, AGAIN, NEW)

BURST, IN_FLIGHT, ALONE, SINGLE = "burst, orders/s", "50 in flight, orders/s", "alone, ms", "single mode, orders/s"
FIGURES = (BURST, IN_FLIGHT, ALONE, SINGLE)

LEAST = 0.02
"""What nobody would look into: noise is never taken for less."""

FEW = {2: 3.0, 3: 1.9, 4: 1.2}
"""A few turns seldom show all of the noise: it is taken for so many times what they show. With that, and with five
turns, a commit against itself has each figure called slower once in a hundred runs, if the noise is a normal one.
"""

LOUD = 0.2
"""Noise of which the reader is warned: "not slower" says little then."""

Run = dict[str, float]
"""Figure -> value."""

Turn = Mapping[str, Run]
"""Side -> what it did in this turn."""


class Judged(BaseModel):
    """`ratio` is the median of new/old over the turns, old being both of its runs. `noise` 0.1: ten per cent."""

    figure: str
    old: float
    new: float
    ratio: float
    noise: float
    verdict: Literal["not slower", "slower", "faster"]


def judged(turns: Sequence[Turn]) -> list[Judged]:
    """At least two turns."""
    return [_judged(figure, turns) for figure in FIGURES]


def slower(verdicts: Sequence[Judged]) -> bool:
    return any(each.verdict == "slower" for each in verdicts)


def _judged(figure: str, turns: Sequence[Turn]) -> Judged:
    runs = [[turn[side][figure] for side in SIDES] for turn in turns]
    ratio = median(new / sqrt(old * again) for old, again, new in runs)
    apart = max(max(again / old, old / again) for old, again, _ in runs) - 1
    noise = max(LEAST, FEW.get(len(turns), 1.0) * apart)
    speed = 1 / ratio if figure == ALONE else ratio
    return Judged(
        figure=figure,
        old=median(value for old, again, _ in runs for value in (old, again)),
        new=median(new for _, _, new in runs),
        ratio=ratio,
        noise=noise,
        verdict="slower" if speed * (1 + noise) < 1 else "faster" if speed > 1 + noise else "not slower",
    )


def table(verdicts: Sequence[Judged]) -> str:
    head = f"{'':<24}{'old':>9}{'new':>9}{'new/old':>9}{'noise':>9}   verdict"
    rows = [
        f"{each.figure:<24}{each.old:>9.1f}{each.new:>9.1f}{each.ratio:>9.3f}{each.noise:>8.1%}   {each.verdict}"
        for each in verdicts
    ]
    loud = max(each.noise for each in verdicts)
    warning = f"\nThe machine was busy: what is slower by less than {loud:.0%} could not be seen."
    return "\n".join([head, *rows, *([warning] if loud > LOUD else [])])
