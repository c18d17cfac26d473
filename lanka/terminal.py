"""What the commands have in common: the home, what runs in it, and how a command fails."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from lanka.home import Connection

HomeOption = Annotated[
    Path, typer.Option("--home", envvar="LANKA_HOME", help="The directory that holds all data of this machine.")
]
DEFAULT_HOME = Path(".lanka")


def running(home: Path, code: int = 1) -> "Connection":
    """How to reach what `lanka up` runs in this home. Ends the command, with exit code `code`, where nothing runs."""
    from lanka.home import Home  # noqa: PLC0415  # heavy

    connection = Home(home).connection()
    if connection is None:
        fail(f"nothing is running in {home.absolute()}: start `lanka up` first, or name another --home", code)
    return connection


def fail(reason: object, code: int = 1) -> NoReturn:
    typer.secho(f"lanka: {reason}", fg="red", err=True)
    raise typer.Exit(code)
