"""`hil report`: one HTML file from Allure's results."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import click
from rich.markup import escape

from hil.cli.common import err, out


@click.command()
@click.argument("results", type=click.Path(path_type=Path), required=False)
@click.option("--output", "-o", type=click.Path(path_type=Path), help="The HTML file [reports/report.html].")
@click.option("--title", default="Hardware-in-the-loop tests", show_default=True)
@click.option(
    "--history-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Earlier reports, to mark failures as new or fixed [allure-history.jsonl beside the report].",
)
@click.option("--gate", is_flag=True, help="End with status 1 if the report fails its quality gate.")
def report(results: Path | None, output: Path | None, title: str, history_file: Path | None, gate: bool) -> NoReturn:
    """Write one HTML file from the Allure results in RESULTS [reports/results].

    A killed run is shown as killed, from the journal beside its results.
    """
    from hil.report import build
    from hil.report.merge import Part

    path = output or build.REPORTS_DIR / "report.html"
    made = build.build([Part(results or build.RESULTS_DIR)], path, title=title, history=history_file)
    for note in made.notes:
        err.print(f"[yellow]{escape(note)}[/]")
    for rule in made.gate if gate else ():
        err.print(f"[{'green' if rule.kept else 'bold red'}]gate: {escape(str(rule))}[/]")
    out.print(escape(str(made.path)))
    raise SystemExit(1 if gate and not made.gate_kept else 0)
