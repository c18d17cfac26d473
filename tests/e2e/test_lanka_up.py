"""`lanka up` as a person meets it: real processes, killed and interrupted."""

import os
import shutil
import signal
import socket
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import asyncpg
import httpx
import psutil
import pytest
from temporalio.client import Client, WorkflowExecutionStatus

from lanka.home import Connection, Home, is_over
from lanka.readiness import http_answers
from tests.e2e.machine import FREE_PORTS, LANKA, Machine, a_machine
from tests.servers import HANGS_AFTER, home_of_a_server, process, temporal_server, until

PARTS = {"api", "worker", "temporal", "postgres", "payments"}


@pytest.fixture(scope="module")
async def machine() -> AsyncIterator[Machine]:
    # A long name, longer than the path of a unix socket can be, with what shells, URIs and SQLite take for theirs.
    async with a_machine(
        "a home%2Fof #1? 'Ланка' \"&;$(x)=…" + "-so-long-that-no-socket-would-fit-in-it" * 2
    ) as machine:
        yield machine


def processes(machine: Machine, connection: Connection) -> list[psutil.Process]:
    """`lanka up`, its parts, and all that they started."""
    roots = [psutil.Process(pid) for pid in (machine.up.pid, *connection.pids.values())]
    return [*roots, *(child for root in roots for child in root.children(recursive=True))]


async def are_gone(these: list[psutil.Process]) -> None:
    await until(lambda: all(is_over(each) for each in these), HANGS_AFTER, f"the end of {these}")


async def query(connection: Connection, statement: str) -> object:
    database = await asyncpg.connect(connection.database_url)
    try:
        return await database.fetchval(statement)
    finally:
        await database.close()


async def test_it_tells_how_to_reach_everything(machine: Machine) -> None:
    connection = await machine.ready()
    told = machine.home.directory / "connection.json"
    assert stat.S_IMODE(told.stat().st_mode) == 0o600
    assert set(connection.pids) == PARTS
    assert all(psutil.pid_exists(pid) for pid in connection.pids.values())
    assert await query(connection, "SELECT count(*) FROM stock") == 20
    assert await (await Client.connect(connection.temporal)).service_client.check_health()
    assert connection.temporal_ui
    for url in (f"{connection.api}/readyz", f"{connection.payments}/livez", connection.temporal_ui):
        assert await http_answers(url)
    async with process(sys.executable, "-m", "lanka", "doctor", env={"LANKA_HOME": str(told.parent)}) as doctor:
        await until(lambda: doctor.exit_code is not None, HANGS_AFTER, "lanka doctor")
        assert (doctor.exit_code, "migrations" in doctor.printed()) == (0, True), doctor.printed()
        assert all(len(line) <= 80 for line in doctor.printed().splitlines())
    async with httpx.AsyncClient(base_url=connection.api) as api:
        for scope in ("shop", "operator"):
            key = {"Authorization": f"Bearer {connection.keys[scope]}"}
            assert (await api.get("/catalogue", headers=key)).is_success


async def test_its_files_are_in_its_home_whatever_that_is_called(machine: Machine) -> None:
    await machine.ready()
    beside = {path.name for path in machine.home.directory.parent.iterdir()}
    assert beside == {machine.home.directory.name}
    for file in (machine.home.temporal_database, machine.home.payments_database, machine.home.postgres_data):
        assert file.exists()


async def test_it_tells_where_the_pages_are_and_how_to_get_the_operators_key(machine: Machine) -> None:
    connection = await machine.ready()
    told = machine.up.printed()
    assert f"  shop              {connection.api}/\n" in told
    assert f"  console           {connection.api}/console\n" in told
    command = told[told.index("operator's key") :].splitlines()[0].removeprefix("operator's key")
    async with process("sh", "-c", command) as shell:
        await until(lambda: shell.exit_code is not None, HANGS_AFTER, "the end of the shell")
        assert shell.printed().strip() == connection.keys["operator"]
    assert connection.keys["operator"] not in told


