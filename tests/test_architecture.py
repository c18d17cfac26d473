"""Who imports whom, and what things are called."""

import subprocess
import sysconfig
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

NAMED_FOR_NOTHING = {"utils", "util", "helpers", "helper", "common", "manager", "service", "base"}
"""Words that say nothing about what is inside; see the glossary."""


def lint_imports(root: Path) -> subprocess.CompletedProcess[str]:
    linter = Path(sysconfig.get_path("scripts")) / "lint-imports"
    return subprocess.run([linter, "--no-cache"], cwd=root, capture_output=True, text=True, check=False)


def sources() -> Iterator[Path]:
    """The Python files of the project, from its root."""
    configured = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]
    yield from (Path(f"{module}.py") for module in configured["modules"])
    for package in configured["packages"]:
        yield from (path.relative_to(ROOT) for path in (ROOT / package).rglob("*.py"))


def words(source: Path) -> set[str]:
    return {word for part in source.with_suffix("").parts for word in part.lower().split("_")}


def test_everybody_imports_only_whom_they_may() -> None:
    linted = lint_imports(ROOT)

    assert linted.returncode == 0, linted.stdout
    assert " 0 broken" in linted.stdout


def test_everything_has_a_name_of_the_glossary() -> None:
    assert [str(source) for source in sources() if words(source) & NAMED_FOR_NOTHING] == []


@pytest.mark.parametrize("name", ["store/utils.py", "orders/price_helpers.py", "common/__init__.py"])
def test_a_name_that_says_nothing_is_noticed(name: str) -> None:
    assert words(Path(name)) & NAMED_FOR_NOTHING
