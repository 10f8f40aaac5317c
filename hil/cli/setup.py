"""`hil doctor` and `hil setup`: what a purpose needs, and the installation of what pip and npm can install."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, NoReturn

import click
from rich.markup import escape

from hil import slow
from hil.cli.common import as_json, json_option, out
from hil.cli.verbosity import working
from hil.host import packages
from hil.host.packages import PURPOSES

if TYPE_CHECKING:
    from hil.cli.host_check import Purpose

purposes_argument = click.argument("purposes", nargs=-1, type=click.Choice(list(PURPOSES)), metavar="[PURPOSE]...")
LIST = ", ".join(f"{name} ({title})" for name, title in PURPOSES.items())


@click.command(help=f"Check this machine: print what is missing for each PURPOSE and how to install it.\n\n{LIST}.")
@purposes_argument
@json_option
def doctor(purposes: tuple[str, ...], json_: bool) -> NoReturn:
    from hil.cli import host_check

    checked = host_check.run(purposes)
    if json_:
        as_json([asdict(purpose) | {"good": purpose.good} for purpose in checked])
    else:
        _show(checked)
    raise SystemExit(0 if all(purpose.good for purpose in checked) else 1)


@click.command(
    help="Install what pip and npm can install for each PURPOSE, then print what is left for the system's package "
    f"manager.\n\n{LIST}."
)
@purposes_argument
def setup(purposes: tuple[str, ...]) -> NoReturn:
    from hil.cli import host_check

    with working() as progress:
        for name in purposes or PURPOSES:
            if name in slow.extras.EXTRAS and slow.extras.missing(name):
                progress.step(f"pip: {', '.join(slow.extras.missing(name))}")
                slow.extras.install(name, on_line=lambda _: progress.advance(0))
            if name == "report":
                slow.generator.install(progress)
    checked = host_check.run(purposes)
    _show(checked)
    raise SystemExit(0 if all(purpose.good for purpose in checked) else 1)


def _show(checked: Sequence[Purpose]) -> None:
    for purpose in checked:
        mark = "[green]ok     [/]" if purpose.good else "[bold red]missing[/]"
        out.print(f"{mark} {purpose.name}: {purpose.title}")
        for requirement in purpose.requirements:
            if not requirement.good:
                out.print(f"          {escape(requirement.name)}: {escape(requirement.found)}")
        for remedy in purpose.remedies:
            out.print(f"        what to do: {escape(remedy)}")
    lacking = [purpose for purpose in checked if purpose.packages]
    if len(lacking) > 1:
        every = [package for purpose in lacking for package in purpose.packages]
        out.print(f"all at once: {escape(packages.distribution().install(every))}")
