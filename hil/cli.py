"""`hil`: images, boards, single runs and reports from the command line. What it does is done elsewhere."""

from __future__ import annotations

import json
import os
import select
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click
from rich.console import Console as Terminal
from rich.markup import escape
from rich.table import Table

from hil.errors import ConfigurationError, HilError

if TYPE_CHECKING:
    from hil.board.board import Board
    from hil.board.stages import BootReport
    from hil.image.store import Image
    from hil.wasm import Verdict

DEFAULT_BOARD = "qemu-reference"
DEFAULT_ADDED = "wasmedge-sel4"
STATUS = {"exited": 0, "failed": 65, "faulted": 66, "silent": 67, "stuck": 68, "no-agent": 69}
GARBLED = 70  # exited with 0, but the output is not what the module wrote
QUIT = b"\x1d"  # Ctrl-], as telnet and labgrid's console have it

# in a pipe a table is as wide as it wants: lines are for grep
out = Terminal(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 1000)
err = Terminal(highlight=False, soft_wrap=True, stderr=True)


class Group(click.Group):
    """Shows the framework's errors without a traceback and turns them into exit statuses."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except HilError as error:
            tell(error)
            raise SystemExit(2 if isinstance(error, ConfigurationError) else 1) from None


def tell(error: HilError) -> None:
    err.print(f"[bold red]hil: {type(error).__name__}[/] ({error.fault}): {escape(str(error))}")


def as_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, default=str))


json_option = click.option("--json", "json_", is_flag=True, help="Print JSON, for machines.")
board_option = click.option(
    "--board", "name", default=DEFAULT_BOARD, show_default=True, metavar="NAME", help="A name in boards/, or a path."
)
image_option = click.option("--image", metavar="NAME", help="Boot this image instead of the board's own.")


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="wasm-hil")
def main() -> None:
    """Hardware-in-the-loop tests of WebAssembly on real-time partitioned systems."""


@main.command()
@json_option
def doctor(json_: bool) -> None:
    """Show what is missing on this machine and how to get it."""
    from hil import checkup

    findings = checkup.run()
    if json_:
        as_json([vars(finding) for finding in findings])
    else:
        for finding in findings:
            mark = "[green]ok     [/]" if finding.good else "[bold red]missing[/]"
            out.print(f"{mark} {escape(finding.name)}: {escape(finding.found)}")
            if not finding.good:
                out.print(f"        what to do: {escape(finding.remedy)}")
    raise SystemExit(0 if all(finding.good for finding in findings) else 1)


@main.group()
def image() -> None:
    """The images that boards boot."""


@image.command("list")
@json_option
def image_list(json_: bool) -> None:
    """List the images and whether they are ready."""
    from hil.image import manifest as manifests
    from hil.image import store

    rows = []
    for name in manifests.available():
        row = {"name": name, "title": "", "hypervisor": "", "state": ""}
        rows.append(row)
        try:
            manifest = manifests.find(name)
            row |= {"title": manifest.title, "hypervisor": manifest.hypervisor}
            row["state"] = store.state(manifest)
        except HilError as error:
            row["state"] = error.message
    _show(rows, json_)


@image.command("build")
@click.argument("name")
@click.option("--force", is_flag=True, help="Build again even if it is there.")
@click.option("--mirror", metavar="URL", help="Package mirror instead of the default one.")
def image_build(name: str, force: bool, mirror: str | None) -> None:
    """Build the image NAME, unless it is there."""
    from hil.image import build, manifest
    from hil.image.progress import shown

    with shown(sys.stderr) as progress:
        built = build.build(manifest.find(name), mirror=mirror, progress=progress, force=force)
    out.print(f"{escape(built.manifest.title)}: {built.digest}\n{escape(str(built.directory))}")


@image.command("add")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--name", default=DEFAULT_ADDED, show_default=True, help="The manifest in images/ that describes it.")
@click.option("--arguments", metavar="'...'", help="QEMU's arguments, in place of those in the build's simulate.")
@click.option("--force", is_flag=True, help="Replace the image that was added under this name before.")
def image_add(path: Path, name: str, arguments: str | None, force: bool) -> None:
    """Add the image of a WasmEdge-on-seL4 build, or of another CAmkES VM for QEMU.

    PATH is a build directory with `simulate` and `images/`, the directory above it, or an archive of
    it, as the upstream release is one. Nothing of it is run.
    """
    from hil.image import manifest
    from hil.image.add import add
    from hil.image.progress import shown

    described = manifest.find(name)
    with shown(sys.stderr) as progress:
        added = add(path, described, arguments=arguments, force=force, progress=progress)
    out.print(f"{escape(added.manifest.title)}: {added.digest}\n{escape(str(added.directory))}")


@image.command("info")
@click.argument("name")
@json_option
def image_info(name: str, json_: bool) -> None:
    """Show what the image NAME is made of."""
    found = _image(name)
    if json_:
        as_json(
            {"name": name, "digest": found.digest, "directory": found.directory, "command": found.command()}
            | found.record
        )
        return
    out.print(f"{escape(found.manifest.title)} ({found.manifest.hypervisor})\ndigest {found.digest}\n{found.directory}")
    _show([{"file": file, **facts} for file, facts in sorted(found.record["files"].items())], False)
    if origin := found.record.get("origin"):
        _show([{"origin": key, "is": value} for key, value in origin.items() if value], False)
    if packages := found.record.get("packages"):
        _show([{"package": package, "version": version} for package, version in sorted(packages.items())], False)


@image.command("verify")
@click.argument("name")
def image_verify(name: str) -> None:
    """Read all files of the image NAME again and compare their digests."""
    from hil.image import store

    found = _image(name)
    store.verify(found)
    out.print(f"{len(found.files)} files of {escape(name)} are as recorded, digest {found.digest}")


@main.group()
def board() -> None:
    """The boards that tests run on."""


@board.command("list")
@json_option
def board_list(json_: bool) -> None:
    """List the boards."""
    from hil.board import boardfile

    _show([{"name": name, "file": str(boardfile.find(name))} for name in boardfile.available()], json_)


@board.command("boot")
@board_option
@image_option
@json_option
def board_boot(name: str, image: str | None, json_: bool) -> None:
    """Boot a board once and show how long each stage took."""
    with _board(name, image) as chosen:
        report = _boot(chosen)
        rows = [{"stage": stage.name, "seconds": round(stage.seconds, 3)} for stage in report.stages]
    if json_:
        as_json({"board": name, "image": report.image, "clock": report.clock, "stages": rows})
        return
    _show(rows, False)
    out.print(f"clock: {report.clock}\ntranscript: {escape(str(report.transcript))}")


@board.command("console")
@board_option
@image_option
def board_console(name: str, image: str | None) -> None:
    """Boot a board and talk to its console by hand; Ctrl-] ends it and switches the board off."""
    if not sys.stdin.isatty():
        raise ConfigurationError("the console needs a terminal", hint="for scripts there is `hil run` and pytest")
    with _board(name, image) as chosen:
        _boot(chosen)
        err.print("[dim]booted; Ctrl-] ends[/]")
        _interact(chosen)


@main.group()
def transcript() -> None:
    """The recorded consoles of boards; FILE is NAME.raw, NAME.tsv or NAME."""


class Place(click.ParamType):  # type: ignore[type-arg]
    """A place in a transcript: a line's number, or seconds since the first byte."""

    name = "LINE|SECONDSs"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> Any:
        try:
            place = float(value[:-1]) if value.endswith("s") else int(value)
        except ValueError:
            self.fail(f"{value!r} is neither a line's number (12) nor seconds (3.5s)", param, context)
        return place


