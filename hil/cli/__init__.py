"""The command `hil`: options and output; the work is done in the other packages."""

from __future__ import annotations

import click
from rich.markup import escape

from hil.cli.boards import board, link_
from hil.cli.common import CommandGroup, as_json, json_option, out
from hil.cli.faults import fault
from hil.cli.figures import baseline, bounds, plot, results
from hil.cli.history import history
from hil.cli.images import image
from hil.cli.init import init
from hil.cli.lab import lab
from hil.cli.nightly import nightly
from hil.cli.review import compare, report, review
from hil.cli.runs import run
from hil.cli.snapshots import snapshot
from hil.cli.transcripts import transcript


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(package_name="wasm-hil")
def main() -> None:
    """Hardware-in-the-loop tests of WebAssembly on real-time partitioned systems."""


@main.command()
@json_option
def doctor(json_: bool) -> None:
    """Check this machine: print what is missing and how to install it."""
    from hil.cli import host_check

    findings = host_check.run()
    if json_:
        as_json([vars(finding) for finding in findings])
    else:
        for finding in findings:
            mark = "[green]ok     [/]" if finding.good else "[bold red]missing[/]"
            out.print(f"{mark} {escape(finding.name)}: {escape(finding.found)}")
            if not finding.good:
                out.print(f"        what to do: {escape(finding.remedy)}")
    raise SystemExit(0 if all(finding.good for finding in findings) else 1)


for command in (
    init,
    image,
    board,
    snapshot,
    transcript,
    link_,
    run,
    results,
    plot,
    baseline,
    bounds,
    fault,
    report,
    review,
    compare,
    history,
    nightly,
    lab,
):
    main.add_command(command)
