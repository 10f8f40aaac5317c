"""`hil nightly`: suites on boards by a plan, with nobody there."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import NoReturn

import click

from hil.cli.common import echo, tell


@click.command()
@click.argument("plan", type=click.Path(path_type=Path))
@click.option("--dry-run", is_flag=True, help="Print what would be run and what is wrong with it; run nothing.")
@click.option(
    "--resume/--new",
    default=None,
    help="Go on with the plan's unfinished night, or begin a new one [go on where it began less than 12 hours ago].",
)
@click.option(
    "--directory", type=click.Path(path_type=Path), metavar="DIR", help="Where nights are kept [reports/nights]."
)
def nightly(plan: Path, dry_run: bool, resume: bool | None, directory: Path | None) -> NoReturn:
    """Run the suites of PLAN, a TOML file, on its boards, and sum up what became of them.

    The exit status is 0 where all is good, 1 where image or tests failed, else 2 where the plan or a board's
    configuration is wrong, else 3 where the test bed failed or not all was run; 4 where another night is at
    work; 130 or 143 when it was ended by a signal.
    """
    from hil.nightly import night, state

    root = directory or state.DIRECTORY
    if dry_run:
        _show(plan, root)
    spent = night.spend(plan, root, resume=resume, tell=echo)
    if spent.error:
        tell(spent.error)
    echo(f"\n{spent.text}", nl=False)
    if spent.path:
        echo(f"\nsummary: {spent.path / state.SUMMARY}")
    raise SystemExit(spent.status)


def _show(path: Path, root: Path) -> NoReturn:
    from hil.nightly import plan

    loaded = plan.load(path)
    for run in loaded.runs:
        echo(f"{run.name}: {shlex.join(run.command(root.absolute() / 'NIGHT' / run.name / 'try-1'))}")
        for problem in run.problems:
            echo(f"  wrong: {problem}", err=True)
    raise SystemExit(2 if any(run.problems for run in loaded.runs) else 0)
