"""A machine with `lanka up` on it."""

import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from lanka.home import Connection, Home
from tests.servers import HANGS_AFTER, Started, home_of_a_server, process, until

LANKA = Path(sys.executable).parent / "lanka"
FREE_PORTS = ("--port", "0", "--temporal-port", "0", "--ui-port", "0", "--payments-port", "0")


@asynccontextmanager
async def a_machine(home: str = "home") -> AsyncIterator["Machine"]:
    """With `home` as the name of its directory. What `lanka up` leaves behind, because a test killed it, is ended."""
    with home_of_a_server() as directory:
        async with AsyncExitStack() as stack:
            machine = Machine(directory / home, stack)
            stack.callback(machine.clean_up)
            yield machine


class Machine:
    """One home, and the `lanka up` that runs in it."""

    def __init__(self, directory: Path, stack: AsyncExitStack) -> None:
        self.home = Home(directory)
        self._stack = stack
        self._up: Started | None = None

    @property
    def up(self) -> Started:
        assert self._up
        return self._up

    async def ready(self, env: dict[str, str] | None = None) -> Connection:
        """The connection of the running `lanka up`. Starts one where none runs."""
        if self._up is None or self._up.exit_code is not None:
            command = process(LANKA, "up", "--home", self.home.directory, *FREE_PORTS, env=env, grace=60)
            self._up = await self._stack.enter_async_context(command)
            await self.says("\nready")
        connection = self.home.connection()
        assert connection
        return connection

    def clean_up(self) -> None:
        for left in self.home.left_behind().values():
            left.kill()

    async def says(self, line: str) -> None:
        def said() -> bool:
            if line in self.up.printed():
                return True
            assert self.up.exit_code is None, self.up.printed()
            return False

        await until(said, 2 * HANGS_AFTER, f"{line!r} from lanka up")
