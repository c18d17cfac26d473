"""Every setting of Lanka: type, range, default and a sentence. Read from the environment here and nowhere else.

`load_settings` is for the roots (`worker.py`, `api/app.py`, the commands), which hand on what each part needs.
`docs/settings.md` is made from this module.
"""

import difflib
import os
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import fields
from importlib import import_module
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Self, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, WithJsonSchema, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from temporalio.envconfig import ClientConfig

S = TypeVar("S", bound=BaseSettings)
P = TypeVar("P")

TESTS_ONLY = {"LANKA_FAIL_POINT", "LANKA_FAIL_ONCE", "LANKA_SCREENSHOTS"}
"""What the test suite sets: see store/failpoints.py and tests/browser."""

_READ = ("LANKA_", "DATABASE_URL", "TEMPORAL_", "SANDBOX_", "OTEL_", "PG")

# Kubernetes tells every container of the Services beside it. One that is called `lanka-api` has these names.
_SERVICES = re.compile(r"\w+_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)")
_SERVICES_ADDRESS = re.compile(r"(tcp|udp|sctp)://")


# ---- what a value may be -----------------------------------------------------------------------------------------


def _between(low: float, high: float) -> Any:
    return Field(ge=low, le=high)


def _text(pattern: str, kind: str) -> tuple[Any, Any]:
    """`kind` completes the sentence "... is needed"."""

    def checked(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"{kind} is needed")
        return value

    return AfterValidator(checked), WithJsonSchema({"type": "string", "kind": kind})


def _listed(names: object) -> object:
    return tuple(filter(None, map(str.strip, names.split(",")))) if isinstance(names, str) else names


Port = Annotated[int, _between(0, 65_535)]
Url = Annotated[
    str,
    *_text(
        r"https?://(\[[0-9a-fA-F:.]+\]|[^\s:/@\[\]]+)(:\d{1,5})?(/\S*)?", "an address such as http://127.0.0.1:8090"
    ),
]
_HOST = r"(\[[0-9a-fA-F:.%]+\]|[^\s:/?\[\],]*)(:\d{1,5})?"
DatabaseUrl = Annotated[
    str,
    *_text(
        rf"postgres(ql)?://([^\s/?]*@)?{_HOST}(,{_HOST})*(/[^\s?]*)?(\?[^\s=]+=\S*)?",
        "an address such as postgresql://user:password@host:5432/database",
    ),
]
HostAndPort = Annotated[str, *_text(r"(\[[0-9a-fA-F:.]+\]|[^\s:/\[\]]+):\d{1,5}", "host:port")]
WebhookSecret = Annotated[str, *_text(r"whsec_[A-Za-z0-9+/]{22,}={0,2}", "`whsec_` and at least 16 bytes as base64")]
LinkSecret = Annotated[str, *_text(r"[!-~]{16,}", "a text of at least 16 printable characters")]
Host = Annotated[str, *_text(r"[^\s/:@]+|[0-9a-fA-F:.%]+", "a host's name or address")]
ApiKey = Annotated[str, *_text(r"[!-~]{8,}", "a key of at least 8 printable characters")]


def _networks(names: object) -> object:
    try:
        return tuple(map(ip_network, names)) if isinstance(names := _listed(names), tuple) else names
    except ValueError as error:
        raise ValueError(f"{error}; addresses or networks such as 10.0.0.0/8 are needed, divided by commas") from None


Networks = Annotated[
    tuple[IPv4Network | IPv6Network, ...],
    NoDecode,
    BeforeValidator(_networks),
    WithJsonSchema({"kind": "addresses or networks, by commas"}),
]


def _chains(names: tuple[str, ...]) -> tuple[str, ...]:
    if names:
        from workflows.chains import problems  # noqa: PLC0415, as below

        if problems:
            raise ValueError("; ".join(problems))
    return names


def _providers(names: tuple[str, ...]) -> tuple[str, ...]:
    from gateways.choice import adapters  # noqa: PLC0415, what they need to call others is heavy

    if unknown := set(names) - set(there := adapters()):
        raise ValueError(f"there is no provider {', '.join(sorted(unknown))}; there are: {', '.join(there)}")
    return names or ("sandbox",)


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed), WithJsonSchema({"kind": "names, by commas"})]
ChainModules = Annotated[Names, AfterValidator(_chains)]
Providers = Annotated[Names, AfterValidator(_providers)]


