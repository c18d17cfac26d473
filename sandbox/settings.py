"""The sandbox provider's settings, from the environment."""

import re
import sys
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """The sandbox provider, `python -m sandbox`. `lanka up` sets all of them."""

    model_config = SettingsConfigDict(
        env_prefix="SANDBOX_", env_ignore_empty=True, frozen=True, use_attribute_docstrings=True
    )

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: Annotated[int, Field(ge=0, le=65_535)] = 8090
    """Port to listen on; 0 takes a free one."""
    database: Path = Path("sandbox.db")
    """The file that keeps the payments."""
    webhook_url: Annotated[str | None, Field(pattern=r"^https?://[^\s/]+(/\S*)?$")] = None
    """Where decided payments are told, such as `http://127.0.0.1:8000/webhooks/sandbox`; without it nowhere."""
    webhook_secret: Annotated[str | None, Field(pattern=r"^whsec_[A-Za-z0-9+/]{22,}={0,2}$", repr=False)] = None
    """With which they are signed: `whsec_` and at least 16 bytes as base64."""

    @model_validator(mode="before")
    @classmethod
    def _without_services(cls, given: dict[str, Any]) -> dict[str, Any]:
        """SANDBOX_PORT=tcp://10.0.0.1:8090 is what Kubernetes says of a Service called `sandbox`."""
        return {name: value for name, value in given.items() if not re.match(r"(tcp|udp|sctp)://", str(value))}

    @model_validator(mode="after")
    def _webhooks_are_signed(self) -> Self:
        if self.webhook_url and not self.webhook_secret:
            raise ValueError("SANDBOX_WEBHOOK_URL needs SANDBOX_WEBHOOK_SECRET to sign with")
        return self


def load_settings() -> Settings:
    """Ends the program, with a line for each, where they are wrong."""
    try:
        return Settings()
    except ValidationError as error:
        for each in error.errors():
            name = str(each["loc"][0]) if each["loc"] else None
            held = f"={each['input']}" if name and Settings.model_fields[name].repr else ""
            said = f"SANDBOX_{name.upper()}{held}: {each['msg']}" if name else each["msg"].removeprefix("Value error, ")
            print(f"sandbox: {said}", file=sys.stderr)  # noqa: T201
        raise SystemExit(2) from None
