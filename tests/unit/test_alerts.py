"""The alerts: each has a test and a section for whoever is woken by it; the dashboard's questions can be asked."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.alerts import DASHBOARD, ROOT, RULES, RULES_FILE, TESTS_FILE, panels, with_prometheus

OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
SECTIONS = dict(re.findall(r"^### (\w+)\n(.*?)(?=^##|\Z)", OPERATIONS, re.MULTILINE | re.DOTALL))
NAMES = [rule["alert"] for rule in RULES]


def promtool(*args: str | Path) -> None:
    done = subprocess.run(["promtool", *args], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("rule", RULES, ids=NAMES)
def test_each_alert_names_its_section_with_cause_check_and_mend(rule: dict[str, Any]) -> None:
    name = rule["alert"]
    assert rule["annotations"]["runbook"] == f"docs/operations.md#{name.lower()}"
    assert rule["annotations"]["summary"].endswith(".")
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert re.findall(r"^- \*\*(\w+)\*\*: \S", SECTIONS[name], re.MULTILINE) == ["Cause", "Check", "Mend"]


def test_no_section_is_about_an_alert_that_is_gone() -> None:
    assert sorted(name for name in SECTIONS if name.startswith("Lanka")) == sorted(NAMES)


def test_each_alert_is_seen_to_fire_and_to_be_silent() -> None:
    cases = [case for test in yaml.safe_load(TESTS_FILE.read_text())["tests"] for case in test["alert_rule_test"]]

    assert {case["alertname"] for case in cases if case["exp_alerts"]} == set(NAMES)
    assert {case["alertname"] for case in cases if not case["exp_alerts"]} == set(NAMES)


@with_prometheus
def test_the_rules_fire_as_their_tests_say() -> None:
    promtool("check", "rules", RULES_FILE)
    promtool("test", "rules", TESTS_FILE)


@with_prometheus
@pytest.mark.parametrize("name", ["prometheus.yml", "local.yml"])
def test_prometheus_reads_its_settings(name: str) -> None:
    promtool("check", "config", RULES_FILE.with_name(name))


@with_prometheus
def test_prometheus_understands_every_panel_of_the_dashboard(tmp_path: Path) -> None:
    asked = [{"record": f"panel:{nth}", "expr": expr} for nth, (_, expr) in enumerate(panels())]
    rules = tmp_path / "panels.yml"
    rules.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": asked}]}))

    promtool("check", "rules", rules)


def test_the_panels_of_the_dashboard_stand_side_by_side() -> None:
    places = [
        (x, y)
        for panel in DASHBOARD["panels"]
        for at in [panel["gridPos"]]
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(places) == len(set(places))
    assert max(x for x, _ in places) < 24
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
