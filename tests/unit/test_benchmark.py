"""What `make bench` makes of what it has measured. The measuring itself is not part of the suite."""

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent

from benchmarks import capacity, report
from benchmarks.customers import Sent
from benchmarks.figures import Kill, Latency, Point, Result, Session, Stretch, at, at_percent, stretch
from benchmarks.funnel import FUNNEL
from benchmarks.goals import GOALS, judged
from benchmarks.measure import Histories, Reading, billed
from benchmarks.session import QUICK, Sizes
from benchmarks.systems import SYSTEMS

ROOT = Path(__file__).parent.parent.parent
RESULTS = ROOT / "benchmarks" / "results"


def reading(**counted: float) -> Reading:
    told = {"api": 0.0, "postgres": 0.0, "client": 0.0} | counted
    cpu = {part: told[part] for part in ("api", "postgres")}
    return Reading(cpu, {}, int(told.get("transactions", 0)), int(told.get("statements", 0)), int(told.get("wal", 0)))


def a_stretch(rate: float, *, api: float = 4.0, p50: float = 10.0, actions: float = 0.1) -> Stretch:
    """Of 100 orders at `rate` per second, all of them answered twice as fast as they were confirmed."""
    seconds = 100 / rate
    sent = [
        Sent(str(nth), 0.0, answered=seconds / 2 * nth / 100 + p50 / 1000, confirmed=seconds * nth / 100)
        for nth in range(1, 101)
    ]
    after = reading(api=api / 10, postgres=0.2, transactions=300, statements=900, wal=200_000)
    return stretch(sent, reading(), after, 0.01, Histories(4, 120, 50_000, actions * 100))


def a_session(system: str, nth: int, rate: float, api: float = 4.0) -> Session:
    each = a_stretch(rate, api=api)
    kill = Kill(sent=100, accepted=90, lost=0, half_done=3, paid=2, seconds=4.5)
    return Session(system=system, round=nth, own=["api"], alone=each, in_flight=each, burst=each, kill=kill)


def a_result(**rates: tuple[float, float]) -> Result:
    sessions = [
        a_session(system.replace("_", "-"), nth, rate)
        for system, both in rates.items()
        for nth, rate in enumerate(both)
    ]
    return Result(at="2026-01-02T03:04:05+00:00", machine={"cores": 2}, sessions=sessions)


def test_a_percentile_is_a_value_that_was_measured() -> None:
    assert at_percent([3, 1, 2, 4], 50) == 2
    assert at_percent(list(range(1, 101)), 99) == 99
    assert at_percent([7], 99) == 7


def test_rates_run_from_the_first_order_to_the_last_answer_or_confirmation() -> None:
    figures = a_stretch(50)

    assert figures.confirmed_per_s == pytest.approx(50)
    assert figures.accepted_per_s == pytest.approx(100 / (1 + 0.010))
    assert figures.confirmation is not None
    assert figures.confirmation.p50 == pytest.approx(1000)
    assert figures.confirmation.p99 == pytest.approx(1980)


def test_costs_are_per_confirmed_order() -> None:
    figures = a_stretch(50, api=4.0, actions=0.1)

    assert figures.cpu == pytest.approx({"api": 4.0, "postgres": 2.0, "client": 0.1})
    assert (figures.transactions, figures.statements, figures.wal) == (3, 9, 2000)
    assert (figures.workflows, figures.events, figures.history_bytes) == (0.04, 1.2, 500)
    assert figures.actions == pytest.approx(0.1)


def test_what_was_never_confirmed_counts_as_sent_only() -> None:
    sent = [Sent("a", 0, answered=1, confirmed=2), Sent("b", 0, answered=1), Sent("c", 0, error="EOFError")]

    figures = stretch(sent, reading(), reading(api=1), 0.0)

    assert (figures.sent, figures.orders, figures.errors) == (3, 1, 1)
    assert figures.cpu["api"] == 1000


def test_own_cpu_is_that_of_the_processes_a_user_would_run() -> None:
    session = a_session("lanka", 0, 50)

    assert at(session, "burst.cpu.own") == pytest.approx(4.0)
    assert at(session, "burst.cpu.all") == pytest.approx(6.0)
    assert at(session, "burst.cpu.redis") is None


