"""The report: what `docs/performance.md` says in figures, and its picture. Made from the JSON alone."""

from collections.abc import Callable, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from benchmarks.figures import Result, Session, Spread, at, spread
from benchmarks.goals import judged
from benchmarks.systems import SYSTEMS, System

BEGIN, END = "<!-- made by `make bench` -->", "<!-- end of what is made -->"

Cell = tuple[str, str, Callable[[float], str]]
"""A column: its head, the path of its figure, and how it is written."""


def whole(value: float) -> str:
    return f"{value:,.0f}"


def one(value: float) -> str:
    return f"{value:,.1f}"


def two(value: float) -> str:
    return f"{value:,.2f}"


def kilo(value: float) -> str:
    return f"{value / 1000:,.1f}"


BURST: Sequence[Cell] = (
    ("orders", "burst.sent", whole),
    ("accepted/s", "burst.accepted_per_s", whole),
    ("confirmed/s", "burst.confirmed_per_s", one),
    ("until all, s", "burst.seconds", one),
    ("answer p50", "burst.answer.p50", whole),
    ("answer p99", "burst.answer.p99", whole),
    ("confirmation p50", "burst.confirmation.p50", whole),
    ("confirmation p99", "burst.confirmation.p99", whole),
)
IN_FLIGHT: Sequence[Cell] = (
    ("confirmed/s", "in_flight.confirmed_per_s", one),
    ("answer p50", "in_flight.answer.p50", whole),
    ("answer p99", "in_flight.answer.p99", whole),
    ("confirmation p50", "in_flight.confirmation.p50", whole),
    ("confirmation p99", "in_flight.confirmation.p99", whole),
)
ALONE: Sequence[Cell] = (
    ("answer p50", "alone.answer.p50", one),
    ("answer p99", "alone.answer.p99", one),
    ("confirmation p50", "alone.confirmation.p50", whole),
    ("confirmation p99", "alone.confirmation.p99", whole),
    ("history events", "alone.events", one),
    ("history bytes", "alone.history_bytes", whole),
    ("billable actions", "alone.actions", two),
)
COST: Sequence[Cell] = (
    ("own CPU ms", "burst.cpu.own", one),
    ("PostgreSQL", "burst.cpu.postgres", one),
    ("Temporal", "burst.cpu.temporal", one),
    ("Redis", "burst.cpu.redis", one),
    ("provider", "burst.cpu.payments", one),
    ("customers", "burst.cpu.client", one),
    ("transactions", "burst.transactions", two),
    ("statements", "burst.statements", one),
    ("WAL kB", "burst.wal", kilo),
    ("history events", "burst.events", two),
    ("history bytes", "burst.history_bytes", whole),
    ("billable actions", "burst.actions", two),
)


def document(result: Result, sweep: Result | None = None) -> str:
    """Markdown. Some of the goals are about what the sweep has measured."""
    systems = [system for system in SYSTEMS if any(s.system == system.name for s in result.sessions)]
    rounds = 1 + max(session.round for session in result.sessions)
    machine = ", ".join(f"{name} {value}" for name, value in result.machine.items())
    opening = (
        f"Measured {result.at} in {rounds} rounds in turns; {machine}. Of several rounds the middle is shown, "
        "with the lowest and the highest in brackets where one is 5 % or more from it. Latencies are in milliseconds."
    )
    parts = [
        opening,
        "![Orders per second in a burst, and what an order costs](performance.svg)",
        "### Goals",
        _goals(result, sweep),
        "### A burst: everything at once over 100 connections",
        _table(result, systems, BURST),
        "### 50 in flight: each customer orders again when the last order is confirmed",
        _table(result, systems, IN_FLIGHT),
        "### One at a time",
        _table(result, systems, ALONE),
        "### What an order of the burst costs",
        _table(result, systems, COST),
        "### Memory after the burst, MiB",
        _memory(result, systems),
        "### `kill -9` in a burst",
        _kills(result, systems),
        *_omissions(result),
        *(_swept(sweep) if sweep else []),
    ]
    return "\n\n".join(parts)


def put(text: str, page: Path, begin: str = BEGIN) -> None:
    """Between the marks of the page."""
    before, found, rest = page.read_text().partition(begin)
    _, ended, after = rest.partition(END)
    if not (found and ended):
        raise ValueError(f"{page} has no place for it: {begin} ... {END}")
    page.write_text(f"{before}{begin}\n\n{text}\n\n{END}{after}")


