"""`docs/settings.md`, made from the settings themselves."""

from typing import Any

from pydantic_settings import BaseSettings

from gateways.choice import adapters
from lanka.settings import GROUPS, declared_in, kind, variable
from sandbox.settings import Settings as Sandbox

INTRODUCTION = """\
# Settings

Made by `lanka settings`; do not edit. All come from the environment, and each is read once, when a program starts.

- Empty means not set. An option of a command stands for its variable.
- What is wrong ends the start with exit code 2 and a line for each, all at once; `lanka up` looks at those of all its
  parts first. Secrets are never shown.
- An unknown name that begins with `LANKA_` is wrong too. Not what Kubernetes says of a Service called `lanka-...`
  (`LANKA_API_SERVICE_HOST`, `LANKA_API_PORT=tcp://10.0.0.1:8000`), nor what a [chain](a-new-chain.md) or a payment
  provider declares.
- `LANKA_FAIL_POINT`, `LANKA_FAIL_ONCE` and `LANKA_SCREENSHOTS` are the test suite's.
"""

LIBRARIES = """\
## What libraries read

- `TEMPORAL_NAMESPACE`, `TEMPORAL_API_KEY`, `TEMPORAL_TLS`, `TEMPORAL_TLS_...`, `TEMPORAL_PROFILE`,
  `TEMPORAL_CONFIG_FILE`: as Temporal's own clients read them, with its profile. Not where `lanka up` runs Temporal.
- `OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_SERVICE_NAME`, `OTEL_TRACES_SAMPLER`, `OTEL_...`: where [traces](telemetry.md) go
  to, and how; without an endpoint there are none.
- `PGSSLMODE`, `PGPASSFILE`, `PGTARGETSESSIONATTRS`, `PG...`: what `DATABASE_URL` leaves open, as PostgreSQL's clients
  read it. Not where `lanka up` runs PostgreSQL.
- `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`, `SSL_CERT_FILE`, `SSL_CERT_DIR`: for commands with `--api`, and
  on the way to a collector of traces. Nothing on this machine is behind a proxy, and the sandbox provider never is.
- `WEB_CONCURRENCY`, `FORWARDED_ALLOW_IPS`, `UVICORN_...`: not read. For more processes start `lanka api` several times;
  proxies are named in `LANKA_TRUSTED_PROXIES`.
- `TZ`, `LANG`, `LC_ALL`: change nothing. Times are UTC, texts are UTF-8 unless the terminal wants ASCII.
"""


def page() -> str:
    groups: list[type[BaseSettings]] = [*GROUPS, Sandbox]
    for module in adapters().values():
        groups.extend(declared_in(module))
    return "\n".join([INTRODUCTION, *map(_section, groups), LIBRARIES])


def _section(settings: type[BaseSettings]) -> str:
    title = (settings.__doc__ or settings.__module__).partition("\n")[0].rstrip(".")
    rows = [_row(settings, name) for name in settings.model_fields]
    return "\n".join([f"## {title}", "", "| variable | default | holds | meaning |", "|---|---|---|---|", *rows, ""])


def _row(settings: type[BaseSettings], name: str) -> str:
    field = settings.model_fields[name]
    cells = [f"`{variable(settings, name)}`", _default(field.default), kind(settings, name), str(field.description)]
    return f"| {' | '.join(cells)} |"


def _default(value: Any) -> str:
    """Nothing where there is none, or where it depends."""
    shown = ",".join(value) if isinstance(value, tuple) else f"{value:g}" if isinstance(value, float) else str(value)
    return f"`{shown}`" if shown and shown not in {"None", "PydanticUndefined"} else ""
