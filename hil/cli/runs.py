"""`hil run`: one module on one board."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, NoReturn

import click
from rich.markup import escape

from hil import slow
from hil.cli import candidates
from hil.cli.common import (
    as_json,
    board_option,
    boot_option,
    brought_up,
    err,
    image_option,
    json_option,
    powered,
    print_error,
    seed_option,
)
from hil.cli.verbosity import note, watched, working
from hil.errors import ConfigurationError, HilError
from hil.text import printable

STATUS = {"exited": 0, "failed": 65, "faulted": 66, "silent": 67, "stuck": 68, "no-agent": 69}
GARBLED = 70  # exited with 0, but the output was garbled on the line
# there was no run; modules rarely exit with these, unlike 1 and 2
NO_RUN = {"configuration": 64, "infrastructure": 71, "image": 72}


class _Run(click.Command):
    """A command that ends with a status of `NO_RUN` if no module was run."""

    def make_context(self, *arguments: Any, **options: Any) -> click.Context:
        try:
            return super().make_context(*arguments, **options)
        except click.UsageError as error:
            error.show()
            raise SystemExit(NO_RUN["configuration"]) from None

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except HilError as error:
            print_error(error)
            raise SystemExit(NO_RUN[error.origin]) from None


@click.command(cls=_Run, context_settings={"allow_interspersed_args": False})
@click.argument("module", shell_complete=candidates.modules)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@board_option
@image_option
@seed_option
@boot_option
@click.option("--limit", type=click.FloatRange(min=0.001), default=30.0, help="Time limit in seconds.")
@click.option("--pins", metavar="NAME,...", help="Pins and channels that it may use, instead of a sample's own.")
@click.option("--aot", is_flag=True, help="Compile it ahead of time for the image first, see `hil compile`.")
@click.option("--env", "variables", multiple=True, metavar="NAME=VALUE", help="Variable of the module's environment.")
@click.option(
    "--dir",
    "directories",
    multiple=True,
    metavar="DIRECTORY:PATH[:rw]",
    help="Give the module a copy of this directory, at PATH; with rw its files are written back.",
)
@click.option("--raw", is_flag=True, help="Do not escape control characters on a terminal.")
@json_option
def run(
    module: str,
    arguments: tuple[str, ...],
    name: str,
    image: str | None,
    seed: int | None,
    boot: bool,
    limit: float,
    pins: str | None,
    aot: bool,
    variables: tuple[str, ...],
    directories: tuple[str, ...],
    raw: bool,
    json_: bool,
) -> NoReturn:
    """Deploy MODULE with ARGUMENTS on a fresh board, print its output and verdict.

    The options stand before MODULE: everything after it is passed on to the module, also what begins with a dash.

    MODULE is a file, the name of a sample, an OCI image layout (its directory or tar, or
    oci-layout:PATH[:TAG][@DIGEST]) or an artifact in a registry: oci://REGISTRY/REPOSITORY[:TAG][@DIGEST]; oci+http://
    for one without TLS.

    With --dir the module finds a directory at PATH, such as / or data; an empty one needs no files. In a directory with
    rw, files that the module writes, changes or removes are written, changed and removed after the run.

    On a terminal the output's control characters are escaped as `\\x1b`; a pipe or a file gets the output unchanged.

    An emulated board is restored from its snapshot, which the first run creates.

    If the module exited, its code is the exit status (255 for codes beyond a byte). Otherwise:

    \b
    65  failed: refused or ended by the runner     66  faulted
    67  silent                                     68  stuck
    69  no agent                                   70  exited with 0, output garbled on the line
    64  not run: the command line, the board, the image or the module is wrong
    71  not run: the test bed failed
    72  not run: the image did not come up, or its guest failed; or the files of the module did not come back
    130 interrupted with Ctrl-C

    A module may exit with one of these, too: the last line on standard error, and `verdict` with --json, distinguish
    them.
    """
    env = dict(map(_variable, variables))
    given = [_directory(text) for text in directories]
    loaded = slow.load_module(module)  # before a board is acquired
    if loaded.path is None and loaded.source != module:  # the digest behind a tag
        note(loaded.source)
    with powered(name, image, seed, snapshots=not boot) as chosen:
        if aot:
            with working():
                loaded = slow.compiled(loaded, chosen.manifest, chosen.image)
        slow.Runner(slow.Guest(chosen)).check_size(loaded)  # before the boot
        brought_up(chosen, boot=boot)
        with watched() as progress:
            runner = slow.Runner(slow.Guest(chosen, progress=progress))
            runner.place(loaded)
        words = (slow.text_of(os.fsencode(word)) for word in arguments)  # unchanged bytes, in any locale
        policy = None if pins is None else [name for name in pins.split(",") if name]
        preopens = [preopen for _, preopen in given]
        done = runner.run(loaded, *words, limit=limit, pins=policy, env=env, preopens=preopens)
    if json_:
        as_json(
            {
                "module": loaded.name,
                "sha256": loaded.sha256,
                "source": loaded.source,
                "aot": loaded.native is not None,
                "verdict": str(done.verdict),
                "intact": done.intact,
                "output": done.text,
                "diagnostics": done.diagnostics,
                "files": {path: len(data) for path, data in done.outputs.files.items()},
                "files_problem": done.outputs.problem,
                "transcript": done.transcript,
            }
        )
    else:
        _write(done.output, raw=raw)
        for line in () if done.good else done.diagnostics:
            err.print(f"[dim]{escape(line)}[/]")
        colour = "green" if done.good else "bold red"
        mark = " (aot)" if loaded.native else ""
        err.print(f"[{colour}]{escape(loaded.name)}{mark}: {escape(str(done.verdict))}[/]", end="")
        err.print(" (output garbled on the line)" if done.intact is False else "")
    if problem := done.outputs.problem:
        err.print(f"[bold red]the files of the module did not come back: {escape(problem)}[/]")
    for number, (directory, preopen) in enumerate(given):
        if preopen.writable and not problem:
            slow.write_back(directory, preopen.files, done.outputs.parts.get(number, {}))
    status = exit_status(done.verdict) or (0 if done.good else GARBLED)
    raise SystemExit(status or (NO_RUN["image"] if problem else 0))


def _variable(text: str) -> tuple[str, str]:
    """Return name and value of a variable. Raises `ConfigurationError` without an equals sign."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise ConfigurationError(f"--env {text} is no variable", hint="Give NAME=VALUE.")
    return name, slow.text_of(os.fsencode(value))