async def test_a_copy_of_a_running_home_leaves_the_original_alone(machine: Machine) -> None:
    original = await machine.ready()
    await query(original, "CHECKPOINT")
    directory = machine.home.directory.with_name("copy")
    # Not all of it can be copied: files come and go while their server runs.
    async with process("cp", "-a", machine.home.directory, directory) as copying:
        await until(lambda: copying.exit_code is not None, HANGS_AFTER, "the end of cp")
    async with AsyncExitStack() as stack:
        other = Machine(directory, stack)
        assert other.home.connection() is None, "what the copied file names is another home's"
        assert other.home.left_behind() == {}
        copy = await other.ready()
        assert set(copy.pids.values()).isdisjoint(original.pids.values())
        assert {copy.api, copy.database_url} & {original.api, original.database_url} == set()
        assert machine.home.connection() == original
        assert await query(copy, "SELECT count(*) FROM stock") == 20
        for home in (machine.home, other.home):
            await confirms(home)
    await confirms(machine.home)
    assert machine.home.connection() == original, "not a single process was started again"
    shutil.rmtree(directory)


async def confirms(home: Home) -> None:
    async with process(LANKA, "order", "--home", home.directory) as order:
        await until(lambda: order.exit_code is not None, HANGS_AFTER, "the end of the order")
        assert "OrderConfirmed" in order.printed()


async def test_it_prints_a_line_for_a_shell_that_submits_an_order(machine: Machine) -> None:
    await machine.ready()
    printed = machine.up.printed()
    commands = printed[printed.index("PAYMENT=") : printed.index("\nready")]
    async with process("sh", "-c", commands) as shell:
        await until(lambda: shell.exit_code is not None, HANGS_AFTER, "the end of the shell")
        assert " 202 " in shell.printed()


async def test_a_sample_order_is_shown_until_it_is_confirmed(machine: Machine) -> None:
    await machine.ready()
    async with process(LANKA, "order", "--home", machine.home.directory) as order:
        await until(lambda: order.exit_code is not None, HANGS_AFTER, "the end of the order")
        assert order.exit_code == 0
        assert order.printed().index("OrderReceived") < order.printed().index("OrderConfirmed")


@pytest.mark.parametrize(
    ("faults", "told"),
    [({"error_rate": 1}, "waits at payment, attempt"), ({"garbage_rate": 1}, "unexpected answer after 3 attempts: ")],
)
async def test_a_sample_order_that_waits_or_is_parked_says_why(
    machine: Machine, faults: dict[str, int], told: str
) -> None:
    connection = await machine.ready()
    async with httpx.AsyncClient(base_url=connection.payments) as provider:
        await provider.put("/faults", json=faults)
        try:
            async with process(LANKA, "order", "--home", machine.home.directory) as order:
                await until(lambda: told in order.printed(), HANGS_AFTER, f"{told} of the order")
                assert "OrderConfirmed" not in order.printed()
        finally:
            await provider.put("/faults", json={})


@pytest.mark.parametrize("part", sorted(PARTS))
async def test_a_part_that_is_killed_is_started_again(machine: Machine, part: str) -> None:
    connection = await machine.ready()
    before = connection.pids[part]
    os.kill(before, signal.SIGKILL)

    def started_again() -> Connection | None:
        now = machine.home.connection()
        return now if now and now.pids[part] != before else None

    now: Connection = await until(started_again, HANGS_AFTER, f"another {part}")
    await machine.says(f"{part} died (killed by signal 9), started again as pid {now.pids[part]}")
    await machine.says(f"{part} restarting ({now.pids[part]})")
    await machine.says(f"{part} ready ({now.pids[part]})")
    for url in (f"{now.api}/readyz", f"{now.payments}/livez"):
        await until(partial(http_answers, url), HANGS_AFTER, url)


async def test_a_second_one_in_the_same_home_refuses(machine: Machine) -> None:
    connection = await machine.ready()
    async with process(LANKA, "up", "--home", machine.home.directory, *FREE_PORTS) as second:
        await until(lambda: second.exit_code is not None, HANGS_AFTER, "the end of the second")
        assert second.exit_code == 1
        assert "another `lanka up` is running" in second.printed()
    assert machine.home.connection() == connection
    assert await http_answers(f"{connection.api}/livez")