# ---- the settings ------------------------------------------------------------------------------------------------


class Settings(BaseSettings):
    """A field is a variable: `batch_size` is LANKA_BATCH_SIZE. Whatever must not be shown has `repr=False`."""

    model_config = SettingsConfigDict(
        env_prefix="LANKA_",
        env_ignore_empty=True,
        frozen=True,
        str_strip_whitespace=True,
        use_attribute_docstrings=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _without_services(cls, given: dict[str, Any]) -> dict[str, Any]:
        """LANKA_API_PORT=tcp://10.0.0.1:8000 comes from a Service called `lanka-api`, and says nothing to us."""
        return {name: value for name, value in given.items() if not _SERVICES_ADDRESS.match(str(value))}

    def of(self, part: type[P]) -> P:
        """What `part`, a dataclass beside the code that needs it, has fields for."""
        return part(**{field.name: getattr(self, field.name) for field in fields(part)})  # type: ignore[arg-type]


class Servers(Settings):
    """Servers that run elsewhere."""

    database_url: Annotated[DatabaseUrl | None, Field(validation_alias="DATABASE_URL", repr=False)] = None
    """PostgreSQL 15 or newer, a direct connection (session features are used). Without it: what `lanka up` runs."""
    temporal_address: Annotated[HostAndPort | None, Field(validation_alias="TEMPORAL_ADDRESS")] = None
    """Temporal. Without it: what `lanka up` runs, or 127.0.0.1:7233. The rest is as Temporal's own clients read it."""
    clock_skew_seconds: Annotated[float, _between(0, 3600)] = 10.0
    """How far this host's clock may be from PostgreSQL's before API and worker say that they are not ready."""

    @model_validator(mode="after")
    def _temporals_profile_can_be_read(self) -> Self:
        """Not where the embedded one is used: then nobody reads it."""
        if self.temporal_address or isinstance(self, Database):
            try:
                ClientConfig.load_client_connect_config()
            except (RuntimeError, OSError) as error:
                said = " ".join(str(error).split())
                raise ValueError(f"Temporal's own settings (TEMPORAL_..., profile): {said}") from None
        return self


class Database(Servers):
    """PostgreSQL has to be named."""

    database_url: Annotated[DatabaseUrl, Field(validation_alias="DATABASE_URL", repr=False)]


class Chains(Settings):
    """Chains of other packages."""

    chains: ChainModules = ()
    """Modules of chains from other packages, divided by commas, for every part of Lanka. See docs/a-new-chain.md."""


class Payments(Settings):
    """Payment providers."""

    payments: Providers = ("sandbox",)
    """The payment providers by name, divided by commas; the first takes new orders. Each is a file of `gateways/`."""
    payments_url: Url | None = None
    """The sandbox provider. The worker's default is http://127.0.0.1:8090; the API needs it for the demo shop only."""
    webhook_secret: Annotated[WebhookSecret | None, Field(repr=False)] = None
    """With which the sandbox provider signs its webhooks; without it they are refused."""


class Dispatch(Settings):
    """How subjects gather in batches, and how many may wait."""

    batch_size: Annotated[int, _between(1, 100)] = 100
    """Subjects in one batch at most; 1 keeps one history per order. The ids of 100 fit into one search attribute."""
    batch_bytes: Annotated[int, _between(1, 1_500_000)] = 500_000
    """JSON in one batch, about. A Temporal payload may have 2 MiB, one gRPC message 4 MiB."""
    # 20 confirm a tenth more orders/s than 4 where each goes alone, and more than that gain nothing.
    batches: Annotated[int, _between(1, 10_000)] = Field(
        default_factory=lambda given: 20 if given.get("batch_size") == 1 else 4
    )
    """Batches on the way at once: 4 by default, 20 where LANKA_BATCH_SIZE is 1."""
    gather_seconds: Annotated[float, _between(0, 3600)] = 0.25
    """How long a batch that is not full waits at most for one on the way to end."""
    lost_after_seconds: Annotated[float, _between(0.1, 86_400)] = 30.0
    """How long a workflow is under way before the API looks whether Temporal still has it, and between two looks."""
    backlog: Annotated[int, _between(1, 10_000_000)] = 10_000
    """Subjects that may wait for the dispatcher; then `POST /orders` and `POST /events` are refused."""
    backlog_seconds: Annotated[float, _between(0.1, 31_536_000)] = 900.0
    """How long the oldest of them may have waited before new ones are refused."""


class Edge(Settings):
    """The API and its pages."""

    api_host: Host = "127.0.0.1"
    """Address on which `lanka api` listens."""
    api_port: Port = 8000
    """Port on which `lanka api` listens; 0 takes a free one."""
    public_url: Url | None = None
    """Where browsers reach the API: pages from there may send changes, and the Temporal Web UI links to the console."""
    temporal_ui: Url | None = None
    """Where the Temporal Web UI is, for links from the console. `lanka up` sets it."""
    trace_url: Url | None = None
    """Where a trace is shown, with `{trace_id}` in it, for links from the console."""
    link_secret: Annotated[LinkSecret | None, Field(repr=False)] = None
    """Signs the links by which an order is read on another device; without it there are none. `lanka up` makes it."""
    max_body_bytes: Annotated[int, _between(1024, 16_777_216)] = 65_536
    """Largest request body."""
    connections_per_address: Annotated[int, _between(1, 1_000_000)] = 1_000
    """Connections from one address at once; at most a quarter of all that the file limit allows. IPv6 counts by /64."""
    streams_per_caller: Annotated[int, _between(1, 1_000_000)] = 900
    """Live streams at once of one key or session, and from one address."""
    trusted_proxies: Networks = ()
    """Proxies whose X-Forwarded-For, -Proto and -Host are believed; the client that they name is counted instead."""


class Work(Settings):
    """The worker."""

    worker_host: Host = "127.0.0.1"
    """Address of the worker's probes and `/metrics`."""
    worker_port: Port = 8001
    """Port of the worker's probes and `/metrics`; 0 takes a free one. `lanka up` chooses it."""
    connections: Annotated[int, _between(1, 1000)] = 10
    """PostgreSQL connections of one worker process."""
    payment_deadline_seconds: Annotated[int, _between(1, 2_592_000)] = 900
    """How long an order waits for a pending payment."""
    price_tolerance_basis_points: Annotated[int, _between(0, 10_000)] = 0
    """How far a price may have moved from what the customer saw; 100 are 1 %."""
    # So that a provider which comes back is not hit by everybody at once. Where workers differ, the last decides.
    provider_batches_per_second: Annotated[float, _between(0.01, 100_000)] = 100.0
    """Batches that Temporal gives out on each queue with calls to the provider, to all workers together."""


class Terminal(Settings):
    """The commands of `lanka`."""

    home: Path = Path(".lanka")
    """The directory that holds all data of this machine."""
    shop_key: Annotated[ApiKey | None, Field(repr=False)] = None
    """An API key for shops, which `lanka seed` stores."""
    operator_key: Annotated[ApiKey | None, Field(repr=False)] = None
    """An operator's API key: `lanka seed` stores it, and commands with `--api` use it."""


GROUPS: tuple[type[Settings], ...] = (Servers, Chains, Payments, Dispatch, Edge, Work, Terminal)


class ApiSettings(Database, Chains, Payments, Dispatch, Edge): ...


class WorkerSettings(Database, Chains, Payments, Work): ...


class Seed(Servers, Terminal): ...


class Reconciliation(Servers, Chains, Payments): ...


# ---- reading them ------------------------------------------------------------------------------------------------


def load_settings(wanted: type[S], *others: type[BaseSettings], **instead: Any) -> S:
    """What the environment says. Where that is wrong, for `others` as well, it ends the program with a line each.

    `instead`: what an option of the command says, by the field's name; None where it says nothing.
    """
    given = {str(wanted.model_fields[name].validation_alias or name): v for name, v in instead.items() if v is not None}
    if lines := what_is_wrong(wanted, *others, **given):
        for line in lines:
            print(f"lanka: {line}", file=sys.stderr)  # noqa: T201, also for roots that have no terminal's library
        raise SystemExit(2)
    return wanted(**given)


def what_is_wrong(wanted: type[BaseSettings], *others: type[BaseSettings], **given: Any) -> list[str]:
    """A line for each setting that cannot be, and for each that nobody reads."""
    _tidy()
    lines = {*_wrong(wanted, **given), *_unknown()}
    for settings in (*others, *_declared(wanted, *others)):
        lines |= {*_wrong(settings)}
    return sorted(lines)


def forget_other_servers() -> None:
    """PGSSLMODE and the like are about somebody's own PostgreSQL: they would mislead whoever calls the embedded one."""
    for name in [name for name in os.environ if name.startswith("PG")]:
        del os.environ[name]


def _tidy() -> None:
    """Empty means not set, also for those who read by themselves; and nothing on this machine is behind a proxy."""
    for name in [name for name, value in os.environ.items() if name.startswith(_READ) and not value.strip()]:
        del os.environ[name]
    for name in ("no_proxy", "NO_PROXY"):
        others = os.environ.get(name, "")
        if "127.0.0.1" not in others and others != "*":
            os.environ[name] = ",".join(filter(None, [others, "localhost,127.0.0.1,::1"]))


def _wrong(settings: type[BaseSettings], **given: Any) -> Iterator[str]:
    try:
        settings(**given)
    except ValidationError as error:
        for each in error.errors():
            if not each["loc"]:
                yield _reason(each["msg"])
            elif each["type"] != "default_factory_not_called":  # something else is wrong
                yield _line(settings, str(each["loc"][0]), each)


def _declared(*wanted: type[BaseSettings]) -> Iterator[type[BaseSettings]]:
    """What the chains and the payment providers that are chosen read by themselves: their module's `Settings`."""
    with suppress(ValidationError):  # which is told anyway
        if any(issubclass(each, Chains) for each in wanted):
            for name in Chains().chains:
                yield from declared_in(import_module(name))
    with suppress(ValidationError):
        if any(issubclass(each, Payments) for each in wanted):
            for name in Payments().payments:
                yield from declared_in(import_module(f"gateways.{name}"))


def declared_in(module: ModuleType) -> Iterator[type[BaseSettings]]:
    """The `Settings` that a chain's package or a payment provider's module may bring."""
    found = vars(module).get("Settings")
    if isinstance(found, type) and issubclass(found, BaseSettings):
        yield found


def _unknown() -> Iterator[str]:
    """The variables of our prefix that nobody reads."""
    ours = {variable(group, name) for group in GROUPS for name in group.model_fields} | TESTS_ONLY
    for name in sorted(name for name in os.environ.keys() - ours if name.startswith("LANKA_")):
        of_kubernetes = _SERVICES.fullmatch(name) or _SERVICES_ADDRESS.match(os.environ[name])
        if not of_kubernetes and name not in (known := ours | _theirs()):
            close = difflib.get_close_matches(name, known, n=1)
            yield f"{name}: there is no such setting" + (f"; did you mean {close[0]}?" if close else "")


def _theirs() -> set[str]:
    """What chains and payment providers read, also those that are not chosen."""
    from gateways.choice import adapters  # noqa: PLC0415, heavy
    from workflows.chains import modules  # noqa: PLC0415, heavy

    declared = [each for module in (*modules(), *adapters().values()) for each in declared_in(module)]
    return {variable(settings, name) for settings in declared for name in settings.model_fields}


# ---- in words ----------------------------------------------------------------------------------------------------


def variable(settings: type[BaseSettings], name: str) -> str:
    """What the field `name` is called in the environment. An error may bring its alias instead."""
    field = settings.model_fields.get(name)
    alias = field.validation_alias if field else name
    return str(alias or settings.model_config.get("env_prefix", "") + name).upper()


def kind(settings: type[BaseSettings], name: str) -> str:
    """What a field may hold."""
    schema = settings.model_json_schema(by_alias=False)["properties"][name]
    schema = schema.get("anyOf", [schema])[0]
    if "kind" in schema:
        return str(schema["kind"])
    words = {"integer": "a whole number", "number": "a number", "boolean": "true or false"}
    word = words.get(schema.get("type"), "a text")
    return f"{word} from {schema['minimum']} to {schema['maximum']}" if "minimum" in schema else word


def _line(settings: type[BaseSettings], place: str, error: Any) -> str:
    called = variable(settings, place)
    (name,) = [name for name in settings.model_fields if variable(settings, name) == called]
    needed = f"{kind(settings, name)} is needed"
    if error["type"] == "missing":
        return f"{called} is not set: {needed}"
    held = f"={error['input']}" if settings.model_fields[name].repr else ""
    return f"{called}{held}: {_reason(error['msg']) if error['type'] == 'value_error' else needed}"


def _reason(message: str) -> str:
    return message.removeprefix("Value error, ")
