"""`hil report`, `hil review`, `hil compare`: pages on a run, on a night, and on two nights, images or boards."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import click
from rich.markup import escape

from hil import slow
from hil.cli import candidates
from hil.cli.common import DIRECTORY, FILE, PATH, as_json, err, history_option, json_option, out, show
from hil.host import project


@click.command()
@click.argument("results", type=PATH, required=False, shell_complete=candidates.directories)
@click.option("--output", "-o", type=PATH, help="The HTML file [reports/report.html].")
@click.option("--title", default="Hardware-in-the-loop tests")
@click.option(
    "--history-file",
    type=FILE,
    help="Earlier reports, to mark failures as new or fixed [allure-history.jsonl beside the report].",
)
@click.option("--gate", is_flag=True, help="End with status 1 if the report fails its quality gate.")
def report(results: Path | None, output: Path | None, title: str, history_file: Path | None, gate: bool) -> NoReturn:
    """Write one HTML file from the Allure results in RESULTS [reports/results].

    A killed run is shown as killed, from the journal beside its results.
    """
    path = output or project.current().reports / "report.html"
    made = slow.report_build.build(
        [slow.merge.Part(results or project.current().reports / "results")], path, title=title, history=history_file
    )
    for note in made.notes:
        err.print(f"[yellow]{escape(note)}[/]")
    for rule in made.gate if gate else ():
        err.print(f"[{'green' if rule.kept else 'bold red'}]gate: {escape(str(rule))}[/]")
    out.print(escape(str(made.path)))
    raise SystemExit(1 if gate and not made.gate_kept else 0)


@click.command()
@click.argument("night", required=False, shell_complete=candidates.nights)
@history_option
@click.option("-o", "--output", type=DIRECTORY, metavar="DIR", help="The output directory [that of the night].")
@click.option("--nights", type=click.IntRange(2), default=30, help="The number of nights to look back on.")
@click.option(
    "--min-effect",
    type=click.FloatRange(min=0, min_open=True),
    metavar="PERCENT",
    help="The least change of a figure that is a finding [that of the night's plan, else 5].",
)
@json_option
def review(
    night: str | None, file: Path, output: Path | None, nights: int, min_effect: float | None, json_: bool
) -> None:
    """Print the findings of NIGHT [the newest], and write its overview and trend pages.

    The pages need no server. `hil nightly` writes them at the end of each night.
    """
    from hil.compare.shifts import MIN_EFFECT

    with slow.History(file) as history:
        wanted = [night] if night else history.nights()[-1:]
        own = next((own for own in slow.state.nights(file.parent) if own.name in wanted), None)
        least = min_effect or (own.state.min_effect if own else 100 * MIN_EFFECT)
        window = slow.ReviewWindow.of(history, night, nights, least / 100)
        for why in history.left_out:
            err.print(f"hil: {escape(why)}")
    window = replace(window, idle=own.idle if own else {})
    made = slow.overview.review(window, output or _directory(file, window.night.name))
    if json_:
        as_json(made.facts)
    else:
        _print(made)


def _directory(history: Path, night: str) -> Path:
    """Return the directory of a night's pages: the night's own, or if that is removed one beside the nights."""
    beside = history.absolute().parent
    own = [directory / night for directory in (beside, project.current().nights)]
    return next((path for path in own if path.is_dir()), beside / "review" / night)


def _print(made: slow.overview.Review) -> None:
    out.print(f"[bold]night {escape(made.window.night.name)}: {escape(made.verdict)}[/]")
    for finding in made.findings:
        style = "red" if finding.bad and finding.new else "yellow" if finding.bad else "green"
        new = ", new" if finding.new else ""
        out.print(f"- [bold {style}]{finding.kind}{new}:[/] {escape(finding.text)}")
        for text in filter(None, (*finding.details, finding.context)):
            out.print(f"    {escape(text)}")
    out.print(f"\noverview: {escape(str(made.overview))}")


@click.command()
@click.argument("a", metavar="A", shell_complete=candidates.sides)
@click.argument("b", metavar="B", shell_complete=candidates.sides)
@history_option
@click.option("-o", "--output", type=DIRECTORY, metavar="DIR", help="Also write a page with pictures there.")
@json_option
def compare(a: str, b: str, file: Path, output: Path | None, json_: bool) -> None:
    """Compare the figures of A with those of B.

    Each is a night, NIGHT:RUN, a results file, a run's directory, image:NAME or board:NAME; the last two stand for
    the newest figures in the history. Series are paired by quantity, subject and test. The exit status is 0 unless the
    input is wrong.
    """
    made = slow.comparison.compare(a, b, file)
    page = slow.comparison.write(made, output) if output else None
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
