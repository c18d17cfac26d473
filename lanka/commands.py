"""The command line `lanka`. Heavy imports stand inside the commands, so that --help is quick."""
# ruff: noqa: PLC0415

import asyncio
import json
from typing import Annotated, Any

import typer

from lanka import parked, subjects
from lanka.output import say, show_json
from lanka.terminal import DEFAULT_HOME, ApiOption, Commands, HomeOption, JsonOption, KeyOption, operators_api, running

app = typer.Typer(
    name="lanka",
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _port(meaning: str) -> Any:
    return typer.Option(min=0, max=65_535, help=meaning)


DatabaseOption = Annotated[
    str | None,
    typer.Option(help="PostgreSQL, instead of DATABASE_URL; where neither is given, what `lanka up` runs."),
]


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        say(f"lanka {version('lanka')}")
        raise typer.Exit


@app.callback()
def lanka(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version, and nothing else.")
    ] = False,
) -> None:
    """Durable order confirmation: a chain of events from a click to a confirmed order.

    Exit codes: 0 done; 1 not done, and a line on stderr says why; 2 not understood, or it could not be looked.
    """


app.add_typer(parked.app)
app.command(name="show")(subjects.show_subject)
app.command()(subjects.find)
app.command()(subjects.cancel)
app.command()(subjects.refunds)


@app.command()
def up(
    home: HomeOption = DEFAULT_HOME,
    port: Annotated[int, _port("Port of the API; 0 picks a free one, here and below.")] = 8000,
    temporal_port: Annotated[int, _port("Port of Temporal (gRPC).")] = 7233,
    ui_port: Annotated[int, _port("Port of the Temporal Web UI.")] = 8233,
    payments_port: Annotated[int, _port("Port of the sandbox payment provider.")] = 8090,
    workers: Annotated[int, typer.Option(min=1, help="How many worker processes.")] = 1,
) -> None:
    """Run everything on this machine until Ctrl-C.

    PostgreSQL, Temporal with its Web UI, the sandbox payment provider, the API and the worker, with a demo
    shop. What dies is started again. The data stays in the home, and the next start continues every order.
    With DATABASE_URL or TEMPORAL_ADDRESS in the environment, those servers are used.
    """
    from lanka.parts import Ports
    from lanka.up import up as run

    run(home, Ports(api=port, temporal=temporal_port, temporal_ui=ui_port, payments=payments_port), workers)


@app.command()
def worker(
    queue: Annotated[list[str] | None, typer.Option(help="A task queue; several by repeating. Default: all.")] = None,
) -> None:
    """Run a worker: the router and the consumers. SIGTERM drains it."""
    from worker import main

    main(queue)


@app.command()
def api(
    host: Annotated[str | None, typer.Option(help="Address to listen on, instead of LANKA_API_HOST.")] = None,
    port: Annotated[int | None, _port("Port to listen on, instead of LANKA_API_PORT.")] = None,
) -> None:
    """Run the HTTP API with its dispatcher, as one process. Start several for more."""
    import uvicorn

    from api.app import bounded
    from lanka.settings import ApiSettings, load_settings

    settings = load_settings(ApiSettings, api_host=host, api_port=port)
    uvicorn.run(
        "api.app:create_app",
        factory=True,
        host=settings.api_host,
        port=settings.api_port,
        workers=1,  # WEB_CONCURRENCY is somebody else's
        http=bounded(settings).protocol,
        ws="none",
        proxy_headers=False,  # the edge believes those that are trusted
        access_log=False,
        log_config=None,
        timeout_graceful_shutdown=10,
    )


@app.command()
def migrate(database_url: DatabaseOption = None, home: HomeOption = DEFAULT_HOME) -> None:
    """Bring the database to the newest schema. Harmless to repeat."""
    from lanka.schemas import migrate as run
    from lanka.settings import Chains, Servers, load_settings

    settings = load_settings(Servers, Chains, database_url=database_url)
    typer.echo(asyncio.run(run(settings.database_url or running(home).database_url)))


