"""The home of `lanka up`, and what it is started with."""

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from lanka import home as homes
from lanka import postgres, up
from lanka.home import Connection, Home
from lanka.parts import Given, Ports
from lanka.postgres import PostgresError
from lanka.terminal import NotDoneError

NOWHERE = {"api": "", "temporal": "", "temporal_ui": "", "database_url": "", "payments": "", "keys": {}}


@pytest.fixture
def part(tmp_path: Path) -> Iterator[psutil.Process]:
    """A process that works in a home."""
    (tmp_path / "home").mkdir()
    sleeping = [sys.executable, "-c", "import time; time.sleep(600)"]
    with subprocess.Popen(sleeping, cwd=tmp_path / "home") as process:
        yield psutil.Process(process.pid)
        process.kill()


def test_a_process_belongs_to_the_home_in_which_it_works_and_to_no_copy(tmp_path: Path, part: psutil.Process) -> None:
    for name in ("home", "copy"):
        Home(tmp_path / name).remember({"api": part.pid})
        Home(tmp_path / name).announce(Connection(**NOWHERE, pids={"api": part.pid}))
    original, copy = Home(tmp_path / "home"), Home(tmp_path / "copy")
    assert (original.left_behind(), copy.left_behind()) == ({"api": part}, {})
    assert original.connection()
    assert copy.connection() is None

    (tmp_path / "home").rename(tmp_path / "moved")
    assert Home(tmp_path / "moved").left_behind() == {"api": part}


def test_the_server_of_another_directory_keeps_no_copy_from_its_own(tmp_path: Path, part: psutil.Process) -> None:
    for name in ("home", "copy"):
        directory = tmp_path / name
        directory.mkdir(exist_ok=True)
        (directory / "postmaster.pid").write_text(f"{part.pid}\n{directory}\n")
        postgres._forget_another_server(directory)
    assert (tmp_path / "home" / "postmaster.pid").exists()
    assert not (tmp_path / "copy" / "postmaster.pid").exists()


def test_what_is_damaged_is_named(tmp_path: Path) -> None:
    (tmp_path / "connection.json").write_text('{"api"')
    with pytest.raises(NotDoneError, match=r"connection\.json is damaged: start `lanka up` again"):
        Home(tmp_path).connection()
    (tmp_path / "secrets.json").write_text("[]")
    with pytest.raises(NotDoneError, match=r"secrets\.json is damaged"):
        Home(tmp_path).chosen()


def test_a_full_disk_is_told_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(homes, "_write", full)
    with pytest.raises(NotDoneError, match=r"cannot write into the home .*: No space left on device; choose another"):
        Home(tmp_path).chosen()


def test_a_user_without_a_name_is_told_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    with pytest.raises(PostgresError, match="user 54321 has none: add one to /etc/passwd, or give DATABASE_URL"):
        postgres.prepare(tmp_path / "postgres", "secret")


def test_a_port_for_which_we_lack_the_right_is_not_said_to_be_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(up, "why_not", lambda _: PermissionError(errno.EACCES, "Permission denied"))
    with pytest.raises(NotDoneError, match="port 80 may only be used by root; choose another one with --port"):
        up._ports(Ports(80, 0, 0, 0), Given())


def test_postgresql_gets_no_port_that_somebody_else_wants(tmp_path: Path) -> None:
    home = Home(tmp_path)
    port = home.chosen().postgres_port
    assert home.chosen().postgres_port == port
    assert home.chosen(not_on=[port]).postgres_port != port
