"""`hil results`, `hil plot`, `hil baseline`, `hil bounds`: measured series, pictures, baselines and bounds."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import click
from rich.markup import escape

from hil import slow
from hil.board.selection import bounds_file, find, is_place, name_of
from hil.cli import candidates
from hil.cli.common import PATH, as_json, echo, err, history_option, json_option, out, selected, show
from hil.errors import ConfigurationError
from hil.host import project
from hil.host.project import TABLE

KINDS = ("histogram", "percentiles", "timeline", "comparison")

results_argument = click.argument("path", metavar="RESULTS", type=PATH, shell_complete=candidates.results)
several_argument = click.argument(
    "paths", metavar="RESULTS...", nargs=-1, required=True, type=PATH, shell_complete=candidates.results
)
board_argument = click.argument("board", required=False, shell_complete=candidates.boards_alone)
bounds_file_option = click.option(
    "--bounds",
    type=PATH,
    metavar="FILE",
    shell_complete=candidates.toml,
    help=f"Bounds file [bounds in the project's {TABLE}, else the one beside the board's file].",
)
baselines_option = click.option(
    "--baselines",
    type=PATH,
    metavar="DIR",
    shell_complete=candidates.directories,
    help=f"The directory of baselines [baselines in the project's {TABLE}, else $XDG_DATA_HOME/hil/baselines].",
)


@click.group()
def results() -> None:
    """Results files: series of measurements, as JSON lines."""


@results.command("show")
@results_argument
@json_option
def results_show(path: Path, json_: bool) -> None:
    """List the series in RESULTS with their main figures and the outcomes of their bounds."""
    loaded = _load(path)
    if json_:
        as_json([record.facts for record in loaded.records])
        return
    show([record.row for record in loaded.records], False)
    for record in loaded.records:
        for check in record.checks:
            out.print(escape(check.text))


@results.command("digest")
@several_argument
def results_digest(paths: tuple[Path, ...]) -> None:
    """Print the SHA-256 of the figures in each RESULTS, without times of day and paths.

    Two runs with the same digest have the same figures to the bit.
    """
    for path in paths:
        echo(f"{slow.results.digest(_load(path).series)}  {path}")


@click.command()
@several_argument
@click.option(
    "-o",
    "--output",
    type=PATH,
    default=Path(),
    metavar="DIR",
    shell_complete=candidates.directories,
    help="The output directory.",
)
@click.option(
    "--kind",
    "kinds",
    type=click.Choice(KINDS),
    multiple=True,
    help="Only this kind of picture (repeatable) [all that apply].",
)
def plot(paths: tuple[Path, ...], output: Path, kinds: tuple[str, ...]) -> None:
    """Draw the series in RESULTS as SVG files and print their names.

    A histogram, percentiles and a timeline of each series; a comparison of the series of each quantity, with several
    RESULTS of each quantity and subject.
    """
    for made in slow.plot_files.write(output, [_load(path) for path in paths], kinds or KINDS):
        out.print(escape(str(made)))


@click.group()
def baseline() -> None:
    """Baselines: good series to compare with, by board, image, module, clock and QEMU."""


@baseline.command("record")
@results_argument
@baselines_option
def baseline_record(path: Path, baselines: Path | None) -> None:
    """Store each series in RESULTS as the baseline of its kind, in place of an older one."""
    for made in slow.Baselines(baselines).record(_load(path).series):
        out.print(escape(str(made)))


@baseline.command("compare")
@results_argument
@baselines_option
@click.option(
    "--min-effect",
    type=click.FloatRange(0, 1000),
    default=5.0,
    metavar="PERCENT",
    help="The least change that counts, unless the clock is exact.",
)
@json_option
def baseline_compare(path: Path, baselines: Path | None, min_effect: float, json_: bool) -> NoReturn:
    """Compare each series in RESULTS with its baseline.

    In virtual time figures must be equal to the bit; else medians and p99 are compared, with confidence limits and
    a least effect. The exit status is 0 if all are the same (or better), 1 if one differs, 2 for an error in the
    input, 3 if one is inconclusive, not comparable or has no baseline.
    """
    comparisons = slow.Baselines(baselines).compare(_load(path).series, min_effect=min_effect / 100)
    if json_:
        as_json([comparison.facts for comparison in comparisons])
    else:
        for comparison in comparisons:
            out.print(escape(str(comparison)))
        out.print(f"[bold]{escape(slow.baseline.summary(comparisons))}[/]")
    raise SystemExit(slow.baseline.exit_status(comparisons))


@click.group()
def bounds() -> None:
    """Bounds files: the limits of a board's figures."""