@app.command()
def doctor(home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Look at everything that Lanka needs, and say how to mend what is wrong.

    Of the `lanka up` in this home if one runs, else of what DATABASE_URL and TEMPORAL_ADDRESS name.
    Exit code 0 when it can work, 1 when something is to be mended.
    """
    from dispatch.checks import first_failed
    from lanka.doctor import doctor as run
    from lanka.doctor import show_checks

    found = run(home)
    if as_json:
        show_json([check.model_dump(mode="json") for check in found])
    else:
        show_checks(found)
    if first_failed(found):
        raise typer.Exit(1)


@app.command()
def seed(
    skus: Annotated[int, typer.Option(min=1, help="How many products.")] = 20,
    stock: Annotated[int, typer.Option(min=0, help="How many of each are on hand.")] = 100_000,
    shop_key: Annotated[str | None, typer.Option(help="An API key for shops, instead of LANKA_SHOP_KEY.")] = None,
    operator_key: Annotated[str | None, typer.Option(help="For operators, instead of LANKA_OPERATOR_KEY.")] = None,
    database_url: DatabaseOption = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Fill the demo shop, and store the API keys where some are given. What is there already stays as it is."""
    from lanka.settings import Seed, load_settings
    from store.seed import seed as run

    settings = load_settings(Seed, database_url=database_url, shop_key=shop_key, operator_key=operator_key)
    given = {"shop": settings.shop_key, "operator": settings.operator_key}
    keys = {scope: key for scope, key in given.items() if key is not None}
    asyncio.run(run(settings.database_url or running(home).database_url, skus=skus, stock=stock, keys=keys))
    say(f"the first {skus} products of the demo shop are there, new ones with {stock} on hand")


@app.command()
def order(home: HomeOption = DEFAULT_HOME) -> None:
    """Submit a sample order to the Lanka that `lanka up` runs, and show each event until its end."""
    from rich.console import Console

    from lanka.sample_order import sample_order

    sample_order(running(home), Console())


@app.command()
def funnel(
    hours: Annotated[int, typer.Option(min=1, help="How many hours are counted, this one included.")] = 24,
    chain: Annotated[str, typer.Option(help="Of which chain.")] = "orders",
    as_json: JsonOption = False,
    api: ApiOption = None,
    key: KeyOption = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Show where the orders are now, link by link, and what became of those before."""
    from rich.console import Console

    from lanka.funnel import shown

    wanted = {"hours": hours, "chain": chain}
    answer = operators_api(api, key, home).call("GET", "/operations/funnel", params=wanted)
    if as_json:
        show_json(answer)
    else:
        Console().print(shown(answer, hours))


@app.command()
def reconcile(
    database_url: DatabaseOption = None,
    payments_url: Annotated[
        str | None,
        typer.Option(help="The provider, instead of LANKA_PAYMENTS_URL; without either, that of `lanka up`."),
    ] = None,
    grace: Annotated[float, typer.Option(min=0, help="What has changed within so many seconds is left out.")] = 60,
    as_json: JsonOption = False,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Compare provider, orders, journal and stock, and show where they do not agree.

    Exit code 0 when there is nothing to report, 1 when there is, 2 when it could not be done.
    """
    from lanka.reconcile import reconcile as run
    from lanka.reconcile import show_report
    from lanka.settings import Reconciliation, load_settings

    settings = load_settings(Reconciliation, database_url=database_url, payments_url=payments_url)
    database_url, payments_url = settings.database_url, settings.payments_url
    if not (database_url and payments_url):
        connection = running(home, code=2)
        database_url, payments_url = database_url or connection.database_url, payments_url or connection.payments
    report = asyncio.run(run(database_url, payments_url, grace))
    show_report(report, as_json=as_json)
    if report.total:
        raise typer.Exit(1)


@app.command()
def chains(
    name: Annotated[str | None, typer.Argument(help="One chain; all of them if none is named.")] = None,
    mermaid: Annotated[bool, typer.Option("--mermaid", help="As a picture in Mermaid's language.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show every chain, from its table: which consumer takes which event, and what comes of it.

    Those of LANKA_CHAINS as well.
    """
    from lanka import chains as pictures
    from workflows.chains import CHAINS

    if name is not None and name not in CHAINS:
        raise typer.BadParameter(f"no such chain: {name}; there are {', '.join(CHAINS)}")
    shown = {name: CHAINS[name]} if name else CHAINS
    if as_json:
        from api.chains import described

        answers = [described(name, chain.table, "en").model_dump(mode="json") for name, chain in shown.items()]
        show_json(answers[0] if name else answers)
        return
    say(
        "\n\n".join(pictures.mermaid(chain) if mermaid else pictures.text(name, chain) for name, chain in shown.items())
    )


@app.command()
def settings() -> None:
    """Print every setting with its range and default, in Markdown. `docs/settings.md` is made by it."""
    from lanka.settings_page import page

    typer.echo(page(), nl=False)


@app.command()
def asyncapi() -> None:
    """Print the AsyncAPI 3.0 document of all events and channels. `docs/asyncapi.json` is made by it."""
    from lanka.asyncapi import document

    say(json.dumps(document(), indent=2))