def _goals(result: Result, sweep: Result | None) -> str:
    rows = []
    for each in judged(result, sweep):
        value = "" if each.value is None else two(each.value)
        if each.low is not None and each.high is not None and two(each.low) != two(each.high):
            value += f" ({two(each.low)}-{two(each.high)})"
        rows.append([each.goal.what, each.goal.bound, value, f"**{each.verdict}**"])
    return _markdown(["", "goal", "value", ""], rows)


def _table(result: Result, systems: Sequence[System], cells: Sequence[Cell]) -> str:
    used = [cell for cell in cells if any(spread(result, system.name, cell[1]) for system in systems)]
    rows = [
        [system.name, *(_cell(spread(result, system.name, path), written) for _, path, written in used)]
        for system in systems
    ]
    return _markdown(["", *(head for head, _, _ in used)], rows)


def _cell(found: Spread | None, written: Callable[[float], str]) -> str:
    if found is None:
        return ""
    near = found.high - found.middle < 0.05 * found.middle and found.middle - found.low < 0.05 * found.middle
    text = written(found.middle)
    return text if near else f"{text} ({written(found.low)}-{written(found.high)})"


def _memory(result: Result, systems: Sequence[System]) -> str:
    parts = list(dict.fromkeys(part for session in result.sessions for part in session.memory))
    rows = []
    for system in systems:
        found = [spread(result, system.name, f"memory.{part}") for part in parts]
        rows.append([system.name, *("" if each is None else whole(each.middle) for each in found)])
    return _markdown(["", *parts], rows)


def _kills(result: Result, systems: Sequence[System]) -> str:
    rows = []
    for system in systems:
        for session in result.sessions:
            if session.system == system.name and (kill := session.kill):
                figures = (kill.sent, kill.accepted, kill.lost, kill.half_done, kill.paid)
                rows.append([system.name, *map(str, figures), one(kill.seconds)])
    heads = [
        "",
        "sent",
        "accepted",
        "accepted and lost",
        "half done for good",
        "paid without an order",
        "seconds in all",
    ]
    return _markdown(heads, rows)


def _swept(sweep: Result) -> list[str]:
    """The second run: a table for each series, and one for full tables."""
    heads = [
        "",
        "orders",
        "accepted/s",
        "confirmed/s",
        "own CPU ms",
        "all CPU ms",
        "answer alone",
        "confirmation alone",
    ]
    told = [f"### One thing changed at a time\n\nMeasured {sweep.at} by `make bench-sweep`."]
    for series in dict.fromkeys(point.series for point in sweep.points):
        points = [point for point in sweep.points if point.series == series]
        several = len({point.system for point in points}) > 1
        rows = []
        for point in points:
            burst, alone = point.burst, point.alone
            session = Session(system=point.system, round=0, own=point.own, burst=burst)
            cpu = [at(session, "burst.cpu.own") or 0.0, at(session, "burst.cpu.all") or 0.0]
            latencies = [one(each.p50) if each else "" for each in (alone.answer, alone.confirmation)]
            rates = [whole(burst.accepted_per_s), one(burst.confirmed_per_s)]
            name = f"{point.x:,g}, {point.system}" if several else f"{point.x:,g}"
            rows.append([name, whole(burst.sent), *rates, *map(one, cpu), *latencies])
        told += [f"#### {series.capitalize()}", _markdown(heads, rows)]
    states = [name for name in FULL if spread(sweep, name, "burst.confirmed_per_s")]
    if states:
        told += ["#### Full tables, and one hot SKU", _states(sweep, states)]
    return told


FULL = {
    "lanka-empty": "empty tables",
    "lanka-hot": "one SKU in all orders",
    "lanka-full": "a million ended orders in the tables, 10,000 waiting for their payments",
}


def _states(sweep: Result, states: Sequence[str]) -> str:
    cells = [cell for cell in (*BURST[1:3], *COST[:5]) if cell[0] != "Redis"]
    rows = [[FULL[name], *(_cell(spread(sweep, name, path), written) for _, path, written in cells)] for name in states]
    return _markdown(["", *(head for head, _, _ in cells)], rows)


def _omissions(result: Result) -> list[str]:
    left_out = [f"- {system} was left out: {why}" for system, why in result.left_out.items()]
    failed = [
        f"- {each.system}, round {each.round + 1}, failed: {each.failed}" for each in result.sessions if each.failed
    ]
    return ["\n".join([*left_out, *failed])] if left_out or failed else []


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


