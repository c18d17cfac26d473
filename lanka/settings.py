"""Settings from the environment: what is wrong with them is told to the person who starts the program."""

from typing import TypeVar

import typer
from pydantic import ValidationError
from pydantic_settings import BaseSettings

S = TypeVar("S", bound=BaseSettings)


def load_settings(settings: type[S]) -> S:
    """The settings as the environment has them. Raises `typer.BadParameter` where they cannot be."""
    try:
        return settings()
    except ValidationError as error:
        wrong = (f"{_variable(settings, str(each['loc'][0]))}: {_reason(each['msg'])}" for each in error.errors())
        raise typer.BadParameter(f"the environment is not complete: {'; '.join(wrong)}") from None


def _variable(settings: type[BaseSettings], place: str) -> str:
    """A field that has a name of its own in the environment is told by that."""
    return (settings.model_config.get("env_prefix", "") + place if place in settings.model_fields else place).upper()


def _reason(message: str) -> str:
    message = message.removeprefix("Value error, ")
    return message[:1].lower() + message[1:]