def test_a_start_with_its_signal_is_one_action_and_each_attempt_is_one() -> None:
    kinds = [
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED,
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED,
        EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED,
        EventType.EVENT_TYPE_ACTIVITY_TASK_STARTED,
        EventType.EVENT_TYPE_TIMER_STARTED,
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED,
    ]
    history = [HistoryEvent(event_type=kind) for kind in kinds]
    history[3].activity_task_started_event_attributes.attempt = 2

    assert +billed(history) == {"starts": 1, "activities": 2, "timers": 1, "signals": 1}


def test_a_goal_compares_two_systems_of_one_run() -> None:
    result = a_result(lanka=(120, 80), monolith=(100, 100), dbos=(20, 20))

    burst, one, dbos = judged(result)[:3]

    assert (burst.value, burst.low, burst.high, burst.verdict) == (1.0, 0.8, 1.2, "met")
    assert one.verdict == "not measured"
    assert (dbos.value, dbos.verdict) == (5.0, "not met")


def test_a_goal_may_be_a_bound_from_above() -> None:
    result = a_result(lanka=(100, 100))
    actions = next(each for each in judged(result) if each.goal.what.startswith("burst: billable"))

    assert actions.value == pytest.approx(0.1)
    assert actions.verdict == "met"
    assert not actions.goal.met_by(0.21)


@pytest.mark.parametrize(("ms", "verdict"), [([90, 99, 900], "met"), ([90, 101, 102], "not met"), ([], "not measured")])
def test_only_the_benchmark_judges_how_long_the_funnel_takes(ms: list[int], verdict: str) -> None:
    result = a_result(lanka=(100, 100))
    result.sessions.append(Session(system=FUNNEL, round=0, funnel=Latency.of([each / 1000 for each in ms])))

    (funnel,) = [each for each in judged(result) if each.goal.what.startswith("the funnel")]

    assert (funnel.verdict, funnel.goal.bound) == (verdict, "at most 100")
    assert f"| {funnel.goal.what} | at most 100 |" in report.document(result)


def test_the_report_tells_of_every_system_and_every_goal_and_of_what_was_left_out() -> None:
    result = a_result(lanka=(120, 80), monolith=(100, 100))
    result.left_out = {"celery": "redis-server not found"}
    result.sessions.append(Session(system="dbos", round=0, failed="it fell over"))

    told = report.document(result)

    assert "| lanka | 100 |" in told
    assert "100.0 (80.0-120.0)" in told
    assert "celery was left out: redis-server not found" in told
    assert "dbos, round 1, failed: it fell over" in told
    assert all(goal.what in told for goal in GOALS)
    assert "| monolith | 100 | 90 | 0 | 3 | 2 | 4.5 |" in told


def test_a_sweep_tells_of_each_series_and_serves_the_goals_about_full_tables() -> None:
    points = [
        Point(series="lines an order", system="lanka", x=lines, own=["api"], alone=a_stretch(5), burst=a_stretch(50))
        for lines in (1, 100)
    ]
    full, empty = a_session("lanka-full", 0, 50, api=10.0), a_session("lanka-empty", 0, 50, api=4.0)
    sweep = Result(at="2026-01-02T03:04:05+00:00", machine={}, sessions=[full, empty], points=points)
    result = a_result(lanka=(100, 100))

    told = report.document(result, sweep)

    assert "#### Lines an order" in told
    assert "| 100 | 100 | 99 | 50.0 | 4.0 | 6.0 |" in told
    assert judged(result, sweep)[-1].value == pytest.approx(2.0)
    assert judged(result, sweep)[-1].verdict == "not met"
    assert judged(result)[-1].verdict == "not measured"


