"""The command line: `python -m benchmarks`."""

import asyncio
import os
import platform
import signal
import tempfile
import time
import traceback
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import psutil
import typer

from benchmarks import capacity, funnel, report, verdict
from benchmarks.check import check
from benchmarks.figures import Result, Session
from benchmarks.goals import LANKA
from benchmarks.machine import Servers
from benchmarks.session import QUICK, Sizes, measured
from benchmarks.sweep import Sweep
from benchmarks.systems import SYSTEMS, System

ENOUGH = 630.0
"""Seconds after which no further session begins, once every system had one: the run is to stay under 12 minutes."""

MEASURED, SWEPT = Path("benchmarks/results/bench.json"), Path("benchmarks/results/sweep.json")

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(name="report")
def report_again(
    result: Annotated[Path, typer.Argument(help="The JSON of a run.")] = MEASURED,
    page: Annotated[Path, typer.Option(help="The page that gets the report.")] = Path("docs/performance.md"),
) -> None:
    """Makes the page and its picture again from the JSON."""
    publish(Result.model_validate_json(result.read_text()), page)


@app.command()
def sweep(
    scale: Annotated[float, typer.Option(help="Below 1: everything smaller, to try it out.")] = 1.0,
    into: Annotated[Path, typer.Option(help="Where the JSON goes.")] = SWEPT,
) -> None:
    """From one order at once to ten thousand, long orders, batches of all sizes, a slow provider, full tables."""
    result = asyncio.run(run_sweep(scale))
    into.write_text(result.model_dump_json(indent=1) + "\n")


async def run_sweep(scale: float) -> Result:
    began = time.monotonic()
    async with _servers(None) as servers:
        swept = Sweep(servers, lambda line: tell(f"{time.monotonic() - began:4.0f} s  {line}"), scale)
        await swept.run()
    return Result(at=_now(), machine=machine(), sessions=swept.sessions, points=swept.points)


@app.command(name="check")
def bench_check(
    old: Annotated[str, typer.Argument(help="A commit.")],
    new: Annotated[str, typer.Argument(help="The commit that should not be slower.")],
    turns: Annotated[int, typer.Option(min=2, help="How often each is measured.")] = 5,
    into: Annotated[Path | None, typer.Option(help="Where the JSON goes.")] = None,
) -> None:
    """Two commits in turns.

    Exit code 0 when the new one is not slower than the old one by more than the noise, 1 when it is, 2 when that could
    not be measured.
    """
    try:
        checked = check(old, new, turns, tell)
    except asyncio.CancelledError:
        tell("stopped; nothing is left behind")
        raise typer.Exit(2) from None
    except Exception as error:
        tell("".join(traceback.format_exception(error)))
        raise typer.Exit(2) from error
    if into:
        into.write_text(checked.model_dump_json(indent=1) + "\n")
    tell(verdict.table(checked.verdicts))
    raise typer.Exit(1 if verdict.slower(checked.verdicts) else 0)


@app.callback(invoke_without_command=True)
def bench(
    context: typer.Context,
    only: Annotated[list[str] | None, typer.Option(help="Systems; all if none is named.")] = None,
    rounds: Annotated[int, typer.Option(min=1)] = 2,
    quick: Annotated[bool, typer.Option("--quick", help="Small sizes, one round, no kill.")] = False,
    into: Annotated[Path, typer.Option(help="Where the JSON goes.")] = MEASURED,
    keep: Annotated[Path | None, typer.Option(help="A new directory for all data and logs, to be kept.")] = None,
    page: Annotated[Path | None, typer.Option(help="The page that gets the report, and its picture beside it.")] = None,
) -> None:
    """Measures every system in one run, in turns."""
    if context.invoked_subcommand:
        return
    chosen = [system for system in SYSTEMS if not only or system.name in only]
    left_out = {system.name: f"{' and '.join(system.missing)} not found" for system in chosen if system.missing}
    chosen = [system for system in chosen if not system.missing]
    result = asyncio.run(run(chosen, QUICK if quick else Sizes(), 1 if quick else rounds, kill=not quick, keep=keep))
    result.left_out = left_out
    into.parent.mkdir(parents=True, exist_ok=True)
    into.write_text(result.model_dump_json(indent=1) + "\n")
    told = report.document(result)
    tell(told)
    if page:
        publish(result, page)


def publish(result: Result, page: Path) -> None:
    swept = Result.model_validate_json(SWEPT.read_text()) if SWEPT.exists() else None
    report.put(report.document(result, swept), page)
    page.with_suffix(".svg").write_text(report.picture(result))
    if {"lanka", "lanka-more", "lanka-single"} <= {session.system for session in result.sessions}:
        report.put(capacity.document(result, swept), page.with_name("capacity.md"))