@pytest.mark.parametrize("option", ["--port", "--temporal-port", "--ui-port", "--payments-port"])
async def test_a_port_that_is_taken_is_told_with_its_option(option: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        async with process(LANKA, "up", "--home", tmp_path, *FREE_PORTS, option, port) as up:
            await until(lambda: up.exit_code is not None, HANGS_AFTER, "the end of lanka up")
            assert up.exit_code == 1
            assert f"port {port} is taken" in up.printed()
            assert option in up.printed()
    assert not (tmp_path / "postgres").exists()


@pytest.mark.parametrize(
    ("words", "exit_code", "told"),
    [
        (("--port", "99999"), 2, "65535"),
        (("--port", "-1"), 2, "greater than or equal to 0"),
        (("--port", "18555", "--ui-port", "18555"), 1, "port 18555 is wanted twice, by --port and --ui-port"),
        (("--home", "/dev/null/home"), 1, "cannot write into the home /dev/null/home: Not a directory"),
        (("--home", "/tmp/" + "deep/" * 100), 1, "bytes long"),
        (("--home", "/tmp/two\nlines"), 1, "line break"),
    ],
)
async def test_what_cannot_be_is_told_in_a_line(
    words: tuple[str, ...], exit_code: int, told: str, tmp_path: Path
) -> None:
    async with process(LANKA, "up", *FREE_PORTS, *words, cwd=tmp_path) as up:
        await until(lambda: up.exit_code is not None, HANGS_AFTER, "the end of lanka up")
        assert up.exit_code == exit_code
        assert told in up.printed()
        assert "Traceback" not in up.printed()


async def test_a_part_that_cannot_run_ends_the_start_with_what_it_says() -> None:
    with home_of_a_server() as home:
        (home / "payments.db").write_text("this is no database, however long one looks at it " * 100)
        async with process(LANKA, "up", "--home", home, *FREE_PORTS, grace=60) as up:
            await until(lambda: up.exit_code is not None, 3 * HANGS_AFTER, "the end of lanka up")
            assert up.exit_code == 1
            assert "lanka: payments died 3 times (exit code 1); it said last:\n" in up.printed()
            assert up.printed().rstrip().endswith("file is not a database")


async def test_its_parts_end_with_it_when_it_is_killed(machine: Machine) -> None:
    if sys.platform != "linux":
        pytest.skip("only Linux tells a process that its parent is gone")
    everything = processes(machine, await machine.ready())
    os.kill(machine.up.pid, signal.SIGKILL)
    await are_gone(everything)


async def test_what_a_killed_one_left_behind_is_ended_and_the_data_stays(machine: Machine) -> None:
    # A PATH without setpriv: as on a system that cannot tie the parts to their parent.
    connection = await machine.ready(env={"PATH": str(LANKA.parent)})
    await query(connection, "CREATE TABLE kept AS SELECT 42 AS number")
    temporal = await Client.connect(connection.temporal)
    await temporal.start_workflow("Patience", id="kept", task_queue="nobody-works-here")
    left_behind = [psutil.Process(pid) for pid in connection.pids.values()]
    os.kill(machine.up.pid, signal.SIGKILL)
    await until(lambda: machine.up.exit_code is not None, HANGS_AFTER, "the end of the killed one")
    assert not any(is_over(part) for part in left_behind)

    again = await machine.ready()

    assert all(is_over(part) for part in left_behind)
    assert again.keys == connection.keys
    assert await query(again, "SELECT number FROM kept") == 42
    kept = (await Client.connect(again.temporal)).get_workflow_handle("kept")
    assert (await kept.describe()).status is WorkflowExecutionStatus.RUNNING


async def test_ctrl_c_even_twice_stops_everything(machine: Machine) -> None:
    everything = processes(machine, await machine.ready())
    os.killpg(machine.up.pid, signal.SIGINT)
    await machine.says("stopping everything")
    os.killpg(machine.up.pid, signal.SIGINT)
    await until(lambda: machine.up.exit_code is not None, HANGS_AFTER, "the end of lanka up")
    assert machine.up.exit_code == 0
    assert all(is_over(each) for each in everything)
    assert machine.home.connection() is None
    assert machine.up.printed().rstrip().endswith("stopped")


async def test_given_servers_are_used_in_place_of_the_embedded_ones(database_url: str, tmp_path: Path) -> None:
    (tmp_path / "temporal").mkdir()
    async with temporal_server(tmp_path / "temporal") as address, a_machine() as machine:
        connection = await machine.ready(env={"DATABASE_URL": database_url, "TEMPORAL_ADDRESS": address})
        assert set(connection.pids) == {"api", "worker", "payments"}
        assert connection.database_url == database_url
        assert connection.temporal == address
        assert await http_answers(f"{connection.api}/readyz")
