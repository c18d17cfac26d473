"""What the commands have in common: the home, what runs in it, the API for an operator, and how a command fails."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

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


def running(home: Path, code: int = 1) -> "Connection":
    """How to reach what `lanka up` runs in this home. Ends the command, with exit code `code`, where nothing runs."""
    from lanka.home import Home  # noqa: PLC0415  # heavy

    connection = Home(home).connection()
    if connection is None:
        fail(f"nothing is running in {home.absolute()}: start `lanka up` first, or name another --home", code)
    return connection


def where_to(api: str | None, key: str | None, home: Path) -> tuple[str, str]:
    """The API and the key."""
    if api is None:
        connection = running(home)
        return connection.api, key or connection.keys["operator"]
    if key is None:
        raise typer.BadParameter("--api needs --key, or LANKA_OPERATOR_KEY")
    return api.rstrip("/"), key


def call(method: str, path: str, where: tuple[str, str], **more: Any) -> Any:
    """What the API answers an operator; ends the command where that is nothing, or a problem. `more`: as for httpx."""
    import httpx  # noqa: PLC0415  # heavy

    api, key = where
    url = f"{api}/operations{path}"
    headers = {"Authorization": f"Bearer {key}"}
    try:
        answer = httpx.request(method, url, headers=headers, timeout=60, **more)
    except (httpx.TransportError, httpx.InvalidURL) as error:
        fail(f"{api} does not answer: {error}")
    if answer.is_success:
        return answer.json()
    try:
        problem = answer.json()
        fail(f"{problem['detail']} ({problem['code']})")
    except (json.JSONDecodeError, KeyError, TypeError):
        fail(f"{url} answered {answer.status_code}: {answer.text[:200]}")


def fail(reason: object, code: int = 1) -> NoReturn:
    typer.secho(f"lanka: {reason}", fg="red", err=True)
    raise typer.Exit(code)