async def run(systems: Sequence[System], sizes: Sizes, rounds: int, *, kill: bool, keep: Path | None) -> Result:
    began = time.monotonic()
    sessions: list[Session] = []
    async with _servers(keep) as servers:
        tell(f"{time.monotonic() - began:4.0f} s  PostgreSQL runs, the shop is furnished")
        plan = [(nth, system) for nth in range(rounds) for system in (systems if nth % 2 == 0 else systems[::-1])]
        for place, (nth, system) in enumerate(plan, start=1):
            tell(f"{time.monotonic() - began:4.0f} s  {place}/{len(plan)}  {system.name}")
            if nth and time.monotonic() - began > ENOUGH:
                tell("        left out: this machine is too slow today")
                continue
            try:
                session = await measured(servers, system, nth, sizes, kill=kill and nth == 0)
            except Exception as error:  # noqa: BLE001, the others are measured all the same
                tell("        failed: " + "\n".join([repr(error), *getattr(error, "__notes__", [])]))
                session = Session(system=system.name, round=nth, failed=repr(error)[:500])
            sessions.append(session)
            tell(summary(session))
        if any(system.name == LANKA for system in systems):
            tell(f"{time.monotonic() - began:4.0f} s  the funnel of a million events")
            sessions.append(await _funnel(servers))
            tell(summary(sessions[-1]))
    tell(f"{time.monotonic() - began:4.0f} s  done")
    return Result(at=_now(), machine=machine(), sessions=sessions)


async def _funnel(servers: Servers) -> Session:
    try:
        return await funnel.measured(servers, 0)
    except Exception as error:  # noqa: BLE001, what was measured before it is kept
        tell(f"        failed: {error!r}")
        return Session(system=funnel.FUNNEL, round=0, failed=repr(error)[:500])


@asynccontextmanager
async def _servers(keep: Path | None) -> AsyncIterator[Servers]:
    for name in [name for name in os.environ if name.startswith(("LANKA_", "TEMPORAL_", "DATABASE_URL", "SANDBOX_"))]:
        del os.environ[name]
    running = asyncio.current_task()
    assert running
    for ended in (signal.SIGTERM, signal.SIGHUP):  # as Ctrl-C: nothing is left running
        asyncio.get_running_loop().add_signal_handler(ended, running.cancel)
    with _home(keep) as home:
        servers = Servers(home)
        try:
            await servers.start()
            yield servers
        finally:
            await servers.stop()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@contextmanager
def _home(keep: Path | None) -> Iterator[Path]:
    if keep:
        keep.mkdir()
        yield keep.resolve()
    else:
        with tempfile.TemporaryDirectory(prefix="lanka-bench-") as directory:
            yield Path(directory)


def machine() -> dict[str, object]:
    return {
        "system": platform.platform(),
        "python": platform.python_version(),
        "cores": psutil.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
    }


def summary(session: Session) -> str:
    told = []
    for name, each in (("alone", session.alone), ("in flight", session.in_flight), ("burst", session.burst)):
        if each and each.answer and each.confirmation:
            cpu = ", ".join(f"{part} {used:.1f}" for part, used in each.cpu.items() if used >= 0.05)  # noqa: PLR2004
            told.append(
                f"        {name:<9} {each.orders:5} orders  accepted {each.accepted_per_s:6.1f}/s  confirmed "
                f"{each.confirmed_per_s:6.1f}/s  answer {each.answer.p50:.1f}/{each.answer.p99:.1f} ms  confirmation "
                f"{each.confirmation.p50:.0f}/{each.confirmation.p99:.0f} ms\n"
                f"                  CPU ms: {cpu}; {each.transactions:.2f} tx, {each.statements:.1f} statements, "
                f"{each.wal / 1000:.1f} kB WAL; {each.events or 0:.1f} events, {each.history_bytes or 0:.0f} B, "
                f"{each.actions or 0:.2f} actions; refused {each.refused}, errors {each.errors}"
            )
    told += [f"        SQL       {ms:8.0f} ms {calls:6}x {text[:110]}" for text, calls, ms in session.statements[:4]]
    if session.funnel:
        told.append(f"        answer {session.funnel.p50:.1f}/{session.funnel.p99:.1f} ms")
    if session.kill:
        told.append(f"        kill      {session.kill}")
    return "\n".join(told)


def tell(line: str) -> None:
    typer.echo(line)


if __name__ == "__main__":
    app()
