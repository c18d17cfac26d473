"""The README's own lines, run in a shell beside a real `lanka up`."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.e2e.machine import Machine, a_machine
from tests.servers import HANGS_AFTER, process, until

README = Path(__file__).parents[2] / "README.md"


@pytest.fixture(scope="module")
async def machine() -> AsyncIterator[Machine]:
    async with a_machine() as machine:
        yield machine


async def test_the_lines_in_the_readme_submit_an_order_and_follow_it(machine: Machine) -> None:
    connection = await machine.ready()
    submit, follow = re.findall(r"```sh\n(.*?)```", README.read_text(), re.DOTALL)[1:3]
    get_id = 'order=$(sed -n \'s/.*"order_id": *"\\([^"]*\\)".*/\\1/p\' answer)\n'
    submit = submit.replace("curl -si", "curl -si -o answer")
    confirmed = "status...confirmed"  # a regular expression that needs no quotes
    script = f"set -e\n{submit}{get_id}until {{ {follow} }} | tee -a told | grep -q {confirmed}; do :; done\n"
    script = (
        script.replace(".lanka/", f"{machine.home.directory}/")
        .replace("http://127.0.0.1:8000", connection.api)
        .replace("http://127.0.0.1:8090", str(connection.payments))
    )

    async with process("sh", "-c", script, cwd=machine.home.directory) as shell:
        await until(lambda: shell.exit_code is not None, HANGS_AFTER, "the end of the README's lines")
        assert shell.exit_code == 0
    answer = (machine.home.directory / "answer").read_text()
    assert answer.startswith("HTTP/1.1 202")
    assert "OrderConfirmed" in (machine.home.directory / "told").read_text()
