"""Asks every route of a Lanka of its own for what the OpenAPI document allows and forbids: `python -m tests.fuzz`.

Schemathesis makes the requests, as an operator, a shop, a customer at a browser and nobody. No answer may be a 500, and
each has to be as the document describes it. Ends by itself; it talks to 127.0.0.1 only.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from tests.servers import HANGS_AFTER, process, until

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
ENDLESS = ["/operations/live"]


async def fuzz(seconds: int, seed: int | None) -> int:
    with tempfile.TemporaryDirectory(prefix="lanka-fuzz-") as directory:
        home = Path(directory) / "home"
        ports = [argument for part in ("", "temporal-", "ui-", "payments-") for argument in (f"--{part}port", "0")]
        command: list[str | Path] = [sys.executable, "-m", "lanka", "up", "--home", home, *ports]
        async with process(*command, grace=30) as started:
            await until(lambda: "ready after" in started.printed(), 3 * HANGS_AFTER, "lanka up")
            here = json.loads((home / "connection.json").read_text())
            results = [
                _run(here["api"], who, headers, seconds, seed, Path(directory))
                for who, headers in (await _callers(here)).items()
            ]
            mistakes = [line for line in started.printed().splitlines() if '"event": "request failed"' in line]
    print("\n".join(mistakes))  # noqa: T201
    return 1 if any(results) or mistakes else 0


async def _callers(here: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, str]]:
    api = str(here["api"])
    origin = "{0.scheme}://{0.netloc}".format(urlsplit(api))
    async with httpx.AsyncClient(base_url=api, trust_env=False) as browser:
        answer = await browser.post("/shop/session", headers={"Origin": origin})
        cookie = answer.raise_for_status().headers["set-cookie"].partition(";")[0]
    return {
        "operator": {"Authorization": f"Bearer {here['keys']['operator']}"},
        "shop": {"Authorization": f"Bearer {here['keys']['shop']}"},
        "customer": {"Cookie": cookie, "Origin": origin},
        "nobody": {},
    }


def _run(api: str, who: str, headers: Mapping[str, str], seconds: int, seed: int | None, home: Path) -> int:
    print(f"---- {who}", flush=True)  # noqa: T201
    return subprocess.run(
        [
            *(str(Path(sys.executable).parent / "schemathesis"), "run", f"{api}/openapi.json"),
            *(argument for name, value in headers.items() for argument in ("-H", f"{name}: {value}")),
            *("--checks", CHECKS, "--max-time", str(seconds), "--phases", "coverage,fuzzing"),
            *("--continue-on-failure", "--request-timeout", "10", "--no-color"),
            *(argument for path in ENDLESS for argument in ("--exclude-path", path)),
            *(("--seed", str(seed)) if seed is not None else ()),
        ],
        check=False,
        cwd=home,  # where it keeps what it has found
    ).returncode


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=120, help="for each of the four callers")
    parser.add_argument("--seed", type=int, default=None)
    given = parser.parse_args()
    raise SystemExit(asyncio.run(fuzz(given.seconds, given.seed)))