file_argument = click.argument("file", type=click.Path(path_type=Path))


@transcript.command("show")
@file_argument
@click.option("--from", "begin", type=Place(), help="First line: its number, or seconds as 3.5s.")
@click.option("--to", "end", type=Place(), help="Last line, in the same way.")
@click.option("--sent", is_flag=True, help="Show what was sent, too, marked >.")
@click.option("--times", is_flag=True, help="Show the seconds since the line before as well.")
@json_option
def transcript_show(file: Path, begin: float | None, end: float | None, sent: bool, times: bool, json_: bool) -> None:
    """Print the lines of FILE: number, seconds since the first byte, text without control characters."""
    from hil.console import listing

    rows = listing.rows(file, begin=begin, end=end, sent=sent)
    if json_:
        as_json([row.facts for row in rows])
        return
    for line in listing.table(rows, gaps=times):
        click.echo(line)


@transcript.command("grep")
@click.argument("pattern")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-i", "--ignore-case", is_flag=True, help="Make no difference between a and A.")
@click.option("-C", "--context", type=click.IntRange(0), default=0, metavar="N", help="N lines before and after, too.")
def transcript_grep(pattern: str, files: tuple[Path, ...], ignore_case: bool, context: int) -> NoReturn:
    """Print the lines that hold PATTERN, a regular expression of Python's: FILE:LINE:SECONDS:text.

    The exit status is grep's: 0 found, 1 not found, 2 for an error.
    """
    from hil.console import listing

    found = failed = False
    expression = listing.expression(pattern, ignore_case=ignore_case)
    for file in files:
        try:
            for line in listing.grep(file, expression, context=context):
                click.echo(line)
                found = True
        except HilError as error:  # as grep does: on with the others
            tell(error)
            failed = True
    raise SystemExit(2 if failed else 0 if found else 1)


