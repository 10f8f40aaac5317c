"""`hil review`, `hil compare`: what to look at of a night, and two sides beside each other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.markup import escape

from hil.cli.common import as_json, err, history_option, json_option, out, show

if TYPE_CHECKING:
    from hil.review.overview import Review


@click.command()
@click.argument("night", required=False)
@history_option
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Where to [the night's own].",
)
@click.option(
    "--nights", type=click.IntRange(2), default=30, show_default=True, help="How many nights are looked back on."
)
@json_option
def review(night: str | None, file: Path, output: Path | None, nights: int, json_: bool) -> None:
    """Tell what to look at of NIGHT [the newest], and make its overview and trend pages.

    The pages are files that open from anywhere. `hil nightly` makes them at each night's end.
    """
    from hil.history.store import History
    from hil.nightly import state
    from hil.review.overview import review as make
    from hil.review.review_window import ReviewWindow

    with History(file) as history:
        window = ReviewWindow.of(history, night, nights)
        for why in history.left_out:
            err.print(f"hil: {escape(why)}")
    own = next((one for one in state.nights(file.parent) if one.name == window.night.name), None)
    window = replace(window, idle=own.idle if own else {})
    made = make(window, output or _directory(file, window.night.name))
    if json_:
        as_json(made.facts)
    else:
        _tell(made)


def _directory(history: Path, night: str) -> Path:
    """Where a night's pages go: to its directory, or where that is gone to one beside the nights."""
    own = history.absolute().parent / night
    return own if own.is_dir() else own.parent / "review" / night


def _tell(made: Review) -> None:
    out.print(f"[bold]night {escape(made.window.night.name)}: {escape(made.verdict)}[/]")
    for one in made.findings:
        style = "red" if one.bad and one.new else "yellow" if one.bad else "green"
        new = ", new" if one.new else ""
        out.print(f"- [bold {style}]{one.kind}{new}:[/] {escape(one.text)}")
        for text in filter(None, (*one.details, one.context)):
            out.print(f"    {escape(text)}")
    out.print(f"\noverview: {escape(str(made.overview))}")


@click.command()
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@history_option
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Make a page with pictures there, too.",
)
@json_option
def compare(a: str, b: str, file: Path, output: Path | None, json_: bool) -> None:
    """Hold the figures of A against those of B.

    Each is a night, NIGHT:RUN, a results file, a run's directory, image:NAME or board:NAME; of the last two the newest
    figures in the history. Series are paired by quantity, subject and test. It compares and does not judge: the exit
    status is 0 unless the input is wrong.
    """
    from hil.review import comparison

    made = comparison.compare(a, b, file)
    page = comparison.write(made, output) if output else None
    if json_:
        as_json(made.facts | ({"page": str(page)} if page else {}))
        return
    out.print(f"A: {escape(made.a.found)}\nB: {escape(made.b.found)}")
    show([line for pair in made.pairs for line in pair.lines()], False)
    out.print(escape(made.counted))
    for pair in made.pairs:
        if pair.summary and not pair.why:
            out.print(escape(f"{pair.title}: {pair.summary}"))
    for name, keys in (("A", made.only_a), ("B", made.only_b)):
        for key in keys:
            clock = ", ".join(filter(None, (key.clock, f"seed {key.seed}" if key.seed else "")))
            out.print(escape(f"only in {name}: {key.quantity} of {key.subject}, {key.board}, {key.test}, {clock}"))
    if page:
        out.print(f"page: {escape(str(page))}")
