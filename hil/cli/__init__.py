"""The command `hil`: options and output; the work is done in the other packages."""

from __future__ import annotations

import click

from hil.cli.boards import board, link_
from hil.cli.common import CommandGroup
from hil.cli.compiling import compile_
from hil.cli.completion import completion
from hil.cli.faults import fault
from hil.cli.figures import baseline, bounds, plot, results
from hil.cli.history import history
from hil.cli.images import image
from hil.cli.init import init
from hil.cli.lab import lab
from hil.cli.newmodule import new_module
from hil.cli.nightly import nightly
from hil.cli.review import compare, report, review
from hil.cli.runs import run
from hil.cli.samples import sample
from hil.cli.setup import doctor, setup
from hil.cli.snapshots import snapshot
from hil.cli.transcripts import transcript
from hil.cli.verbosity import add_options


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(package_name="wasm-hil")
def main() -> None:
    """Hardware-in-the-loop tests of WebAssembly on real-time partitioned systems."""


for command in (
    init,
    doctor,
    setup,
    image,
    board,
    sample,
    new_module,
    snapshot,
    transcript,
    link_,
    run,
    compile_,
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
    completion,
):
    main.add_command(command)

add_options(main)