@transcript.command("export")
@file_argument
@click.option("--output", "-o", type=click.Path(path_type=Path), help="The asciicast [NAME.cast in this directory].")
@click.option("--title", help="The title that a player shows [NAME].")
@click.option(
    "--idle-limit", type=click.FloatRange(0, min_open=True), metavar="SECONDS", help="Let players cut longer pauses."
)
def transcript_export(file: Path, output: Path | None, title: str | None, idle_limit: float | None) -> None:
    """Write FILE as an asciicast (version 2), which terminal players show; `-o -` is standard output."""
    from hil.console import asciicast
    from hil.console.recording import Recording

    recording = Recording(file)
    lines = asciicast.lines(recording, title=title, idle_limit=idle_limit)
    if output == Path("-"):
        for line in lines:
            click.echo(line)
        return
    made = output or Path(recording.path.with_suffix(".cast").name)
    asciicast.write(made, lines)
    out.print(escape(str(made)))


@transcript.command("replay")
@file_argument
@click.option(
    "--speed", type=click.FloatRange(0), default=1.0, show_default=True, help="2 is twice as fast, 0 at once."
)
def transcript_replay(file: Path, speed: float) -> None:
    """Play what came in FILE to the terminal, as fast as it came; Ctrl-C ends it."""
    from hil.console.recording import Recording
    from hil.console.replay import paced

    try:
        for data in paced(Recording(file), speed):
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
    except KeyboardInterrupt:
        raise SystemExit(130) from None


