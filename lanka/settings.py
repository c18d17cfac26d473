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
        wrong = (f"{'.'.join(map(str, each['loc'])).upper()}: {each['msg'].lower()}" for each in error.errors())
        raise typer.BadParameter(f"the environment is not complete: {'; '.join(wrong)}") from None
