"""What a command prints: safe for whatever reads it, and within the width of the terminal."""

import codecs
import io
import json
import shutil
import sys
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import typer

MINUTE, HOUR, DAY = 60, 3600, 86400

_MARKS = str.maketrans("✔✘‖○·…→←•─│×’‘“”–—\u00a0", "+x=.-~><*-|x''\"\"-- ")
"""As wide as what they stand for, so that columns stay columns."""

_BRAILLE, _BOXES = range(0x2800, 0x2900), range(0x2500, 0x2580)

_TIMES = {"since", "received_at", "updated_at"}

_LONGEST_ID = 40
"""An id that is longer has a line of its own, where it can be copied."""


def make_safe(environ: Mapping[str, str]) -> None:
    """What stdout and stderr cannot show is written in ASCII from now on, and no text ends a command."""
    codecs.register_error("lanka", _in_ascii)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            plain = stream.isatty() and _wants_ascii(environ)
            stream.reconfigure(encoding="ascii" if plain else stream.encoding, errors="lanka")


def without_colour(environ: Mapping[str, str]) -> bool:
    return bool(environ.get("NO_COLOR")) or environ.get("TERM") == "dumb"


def _wants_ascii(environ: Mapping[str, str]) -> bool:
    # Python itself answers LANG=C by setting LC_CTYPE=C.UTF-8.
    by_rank = (environ.get("LC_ALL"), environ.get("LC_CTYPE", "").removeprefix("C.UTF-8"), environ.get("LANG"))
    locale = next(filter(None, by_rank), "")
    return environ.get("TERM") == "dumb" or locale in {"C", "POSIX"}


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    return "".join(map(_ascii, error.object[error.start : error.end])), error.end


def _ascii(character: str) -> str:
    mark = character.translate(_MARKS)
    if mark.isascii():
        return mark
    if ord(character) in _BRAILLE:  # a spinner
        return "*"
    if ord(character) in _BOXES:
        return "+"
    return "".join(filter(str.isascii, unicodedata.normalize("NFKD", character))) or ascii(character)[1:-1]


def say(text: str, *, error: bool = False) -> None:
    # With the stream left out, typer would take an ASCII one for misconfigured and write UTF-8 to it.
    typer.echo(text, file=sys.stderr if error else sys.stdout)


def printable(text: object) -> str:
    """On one line, and harmless."""
    return " ".join(harmless(str(text)).split())


def harmless(text: str) -> str:
    """Without what a terminal would take for a command: text from outside is not to steer it."""
    return "".join(each if each.isprintable() or each.isspace() else ascii(each)[1:-1] for each in text)


def show_json(answer: object) -> None:
    """One JSON document."""
    say(json.dumps(answer, indent=2, ensure_ascii=not (sys.stdout.encoding or "").lower().startswith("utf")))


def width() -> int | None:
    """How many columns there are to fill; None for a pipe."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def show(rows: Sequence[Mapping[str, Any]], *names: str, below: Sequence[str] = ()) -> None:
    """What is under these names, the first being an id: in columns, what is `below` under each row.

    Into a pipe a line for each row, with tabs between and times as they are.
    """
    columns = width()
    if columns is None:
        for row in rows:
            say("\t".join(_cell(row[name]) for name in (*names, *below)))
        return
    for line in _table(rows, names, below, columns):
        say(line)


def _table(rows: Sequence[Mapping[str, Any]], names: Sequence[str], below: Sequence[str], width: int) -> Iterator[str]:
    from rich.cells import cell_len, set_cell_size  # noqa: PLC0415

    heads = [name.replace("_", " ") for name in names]
    cells = [[ago(row[name]) if name in _TIMES else _cell(row[name]) for name in names] for row in rows]
    apart = max((cell_len(line[0]) for line in cells), default=0) > _LONGEST_ID
    columns = range(1 if apart else 0, len(names))
    widths = {nth: max(cell_len(line[nth]) for line in (heads, *cells)) for nth in columns}
    fits = sum(widths.values()) + 2 * len(widths) <= width + 2

    def in_columns(line: Sequence[str]) -> Iterator[str]:
        given = [line[nth] for nth in columns]
        if fits:
            yield "  ".join(set_cell_size(line[nth], widths[nth]) for nth in columns).rstrip()
        else:
            yield from folded("  ".join(filter(None, given)), width)

    if fits:
        yield from in_columns(heads)
    for row, line in zip(rows, cells, strict=True):
        if apart:
            yield line[0]
        yield from in_columns(line)
        for name in below:
            text = _cell(row[name])
            if name == "id" or name.endswith("_id"):
                yield from [f"    {text}"] if text else []
            else:
                yield from folded(text, width, "    ")


def folded(text: str, width: int | None, indent: str = "") -> Iterator[str]:
    """The text in lines of at most `width` cells; a word that is longer is divided. Without a width on one line."""
    from rich.cells import chop_cells  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    if width is None:
        yield indent + text
        return
    room = max(width - len(indent), 10)
    console = Console(width=room, file=io.StringIO())
    for line in Text(text).wrap(console, room, overflow="fold"):
        for part in chop_cells(line.plain.rstrip(), room) or [""]:
            yield indent + part


def _cell(value: object) -> str:
    return "" if value is None else printable(value)


def ago(time: str | None) -> str:
    """`12 min ago` of a time in ISO 8601."""
    if time is None:
        return ""
    seconds = max((datetime.now(UTC) - datetime.fromisoformat(time)).total_seconds(), 0)
    return f"{seconds:.0f} s ago" if seconds < MINUTE else f"{duration(seconds)} ago"


def local(time: str) -> str:
    """A time in ISO 8601 as a person at this terminal reads it."""
    return f"{datetime.fromisoformat(time).astimezone():%Y-%m-%d %H:%M:%S}"


def duration(seconds: float | None) -> str:
    """`40 ms`, `2.5 s`, `12 min`, `3 h`, `2 d`."""
    if seconds is None:
        return ""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < MINUTE:
        return f"{seconds:.1f} s"
    for unit, size, limit in (("min", MINUTE, HOUR), ("h", HOUR, 2 * DAY)):
        if seconds < limit:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / DAY:.0f} d"