@bounds.command("check")
@board_argument
@bounds_file_option
@click.option(
    "--measured",
    multiple=True,
    metavar="NAME",
    shell_complete=candidates.sides,
    help="Figures of all tests of the board: a results file, a run's directory, a night, as `hil compare` takes them. "
    "Each row must match one of them (repeatable).",
)
@history_option
@json_option
def bounds_check(
    board: str | None, bounds: Path | None, measured: tuple[str, ...], file: Path, json_: bool
) -> NoReturn:
    """Find the rows in the bounds file of BOARD, by default the selected board, that no series can match.

    A row with a typo in its quantity, subject, test or clock has no effect. Without --measured, rows are compared with
    the quantities and modules of this project; tests, arguments of modules, other quantities and modules are checked
    only with --measured. With --measured FILE or DIRECTORY, rows whose series was measured, but checked by no test, are
    named, too. The exit status is 0 if all rows can match, 1 if one judges nothing, 2 for an error in the input.
    """
    path = _board_file(board)
    name = name_of(path)
    every: list[slow.Series] = [each for given in measured for each in slow.read_side(given, file).series.values()]
    series = [each for each in every if each.provenance.get("board", name) == name]
    read = _bounds(path, bounds)
    found = slow.unmatched(read, series, whole=bool(measured), virtual=slow.boardfile.emulated(path))
    records = [record for given in measured if Path(given).exists() for record in _load(Path(given)).records]
    found += slow.unjudged(read, [each for each in records if each.series.provenance.get("board", name) == name])
    if json_:
        as_json([{"where": each.where, **each.row.model_dump(mode="json"), "why": each.why} for each in found])
    else:
        for each in found:
            out.print(escape(str(each)))
        out.print(f"{len(read.rows)} rows, {len(found)} of them judge nothing")
    raise SystemExit(1 if found else 0)


@bounds.command("list")
@board_argument
@bounds_file_option
@json_option
def bounds_list(board: str | None, bounds: Path | None, json_: bool) -> None:
    """List the rows in the bounds file of BOARD, by default the selected board.

    Each row is shown with the quantity, subject and test of its series.
    """
    read = _bounds(_board_file(board), bounds)
    rows = []
    for number, row in enumerate(read.rows):
        bound = row.bound()
        place = slow.toml.place(read.path, ("bound", number)).removeprefix(f"{read.path}:").partition(":")[0]
        rows.append(
            {
                "line": place,
                "quantity": row.quantity,
                "subject": row.subject,
                "test": row.test or "any",
                "clock": row.clock or "any",
                "bound": str(bound),
                "marginal": "" if bound.marginal is None else str(bound.marginal),
                "reason": row.reason,
            }
        )
    show(rows, json_)


@bounds.command("suggest")
@several_argument
@click.option(
    "--headroom",
    type=click.FloatRange(0, 10_000, min_open=True),
    default=50.0,
    metavar="PERCENT",
    help="Distance of each limit from the measured figure.",
)
@click.option("--all", "all_", is_flag=True, help="For all series, also those that no test checks.")
def bounds_suggest(paths: tuple[Path, ...], headroom: float, all_: bool) -> None:
    """Print rows for a bounds file from the series in RESULTS that a test checked, but that have no bounds yet.

    A row of a series that no test checks with `measure.check` would never be judged. Each row bounds p99, or p90, p50
    or max if the samples are too few for a higher percentile. Append them to boards/NAME.bounds.toml and replace each
    reason by your own.
    """
    records = [record for path in paths for record in _load(path).records]
    chosen = [record.series for record in records] if all_ else slow.suggestions.lacking(records)
    if records and not chosen:
        unchecked = sum(not record.checks for record in records)
        raise ConfigurationError(
            f"none of {len(records)} series lacks a bound: {len(records) - unchecked} have one, "
            f"{unchecked} are checked by no test",
            hint="Check a series with measure.check(series), or pass --all for rows of all series.",
        )
    echo("\n".join(slow.suggestions.as_toml(row) for row in slow.suggestions.suggest(chosen, headroom / 100)), nl=False)


def _bounds(board: Path, given: Path | None) -> slow.Bounds:
    """Return the bounds in the file `given`, else in the project's, else in that of the board file `board`."""
    return slow.Bounds(given or project.current().path("bounds") or bounds_file(board))


def _board_file(name: str | None) -> Path:
    """Return the file of the board `name`, by default the selected one. Raises `ConfigurationError` for a place."""
    board = selected([] if name is None else [name]).names[0]
    if is_place(board):
        raise ConfigurationError(f"{board} is a place, but bounds belong to a board", hint="Name the place's board.")
    return find(board)


def _load(path: Path) -> slow.results.Results:
    """Return the contents of a results file, or of all in the directory of a run or a night."""
    several = [slow.results.load(file) for file in (slow.results.files_in(path) if path.is_dir() else [path])]
    for loaded in several:
        if loaded.torn:
            err.print(f"[yellow]{escape(loaded.torn)}[/]")
    if path.is_dir():
        return slow.results.Results(path, tuple(record for loaded in several for record in loaded.records))
    return several[0]