def _directory(text: str) -> tuple[Path, slow.Preopen]:
    """Return a directory of this machine, and what the module is given of it.

    Raises `ConfigurationError` without a path, and for a directory that is not there.
    """
    rest, _, mode = text.rpartition(":")
    if mode not in ("rw", "ro"):
        rest, mode = text, "ro"
    directory, colon, at = rest.rpartition(":")
    if not colon or not directory or not at:
        raise ConfigurationError(f"--dir {text} names no path for the module", hint="Give DIRECTORY:PATH[:rw].")
    path = Path(directory)
    if not path.is_dir():
        raise ConfigurationError(f"--dir {text}: {directory} is no directory", hint="Create it.")
    return path, slow.Preopen(at, slow.read_tree(path), mode == "rw")


def _write(output: bytes, *, raw: bool) -> None:
    """Write a module's output; on a terminal escaped as by `cat -v`, unless `raw`."""
    shown = not raw and sys.stdout.isatty()
    sys.stdout.buffer.write(printable(output.decode("utf-8", "surrogateescape")).encode() if shown else output)
    sys.stdout.buffer.flush()


def exit_status(verdict: slow.Verdict) -> int:
    """Return the exit status for a verdict: a module's own code, 255 for codes beyond a byte."""
    code = getattr(verdict, "code", None)
    if verdict.name == "exited" and code is not None:
        return code if 0 <= code <= 255 else 255
    return STATUS[verdict.name]
