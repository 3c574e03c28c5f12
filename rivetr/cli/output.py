"""What commands print: plain sentences and tables for people, JSON for programs, and nothing that acts.

Texts that came from a server, a repository or a container pass `safe` before they reach a terminal.
"""

import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from rivetr.plaintext import plain

Command = TypeVar("Command", bound=Callable[..., Any])


def json_option(command: Command) -> Command:
    """Give a command `--json`, as its argument `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")(command)


def safe(text: str) -> str:
    """Lines without control sequences (see `rivetr.plaintext`)."""
    return "\n".join(plain(line) for line in text.split("\n"))


def say(text: str = "") -> None:
    """A line (or several) of the answer, on standard output."""
    click.echo(safe(text))


def note(text: str) -> None:
    """A remark that is no part of the answer, on standard error."""
    click.echo(safe(text), err=True)


def say_marked(mark: str, colour: str, text: str) -> None:
    """A line that starts with a word in `colour` (bold), where colours are wanted."""
    shown = click.style(safe(mark), fg=colour, bold=True) if _wants_colour() else safe(mark)
    click.echo(f"{shown} {safe(text)}".rstrip())


def _wants_colour() -> bool:
    # https://no-color.org: any value but the empty one means no.
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def say_json(value: Any) -> None:
    """One JSON document on one line; not ASCII is escaped, so nothing in it acts on a terminal."""
    click.echo(json.dumps(value))


def say_table(header: Sequence[str], rows: Sequence[Sequence[object]], empty: str) -> None:
    """Aligned columns under a header, or the sentence `empty` when there are no rows."""
    if not rows:
        say(empty)
        return
    cells = [list(header), *([_cell(value) for value in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    for row in cells:
        padded = [text.ljust(width) for text, width in zip(row, widths, strict=True)]
        click.echo("  ".join(padded).rstrip())


def _cell(value: object) -> str:
    if value is None or value == "":
        return "-"
    # A line break or a tab would break the table, so it is shown as it is written in code.
    text = str(value).replace("\r\n", "\n").replace("\n", "\\n").replace("\t", "\\t")
    return plain(text)
