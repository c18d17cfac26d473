"""What an operator asks of the API from the command line."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from lanka.terminal import fail, running

ApiOption = Annotated[
    str | None, typer.Option("--api", metavar="URL", help="The API; by default the one that `lanka up` runs.")
]
KeyOption = Annotated[
    str | None, typer.Option("--key", envvar="LANKA_OPERATOR_KEY", help="An operator's API key, beside --api.")
]


def where_to(api: str | None, key: str | None, home: Path) -> tuple[str, str]:
    """The API and the key."""
    if api is None:
        connection = running(home)
        return connection.api, key or connection.keys["operator"]
    if key is None:
        raise typer.BadParameter("--api needs --key, or LANKA_OPERATOR_KEY")
    return api.rstrip("/"), key


def call(
    method: str,
    path: str,
    where: tuple[str, str],
    *,
    params: dict[str, Any] | None = None,
    body: dict[str, Any] | None = None,
) -> Any:
    """The answer; ends the command where there is none, or a problem."""
    import httpx  # noqa: PLC0415  # heavy

    api, key = where
    url = f"{api}/operations{path}"
    headers = {"Authorization": f"Bearer {key}"}
    try:
        answer = httpx.request(method, url, params=params, json=body, headers=headers, timeout=60)
    except (httpx.TransportError, httpx.InvalidURL) as error:
        fail(f"{api} does not answer: {error}")
    if answer.is_success:
        return answer.json()
    try:
        problem = answer.json()
        fail(f"{problem['detail']} ({problem['code']})")
    except (json.JSONDecodeError, KeyError, TypeError):
        fail(f"{url} answered {answer.status_code}: {answer.text[:200]}")