def test_the_picture_is_an_svg_with_a_bar_for_every_system() -> None:
    drawn = ET.fromstring(report.picture(a_result(lanka=(120, 80), monolith=(100, 100))))

    words = [element.text for element in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert drawn.tag == "{http://www.w3.org/2000/svg}svg"
    assert {"lanka", "monolith"} <= set(words)


def test_the_report_replaces_only_what_was_made(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")

    report.put("new", page)

    assert page.read_text() == f"before\n{report.BEGIN}\n\nnew\n\n{report.END}\nafter\n"
    page.write_text("no place")
    with pytest.raises(ValueError, match="has no place"):
        report.put("new", page)


def test_the_page_says_what_the_results_say() -> None:
    result = Result.model_validate_json((RESULTS / "bench.json").read_text())

    swept = RESULTS / "sweep.json"
    sweep = Result.model_validate_json(swept.read_text()) if swept.exists() else None

    assert report.document(result, sweep) in (ROOT / "docs" / "performance.md").read_text()
    assert capacity.document(result, sweep) in (ROOT / "docs" / "capacity.md").read_text()
    assert report.picture(result) == (ROOT / "docs" / "performance.svg").read_text()


def test_every_system_is_asked_the_same_but_for_the_length_of_its_burst() -> None:
    slow, quick = (next(s for s in SYSTEMS if s.slow is is_slow) for is_slow in (True, False))

    assert len({system.name for system in SYSTEMS}) == len(SYSTEMS)
    assert {figure.system for goal in GOALS for figure in (goal.one, goal.other) if figure} <= {
        *(system.name for system in SYSTEMS),
        FUNNEL,
        "lanka-hot",
        "lanka-empty",
        "lanka-full",
    }
    assert Sizes().burst_of(quick, 1.0) == 2000
    assert Sizes(slow_seconds=10).burst_of(slow, 20.0) == 200
    assert QUICK.burst < Sizes().burst


def test_a_system_whose_packages_are_not_there_is_missing_something() -> None:
    (dbos,) = [system for system in SYSTEMS if system.name == "dbos"]

    assert not [system for system in SYSTEMS if not system.needs and system.missing]
    assert dbos.needs == ("dbos",)


# ---- the model of capacity -----------------------------------------------------------------------------------------


def costs(api: tuple[float, float] = (1.0, 9.0)) -> capacity.Costs:
    cpu = {"api": api, "worker": (2.0, 40.0), "postgres": (1.0, 10.0), "temporal": (0.5, 60.0)}
    return capacity.Costs(cpu, (15_000, 10_000), (5_000, 4_000), (0.0, 5.0), 0.5, 800.0, 20.0, hot=None)


def test_the_cost_of_a_batch_is_shared_by_the_orders_in_it() -> None:
    alone, burst = a_stretch(5, api=10.0), a_stretch(50, api=1.9)
    burst.workflows = 0.1
    alone.cpu |= dict.fromkeys(("worker", "temporal"), 1.0)
    burst.cpu |= dict.fromkeys(("worker", "temporal"), 1.0)
    sessions = [
        Session(system=system, round=0, own=["api"], alone=alone, in_flight=burst, burst=burst)
        for system in ("lanka", "lanka-more", "lanka-single")
    ]

    found = capacity.Costs.of(Result(at="", machine={}, sessions=sessions))

    assert found.cpu["api"] == pytest.approx((1.0, 9.0))
    assert capacity.at_batch(found.cpu["api"], 1) == pytest.approx(10.0)
    assert capacity.at_batch(found.cpu["api"], 10) == pytest.approx(1.9)
    assert found.cpu["worker"] == pytest.approx((1.0, 0.0))


def test_batches_grow_with_the_load_until_they_are_full_and_then_there_are_more_of_them() -> None:
    few, many, most = (capacity.plan(costs(), rate) for rate in (100, 1_000, 10_000))

    assert (few.batch, few.places) == (12.5, 4)
    assert (many.batch, many.places) == (100, 5)
    assert (most.batch, most.places, most.batches_per_s) == (100, 50, 100)
    assert most.cores["postgres"] == pytest.approx(10_000 * 1.1 / 1000 / 0.6)
    assert most.processes == {"api": 19, "worker": 40}


def test_the_nearest_limit_comes_first() -> None:
    rates = [limit.rate for limit in capacity.limits(costs(api=(100.0, 0.0)))]

    assert rates == sorted(rates)
    assert capacity.limits(costs(api=(100.0, 0.0)))[0].what == "one API process"
