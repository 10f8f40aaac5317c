"""`hil nightly`: unattended runs of suites on boards by a plan."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import NoReturn

import click

from hil import slow
from hil.cli import candidates
from hil.cli.common import PATH, echo, print_error
from hil.cli.verbosity import level
from hil.host import project


@click.command()
@click.argument("plan", shell_complete=candidates.plans)
@click.option("--dry-run", is_flag=True, help="Print the commands and what is wrong with the plan; run nothing.")
@click.option(
    "--resume/--new",
    default=None,
    help="Resume the plan's unfinished night, or begin a new one [resume where it began less than 12 hours ago].",
)
@click.option("--directory", type=PATH, metavar="DIR", help="The directory of nights [reports/nights].")
def nightly(plan: str, dry_run: bool, resume: bool | None, directory: Path | None) -> NoReturn:
    """Run the suites of PLAN, a TOML file or a name in plans/, on its boards, and print a summary.

    The project is that of the plan's directory, else that of the working directory.

    The exit status is 0 if all is good, 1 if image or tests failed, else 2 if the plan or a board's configuration is
    wrong, else 3 if the test bed failed or something was not run; 4 if another night is running; 130 or 143 if a
    signal ended it.
    """
    path = slow.plan.find(plan)
    project.use(project.of(path.resolve().parent, Path.cwd()))
    root = directory or project.current().nights
    if dry_run:
        _show(path, root)
    result = slow.night.run_night(path, root, resume=resume, log=echo if level() >= 0 else lambda text: None)
    if result.error:
        print_error(result.error)
    echo(f"\n{result.text}", nl=False)
    if result.path:
        echo(f"\nsummary: {result.path / slow.state.SUMMARY}")
    raise SystemExit(result.status)


def _show(path: Path, root: Path) -> NoReturn:

    loaded = slow.plan.load(path)
    for run in loaded.runs:
        echo(f"{run.name}: {shlex.join(run.command(root.absolute() / 'NIGHT' / run.name / 'try-1'))}")
        for problem in run.problems:
            echo(f"  wrong: {problem}", err=True)
    raise SystemExit(2 if any(run.problems for run in loaded.runs) else 0)
