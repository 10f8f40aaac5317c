"""The streams of the commands: results on standard output, everything else on standard error."""

from __future__ import annotations

import sys
from typing import Any

import click
from rich.console import Console as Terminal

from hil.text import printable


class _SafeTerminal(Terminal):
    """A terminal that escapes control characters of foreign text (see `hil.text`)."""

    def print(self, *objects: Any, **options: Any) -> None:
        super().print(*(printable(item) if isinstance(item, str) else item for item in objects), **options)


# in a pipe each row of a table is one line, for grep
out = _SafeTerminal(highlight=False, emoji=False, soft_wrap=True, width=None if sys.stdout.isatty() else 1000)
err = _SafeTerminal(highlight=False, emoji=False, soft_wrap=True, stderr=True)


def echo(text: str, **options: Any) -> None:
    """Print `text` without styles, its control characters escaped."""
    click.echo(printable(text), **options)
