"""What the commands have in common: the home, what runs in it, APIs, and how a command fails."""
# ruff: noqa: PLC0415  # heavy imports stand inside, so that --help is quick

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

import typer
from typer.core import TyperGroup

from chain.failures import LankaError
from lanka.output import harmless, make_safe, say, without_colour

if TYPE_CHECKING:
    import httpx

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

LimitOption = Annotated[int, typer.Option("--limit", min=1, max=1000, help="How many are shown at most.")]
CursorOption = Annotated[str | None, typer.Option(help="Shows those that follow, as the list before has said.")]
JsonOption = Annotated[bool, typer.Option("--json", help="As the API has it: one JSON document, and nothing else.")]


class NotDoneError(LankaError):
    """Why a command ends with this exit code, in a sentence for the person at the terminal."""

    def __init__(self, reason: object, code: int = 1) -> None:
        super().__init__(reason)
        self.code = code


class AwayError(NotDoneError):
    """Nobody answers, or somebody who cannot just now."""


class NotFoundError(NotDoneError):
    """There is no such thing."""


class Commands(TyperGroup):
    """Whatever Lanka raises on purpose ends a command with a sentence."""

    def main(self, *args: Any, **more: Any) -> Any:
        make_safe(os.environ)
        return super().main(*args, **more)

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]
        if without_colour(os.environ):
            ctx.color = False
        try:
            return super().invoke(ctx)
        except LankaError as error:
            reason = harmless(f"lanka: {error}")
            say(typer.style(reason, fg="red"), error=True)
            raise typer.Exit(getattr(error, "code", 1)) from None


class Page(NamedTuple):
    """Part of a list: `total` is how many there are, if somebody has counted them; `cursor` asks for the next part."""

    rows: list[dict[str, Any]]
    total: int | None
    cursor: str | None

    def tell_what_follows(self) -> None:
        """On stderr, if anything does."""
        if self.cursor:
            counted = f"{self.total} match, {len(self.rows)} shown" if self.total else "more follow"
            say(f"{counted}: --limit, or --cursor {self.cursor}", error=True)


class Api:
    """What answers in JSON at `url`. Its calls raise `NotDoneError` for a problem, and `AwayError`."""

    def __init__(self, url: str, key: str | None = None) -> None:
        import httpx

        self._url = url.rstrip("/")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        try:
            # Nothing on this machine is behind a proxy.
            here = httpx.URL(url).host in {"127.0.0.1", "localhost", "::1"}
            self._client = httpx.Client(headers=headers, timeout=60, trust_env=not here)
        except (httpx.InvalidURL, ImportError, OSError, ValueError) as error:
            raise NotDoneError(
                f"{url} cannot be called as the environment wants it (proxies, certificates): {error}"
            ) from error

    def call(self, method: str, path: str, **more: Any) -> Any:
        """`more`: as for httpx."""
        return self._answer(method, path, **more).json()

    def page(self, path: str, wanted: dict[str, Any], cursor: str | None) -> Page:
        answer = self._answer("GET", path, params=wanted | ({"cursor": cursor} if cursor else {}))
        rows = answer.json()
        following = answer.links.get("next", {}).get("url")
        after = dict(parse_qsl(urlsplit(following).query)).get("cursor") if following else None
        total = answer.headers.get("Total-Count")
        return Page(rows, int(total) if total else None, after)

    def _answer(self, method: str, path: str, **more: Any) -> "httpx.Response":
        import httpx

        url = self._url + path
        try:
            answer = self._client.request(method, url, **more)
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise AwayError(f"{self._url} does not answer: {error}") from error
        if answer.is_success:
            return answer
        try:
            problem = answer.json()
            said = f"{problem['detail']} ({problem['code']})"
        except (ValueError, KeyError, TypeError):
            said = f"{url} answered {answer.status_code}: {answer.text[:200]}"
        if answer.status_code == httpx.codes.NOT_FOUND:
            raise NotFoundError(said)
        raise (AwayError if answer.is_server_error else NotDoneError)(said)


def running(home: Path, code: int = 1) -> "Connection":
    """How to reach what `lanka up` runs in this home. Raises `NotDoneError` with `code` where nothing runs."""
    from lanka.home import Home
    from lanka.settings import forget_other_servers

    connection = Home(home).connection()
    if connection is None:
        raise NotDoneError(
            f"nothing is running in {home.absolute()}: start `lanka up` first, or name another --home", code
        )
    if "postgres" in connection.pids:
        forget_other_servers()
    return connection


def operators_api(api: str | None, key: str | None, home: Path) -> Api:
    if api is None:
        connection = running(home)
        return Api(connection.api, key or connection.keys["operator"])
    if key is None:
        raise typer.BadParameter("--api needs --key, or LANKA_OPERATOR_KEY")
    return Api(api, key)