@main.command(context_settings={"ignore_unknown_options": True})
@click.argument("module", type=click.Path(path_type=Path))
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@board_option
@image_option
@click.option("--limit", type=click.FloatRange(min=0.001), default=30.0, show_default=True, help="Seconds it may run.")
@json_option
def run(module: Path, arguments: tuple[str, ...], name: str, image: str | None, limit: float, json_: bool) -> NoReturn:
    """Boot, deploy MODULE with ARGUMENTS, print its output and verdict.

    The exit status is the module's own where it exited, else 65 failed, 66 faulted, 67 silent,
    68 stuck, 69 no agent, 70 exited with 0 but garbled on the line; 1 and 2 without a
    verdict mean that there was no run.
    """
    from hil.guest import Guest
    from hil.image.progress import shown
    from hil.wasm import Module, Runner

    loaded = Module.load(module)  # before a boot is paid for
    with _board(name, image) as chosen:
        _boot(chosen)
        with shown(sys.stderr) if err.is_terminal else nullcontext() as progress:
            runner = Runner(Guest(chosen, progress=progress))
            runner.place(loaded)
        done = runner.run(loaded, *arguments, limit=limit)
    if json_:
        as_json(
            {
                "module": loaded.name,
                "sha256": loaded.sha256,
                "verdict": str(done.verdict),
                "intact": done.intact,
                "output": done.text,
                "diagnostics": done.diagnostics,
                "transcript": done.transcript,
            }
        )
    else:
        sys.stdout.buffer.write(done.output)
        sys.stdout.buffer.flush()
        for line in () if done.good else done.diagnostics:
            err.print(f"[dim]{escape(line)}[/]")
        colour = "green" if done.good else "bold red"
        err.print(f"[{colour}]{escape(loaded.name)}: {escape(str(done.verdict))}[/]", end="")
        err.print(" (output garbled on the line)" if done.intact is False else "")
    raise SystemExit(exit_status(done.verdict) or (0 if done.good else GARBLED))


@main.command()
@click.argument("results", type=click.Path(path_type=Path), required=False)
@click.option("--output", "-o", type=click.Path(path_type=Path), help="The HTML file [reports/report.html].")
@click.option("--title", default="Hardware-in-the-loop tests", show_default=True)
def report(results: Path | None, output: Path | None, title: str) -> None:
    """Make one HTML file of the Allure results in RESULTS [reports/results]."""
    from hil.report import build

    made = build.build(results or build.RESULTS_DIR, output or build.REPORTS_DIR / "report.html", title=title)
    out.print(escape(str(made)))


def exit_status(verdict: Verdict) -> int:
    """What a shell is told of a verdict; a module's code beyond a byte is told as 255."""
    code = getattr(verdict, "code", None)
    if verdict.name == "exited" and code is not None:
        return code if 0 <= code <= 255 else 255
    return STATUS[verdict.name]


def _image(name: str) -> Image:
    from hil.image import manifest, store

    described = manifest.find(name)
    found = store.open(described)
    if found is None:
        raise store.absent(described)
    return found


@contextmanager
def _board(name: str, image: str | None) -> Iterator[Board]:
    from hil.board.board import Board

    with Board(name, image=image) as chosen:
        chosen.image()
        yield chosen


def _boot(chosen: Board) -> BootReport:
    what = f"booting {chosen.manifest.title} on {chosen.name}"
    with err.status(escape(what)) if err.is_terminal else nullcontext():
        return chosen.boot()


def _show(rows: list[dict[str, Any]], json_: bool) -> None:
    if json_:
        as_json(rows)
        return
    if not rows:
        return
    table = Table(box=None, pad_edge=False)
    for key in rows[0]:
        table.add_column(key, overflow="fold")
    for row in rows:
        table.add_row(*(escape(str(value)) for value in row.values()))
    out.print(table)


def _interact(board: Board, read: Callable[[int, int], bytes] = os.read) -> None:
    """Pass bytes between the terminal and the line until Ctrl-] or the line's end."""
    console = board.console
    stdin, stdout = sys.stdin.fileno(), sys.stdout.fileno()
    before = termios.tcgetattr(stdin)
    tty.setraw(stdin)
    try:
        console.write(b"\n")
        while True:
            ready = select.select([stdin, console], [], [])[0]
            if stdin in ready:
                typed = read(stdin, 4096)
                if not typed or QUIT in typed:
                    return
                console.write(typed)
            if console in ready:
                os.write(stdout, console.read(0.0))
    finally:
        termios.tcsetattr(stdin, termios.TCSADRAIN, before)
