"""Nothing is decided about many by an accident at the terminal."""

import pytest
from typer.testing import CliRunner

from lanka.commands import app


@pytest.mark.parametrize("verb", ["release", "reject"])
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([""], "the ID is empty"),
        ([" "], "the ID is empty"),
        ([], "or say --all"),
        (["--rate", "1"], "or say --all"),
        (["01order", "--all"], "one order needs none"),
        (["01order", "--link", "payment"], "one order needs none"),
        (["", "--link", "payment"], "one order needs none"),
    ],
)
def test_many_are_only_decided_where_somebody_has_chosen_them(verb: str, given: list[str], said: str) -> None:
    run = CliRunner().invoke(
        app, ["parked", verb, *given, "--why", "x", "--api", "http://127.0.0.1:9", "--key", "k" * 8]
    )
    assert run.exit_code == 2
    assert said in " ".join(run.output.replace("│", " ").split())
