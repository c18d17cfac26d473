"""What `make bench-check` makes of two commits that were measured in turns, and that each side runs its own code."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks.side import GUARD
from benchmarks.verdict import AGAIN, ALONE, BURST, FIGURES, LEAST, NEW, OLD, Judged, Turn, judged, slower, table

QUIET = (1.00, 1.01, 0.99, 1.00, 1.02)
"""How far the old commit's second run is from its first, turn by turn, on a machine that is left alone."""


def turns(again: Sequence[float], new: float, figure: str = BURST, drift: Sequence[float] = ()) -> list[Turn]:
    """The new commit has `new` times the old one's `figure`, and the others are alike. The machine drifts."""
    same = dict.fromkeys(FIGURES, 100.0)
    return [
        {
            side: same | {figure: 100 * times * machine}
            for side, times in ((OLD, 1.0), (AGAIN, apart), (NEW, new * apart**0.5))
        }
        for apart, machine in zip(again, drift or [1.0] * len(again), strict=True)
    ]


def of(figure: str, taken: Sequence[Turn]) -> Judged:
    (found,) = [each for each in judged(taken) if each.figure == figure]
    return found


def test_a_commit_is_not_slower_than_itself() -> None:
    verdicts = judged(turns(QUIET, new=1.0))

    assert [each.verdict for each in verdicts] == ["not slower"] * len(FIGURES)
    assert not slower(verdicts)


@pytest.mark.parametrize(("figure", "new"), [(BURST, 0.9), (ALONE, 1.1)])
def test_what_is_slower_by_more_than_the_noise_is_called_slower(figure: str, new: float) -> None:
    taken = turns(QUIET, new, figure)

    assert of(figure, taken).verdict == "slower"
    assert of(figure, taken).ratio == pytest.approx(new)
    assert slower(judged(taken))


@pytest.mark.parametrize(("figure", "new"), [(BURST, 1.1), (ALONE, 0.9)])
def test_what_is_faster_fails_nobody(figure: str, new: float) -> None:
    taken = turns(QUIET, new, figure)

    assert of(figure, taken).verdict == "faster"
    assert not slower(judged(taken))


def test_one_turn_of_noise_hides_a_tenth() -> None:
    noisy = of(BURST, turns((1.0, 1.01, 1.25, 1.0, 0.99), new=0.9))

    assert noisy.noise == pytest.approx(0.25)
    assert noisy.verdict == "not slower"


def test_noise_counts_in_either_direction() -> None:
    assert of(BURST, turns((1.0, 0.8, 1.0, 1.0, 1.0), new=0.9)).noise == pytest.approx(0.25)


def test_a_machine_that_slows_down_from_turn_to_turn_is_no_noise() -> None:
    drifting = of(BURST, turns(QUIET, new=0.9, drift=(1.0, 0.9, 0.8, 0.7, 0.6)))

    assert drifting.noise == pytest.approx(LEAST)
    assert drifting.ratio == pytest.approx(0.9)
    assert drifting.verdict == "slower"


def test_one_bad_turn_of_the_new_commit_decides_nothing() -> None:
    taken = turns(QUIET, new=1.0)
    disturbed = [*taken[:4], {**taken[4], NEW: dict.fromkeys(FIGURES, 50.0)}]

    assert of(BURST, disturbed).verdict == "not slower"


def test_two_turns_must_be_further_apart_than_five() -> None:
    assert of(BURST, turns(QUIET[1:3], new=0.975)).verdict == "not slower"
    assert of(BURST, turns(QUIET, new=0.975)).verdict == "slower"


def test_the_table_tells_of_each_figure() -> None:
    told = table(judged(turns(QUIET, new=0.9))).splitlines()

    assert [line.split("  ")[0] for line in told[1:]] == list(FIGURES)
    assert told[1].split()[-5:] == ["100.0", "90.0", "0.900", "2.0%", "slower"]


def test_the_table_warns_where_the_machine_was_too_busy_to_tell() -> None:
    busy, quiet = (table(judged(turns(again, new=1.0))) for again in ((1.0, 1.0, 1.0, 1.0, 1.4), QUIET))

    assert "The machine was busy: what is slower by less than 40% could not be seen." in busy
    assert "busy" not in quiet


# ---- whose code it is ----------------------------------------------------------------------------------------------


@pytest.fixture
def checkouts(tmp_path: Path) -> tuple[Path, Path]:
    own, other = tmp_path / "own", tmp_path / "other"
    for place in (own, other):
        (place / "shop").mkdir(parents=True)
        (place / "shop" / "__init__.py").write_text("print(__file__)")
    (other / "warehouse.py").touch()
    return own, other


def imported(module: str, own: Path, *path: Path) -> subprocess.CompletedProcess[str]:
    env = {"PYTHONPATH": ":".join(map(str, (GUARD, *path))), "BENCH_CHECK_CODE": str(own)}
    command = [sys.executable, "-P", "-c", f"import {module}"]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


def test_a_side_imports_its_own_checkout_and_its_packages(checkouts: tuple[Path, Path]) -> None:
    own, other = checkouts

    assert imported("shop", own, own, other).stdout.strip() == str(own / "shop" / "__init__.py")
    assert imported("asyncio, sqlite3, fastapi", own, own).returncode == 0


def test_a_side_that_would_import_another_checkout_fails_aloud(checkouts: tuple[Path, Path]) -> None:
    own, other = checkouts

    for module, path in (("shop", (other, own)), ("warehouse", (own, other))):
        failed = imported(module, own, *path)
        assert failed.returncode == 1
        assert f"bench-check: {module} comes from elsewhere" in failed.stderr
