"""The sides of `make bench-check`: commits of Lanka in checkouts of their own, each run by its own `lanka up`."""

import asyncio
import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from signal import SIGINT

import psutil

from benchmarks.outside import Door
from benchmarks.parts import Parts
from lanka.supervision import Part

ROOT = Path(__file__).parent.parent
GUARD = Path(__file__).parent / "own_code"
ENVIRONMENTS = ROOT / ".venv" / "bench-check"
"""One for each lock that was ever needed, kept for the next time."""

FREE_PORTS = ("--port", "0", "--temporal-port", "0", "--ui-port", "0", "--payments-port", "0")

OURS = ("LANKA_", "TEMPORAL_", "DATABASE_URL", "SANDBOX_", "OTEL_", "PYTHON", "BENCH_")
"""What the environment of whoever calls must not change."""

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Side:
    """A commit that can be run: the directory from which its modules are imported, and its Python."""

    commit: str
    code: Path
    python: Path

    @property
    def env(self) -> dict[str, str]:
        path = os.pathsep.join(map(str, (GUARD, self.code)))
        kept = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
        return {**kept, "PYTHONPATH": path, "BENCH_CHECK_CODE": str(self.code)}

    @asynccontextmanager
    async def up(self, **env: str) -> AsyncIterator[Door]:
        """`lanka up` in a new home, until the end of the block. With `env` on top of its environment."""
        with tempfile.TemporaryDirectory(prefix="lanka-bench-check-", ignore_cleanup_errors=True) as directory:
            connection = Path(directory) / "home" / "connection.json"
            command = [str(self.python), "-P", "-m", "lanka", "up", "--home", str(connection.parent), *FREE_PORTS]
            parts = Parts(Path(directory))
            part = Part("up", command, {**self.env, **env}, Path(directory), stop_signal=SIGINT, grace=60)
            try:
                await parts.start(part, lambda: asyncio.to_thread(connection.exists))
                yield Door.model_validate_json(connection.read_text())
            except Exception as error:
                error.add_note(f"commit {self.commit}\n{parts.printed()}")
                raise
            finally:
                await _stopped(parts, connection.parent)


async def _stopped(parts: Parts, home: Path) -> None:
    """Also what a `lanka up` that had to be killed would leave behind."""
    family: list[psutil.Process] = []
    for process in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):
            if str(home) in process.cmdline():
                family += [process, *process.children(recursive=True)]
    try:
        await parts.stop()
    finally:
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.kill()


@contextmanager
def checked_out(commit: str, tell: Tell) -> Iterator[Side]:
    """The commit in a temporary worktree, with an environment of its own lock."""
    full = _git("rev-parse", "--verify", "--end-of-options", f"{commit}^{{commit}}")
    with tempfile.TemporaryDirectory(prefix="lanka-bench-check-", ignore_cleanup_errors=True) as directory:
        checkout = Path(directory) / "lanka"
        try:
            _git("worktree", "add", "--quiet", "--detach", str(checkout), full)
            python = _environment(checkout / "requirements.lock", tell)
            yield Side(full, _described(checkout, python), python)
        finally:
            with suppress(subprocess.CalledProcessError):
                _git("worktree", "remove", "--force", str(checkout))


def _environment(lock: Path, tell: Tell) -> Path:
    """The Python that has the packages of the lock, and nothing of Lanka."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    directory = ENVIRONMENTS / f"{hashlib.sha256(lock.read_bytes()).hexdigest()[:16]}-{version}"
    python, done = directory / "bin" / "python", directory / ".done"
    if not done.exists():
        tell("an environment is made from a lock that was not needed before")
        _run(sys.executable, "-m", "venv", "--clear", str(directory))
        pip = (str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        _run(*pip, "--require-hashes", "-r", str(lock))
        done.touch()
    return python


def _described(checkout: Path, python: Path) -> Path:
    """Where the modules are, wherever this commit has them: setuptools puts its description of Lanka beside them."""
    _run(str(python), "-c", "from setuptools import setup; setup()", "--quiet", "egg_info", cwd=checkout)
    (described,) = checkout.glob("**/lanka.egg-info")
    return described.parent


def _git(*words: str) -> str:
    return _run("git", *words, cwd=ROOT).strip()


def _run(*words: str, cwd: Path | None = None) -> str:
    try:
        return subprocess.run(words, cwd=cwd, capture_output=True, text=True, check=True).stdout  # noqa: S603
    except subprocess.CalledProcessError as error:
        error.add_note(error.stderr)
        raise
