"""The alerts and the dashboard, as they stand in deploy/."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
RULES_FILE = ROOT / "deploy" / "prometheus" / "rules.yml"
TESTS_FILE = ROOT / "deploy" / "prometheus" / "rules_test.yml"
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load(RULES_FILE.read_text())["groups"] for rule in group["rules"]
]
DASHBOARD: dict[str, Any] = json.loads((ROOT / "deploy" / "grafana" / "dashboard.json").read_text())

with_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None or shutil.which("promtool") is None,
    reason="there is no Prometheus on this machine: apt-get install prometheus",
)


def panels() -> Iterator[tuple[str, str]]:
    """Title and expression of everything that the dashboard shows, as Prometheus gets it."""
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"].replace("$__rate_interval", "1m")


def asked() -> dict[str, set[str]]:
    """The metrics that alerts and dashboard ask for, each with the labels that they look at in its selectors."""
    found: dict[str, set[str]] = {}
    for expression in (*(rule["expr"] for rule in RULES), *(each for _, each in panels())):
        for name, selector in re.findall(r"\b((?:lanka|temporal|process)_[a-z_]+)(?:\{([^}]*)\})?", expression):
            found.setdefault(name, set()).update(re.findall(r"([a-z_]+)\s*(?:=|!|~)", re.sub(r'"[^"]*"', "", selector)))
    return found
