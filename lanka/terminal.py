"""What the commands have in common: the home, what runs in it, APIs, lists, and how a command fails."""
# ruff: noqa: PLC0415  # heavy imports stand inside, so that --help is quick

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from chain.failures import LankaError

if TYPE_CHECKING:
    from lanka.home import Connection

HomeOption = Annotated[
    Path, typer.Option("--home", envvar="LANKA_HOME", help="The directory that holds all data of this machine.")
]
DEFAULT_HOME = Path(".lanka")

ApiOption = Annotated[
    str | None, typer.Option("--api", metavar="URL", help="The API; by default the one that `lanka up` runs.")
]
KeyOption = Annotated[
    str | None, typer.Option("--key", envvar="LANKA_OPERATOR_KEY", help="An operator's API key, beside --api.")
]


class NotDoneError(LankaError):
    """Why a command ends with this exit code, in a sentence for the person at the terminal."""

    def __init__(self, reason: object, code: int = 1) -> None:
        super().__init__(reason)
        self.code = code


class AwayError(NotDoneError):
    """Nobody answers, or somebody who cannot just now."""


class Commands(TyperGroup):
    """Whatever Lanka raises on purpose ends a command with a sentence."""

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]
        try:
            return super().invoke(ctx)
        except LankaError as error:
            typer.secho(f"lanka: {error}", fg="red", err=True)
            raise typer.Exit(getattr(error, "code", 1)) from None


class Api:
    """What answers in JSON at `url`. Its calls raise `NotDoneError` for a problem, and `AwayError`."""

    def __init__(self, url: str, key: str | None = None) -> None:
        import httpx

        self._url = url.rstrip("/")
        self._client = httpx.Client(headers={"Authorization": f"Bearer {key}"} if key else {}, timeout=60)

    def call(self, method: str, path: str, **more: Any) -> Any:
        """`more`: as for httpx."""
        import httpx

        url = self._url + path
        try:
            answer = self._client.request(method, url, **more)
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise AwayError(f"{self._url} does not answer: {error}") from error
        if answer.is_success:
            return answer.json()
        try:
            problem = answer.json()
            said = f"{problem['detail']} ({problem['code']})"
        except (ValueError, KeyError, TypeError):
            said = f"{url} answered {answer.status_code}: {answer.text[:200]}"
        raise (AwayError if answer.is_server_error else NotDoneError)(said)


def running(home: Path, code: int = 1) -> "Connection":
    """How to reach what `lanka up` runs in this home. Raises `NotDoneError` with `code` where nothing runs."""
    from lanka.home import Home

    connection = Home(home).connection()
    if connection is None:
        raise NotDoneError(
            f"nothing is running in {home.absolute()}: start `lanka up` first, or name another --home", code
        )
    return connection


def operators_api(api: str | None, key: str | None, home: Path) -> Api:
    if api is None:
        connection = running(home)
        return Api(connection.api, key or connection.keys["operator"])
    if key is None:
        raise typer.BadParameter("--api needs --key, or LANKA_OPERATOR_KEY")
    return Api(api, key)


def show(rows: Sequence[Mapping[str, Any]], *names: str) -> None:
    """A table of what is under these names; into a pipe a line each, with tabs between."""
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    cells = [["" if row[name] is None else " ".join(str(row[name]).split()) for name in names] for row in rows]
    if not sys.stdout.isatty():
        typer.echo("\n".join("\t".join(line) for line in cells))
        return
    # What comes first is an id: it is there to be copied, whatever the width.
    table = Table(Column(names[0], no_wrap=True, min_width=16), *(name.replace("_", " ") for name in names[1:]))
    for line in cells:
        # As text: an error message may hold what Rich would take for its markup.
        table.add_row(*(Text(cell, overflow="fold") for cell in line))
    Console().print(table)
