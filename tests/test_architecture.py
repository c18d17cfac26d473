"""Who imports whom, and what things are called."""

import re
import subprocess
import sysconfig
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from workflows.chains import CHAINS

ROOT = Path(__file__).parent.parent

CODE = {".py", ".js", ".mjs", ".css", ".html", ".sql", ".yml", ".yaml", ".toml"}
NO_PRODUCT = {"tests", "docs", "benchmarks"}

NAMES_OF_LINKS = [
    "check_price|CheckPrice|PriceChanged|PriceConfirmed|price_changed",
    "check_cart|CheckCart|CartUnavailable|StockReserved|out_of_stock",
]
"""What belongs to one link: its consumer, its events, its reason."""

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


def product_files() -> Iterator[Path]:
    """Whatever is shipped and may know something: not the tests, the documents and the benchmarks."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for path in map(Path, listed.stdout.splitlines()):
        if path.suffix in CODE and path.parts[0] not in NO_PRODUCT and (ROOT / path).exists():
            yield path


def named_in(pattern: str, files: Iterable[Path]) -> list[str]:
    return [str(path) for path in files if re.search(pattern, (ROOT / path).read_text())]


def test_everybody_imports_only_whom_they_may() -> None:
    linted = lint_imports(ROOT)

    assert linted.returncode == 0, linted.stdout
    assert " 0 broken" in linted.stdout


def test_everything_has_a_name_of_the_glossary() -> None:
    assert [str(source) for source in sources() if words(source) & NAMED_FOR_NOTHING] == []


@pytest.mark.parametrize("names", NAMES_OF_LINKS)
def test_a_link_is_named_in_five_files_at_most(names: str) -> None:
    found = named_in(names, product_files())

    assert "workflows/order_confirmation.py" in found
    assert len(found) <= 5, found


def test_the_api_names_no_link_and_no_event() -> None:
    table = CHAINS["orders"].table
    links = "|".join(sorted(link.name for link in table.links if link is not table.note))
    events = "|".join(event.__name__ for event in table.events)
    literals = rf"""(?<![\w/])["'](?:{links})["']|\b(?:{events})\b"""

    # What is parked is rejected or released at these paths, also where some chain has a link of that name.
    assert [each for each in literals_in("api", literals) if each not in ('"reject"', '"release"')] == []


def literals_in(package: str, pattern: str) -> list[str]:
    return [found for path in (ROOT / package).glob("*.py") for found in re.findall(pattern, path.read_text())]


@pytest.mark.parametrize("name", ["store/utils.py", "orders/price_helpers.py", "common/__init__.py"])
def test_a_name_that_says_nothing_is_noticed(name: str) -> None:
    assert words(Path(name)) & NAMED_FOR_NOTHING