# ---- the picture -------------------------------------------------------------------------------------------------

TOP, ROW, BAR, LABEL, PANEL, GAP = 44, 24, 13, 110, 210, 66
COLOURS = {"own": "#3b6fb6", "postgres": "#6ba04b", "temporal": "#c8553d", "redis": "#a05195", "payments": "#b8b8b8"}
NAMES = {
    "own": "own processes",
    "postgres": "PostgreSQL",
    "temporal": "Temporal",
    "redis": "Redis",
    "payments": "provider",
}
STYLE = (
    "text{font:12px sans-serif;fill:#555}.head{font-weight:bold}.spread{stroke:#111;stroke-width:1.5}"
    "@media(prefers-color-scheme:dark){text{fill:#bbb}.spread{stroke:#eee}}"
)


def picture(result: Result) -> str:
    """SVG of the burst, a row for each system: confirmed and accepted per second with the spread of the rounds, and
    what an order costs in CPU by part.
    """
    systems = [system.name for system in SYSTEMS if spread(result, system.name, "burst.confirmed_per_s")]
    height, width = TOP + ROW * len(systems) + 40, LABEL + 3 * (PANEL + GAP)
    body = [
        *(_text(LABEL - 8, _row(nth) + BAR - 2, system, "end") for nth, system in enumerate(systems)),
        *_rates(0, "burst: confirmed/s", "confirmed_per_s", result, systems),
        *_rates(1, "accepted/s", "accepted_per_s", result, systems),
        *_costs(2, "CPU ms an order", result, systems),
        *_legend(height - 12),
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
        f"<style>{STYLE}</style>{''.join(body)}</svg>\n"
    )


def _rates(panel: int, head: str, figure: str, result: Result, systems: Sequence[str]) -> list[str]:
    rates = [spread(result, system, f"burst.{figure}") for system in systems]
    scale = PANEL / max(rate.high for rate in rates if rate)
    left = _left(panel)
    drawn = [_text(left, TOP - 20, head, kind="head")]
    for nth, rate in enumerate(rates):
        if rate:
            y = _row(nth)
            drawn.append(_bar(left, y, rate.middle * scale, COLOURS["own"]))
            low, high, middle = left + rate.low * scale, left + rate.high * scale, y + BAR / 2
            drawn.append(f'<path class="spread" d="M{low:.1f} {middle}H{high:.1f}"/>')
            drawn.append(_text(high + 5, y + BAR - 2, _short(rate.middle)))
    return drawn


def _costs(panel: int, head: str, result: Result, systems: Sequence[str]) -> list[str]:
    costs = [
        {part: found.middle for part in COLOURS if (found := spread(result, system, f"burst.cpu.{part}"))}
        for system in systems
    ]
    scale = PANEL / max(sum(cost.values()) for cost in costs)
    drawn = [_text(_left(panel), TOP - 20, head, kind="head")]
    for nth, cost in enumerate(costs):
        x = float(_left(panel))
        for part, used in cost.items():
            drawn.append(_bar(x, _row(nth), used * scale, COLOURS[part]))
            x += used * scale
        drawn.append(_text(x + 5, _row(nth) + BAR - 2, one(sum(cost.values()))))
    return drawn


def _legend(y: int) -> list[str]:
    drawn, x = [], _left(1)
    for part, colour in COLOURS.items():
        drawn.append(f'<rect x="{x}" y="{y - 9}" width="10" height="10" fill="{colour}"/>')
        drawn.append(_text(x + 14, y, NAMES[part]))
        x += 30 + 7 * len(NAMES[part])
    return drawn


def _left(panel: int) -> int:
    return LABEL + panel * (PANEL + GAP)


def _row(nth: int) -> int:
    return TOP + ROW * nth


def _bar(x: float, y: float, width: float, colour: str) -> str:
    return f'<rect x="{x:.1f}" y="{y}" width="{max(width, 0.5):.1f}" height="{BAR}" fill="{colour}"/>'


def _text(x: float, y: float, text: str, anchor: str = "start", kind: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y}" text-anchor="{anchor}" class="{kind}">{escape(text)}</text>'


def _short(value: float) -> str:
    return whole(value) if value >= 100 else one(value)  # noqa: PLR2004
