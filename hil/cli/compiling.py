"""`hil compile`: one module compiled ahead of time for the runner of an image."""

from __future__ import annotations

import time
from pathlib import Path

import click

from hil import slow
from hil.board.selection import find, is_place
from hil.cli import candidates
from hil.cli.common import FILE, echo, selected
from hil.cli.verbosity import note, working
from hil.errors import ConfigurationError
from hil.host import files
from hil.image import ensure


@click.command("compile")
@click.argument("module", shell_complete=candidates.modules)
@click.option(
    "--board", "name", shell_complete=candidates.boards, metavar="NAME", help="Compile for this board's image."
)
@click.option("--image", metavar="NAME", shell_complete=candidates.images, help="Compile for this image.")
@click.option("-o", "--output", type=FILE, metavar="OUT", help="The file to write [NAME.aot.wasm].")
def compile_(module: str, name: str | None, image: str | None, output: Path | None) -> None:
    """Compile MODULE ahead of time for the CPU and the runtime of an image, with the image's own compiler.

    The result is the same module with native code beside its WebAssembly. `hil run` and tests deploy it as any other;
    runtimes for which it is not made interpret it. `hil run --aot` and `runner.run(..., aot=True)` compile by
    themselves.

    Compiling takes some seconds for 10 KB of WebAssembly, and minutes for 1 MB: the compiler runs under user emulation
    (qemu-aarch64). What was compiled once is kept in the cache.
    """
    loaded = slow.load_module(module)
    manifest = _manifest(name, image)
    begin = time.monotonic()
    with working() as progress:
        made = slow.compiled(loaded, manifest, lambda: ensure(manifest, progress))
        seconds = time.monotonic() - begin
    path = output or Path(f"{loaded.name.removesuffix('.wasm')}.aot.wasm")
    if made is loaded:
        note(f"{loaded.name} is compiled for image {manifest.name} already")
    files.write(path, made.data)
    echo(str(path))
    size = f"{len(loaded.data)} bytes of WebAssembly, {len(made.data)} with native code for {made.native}"
    note(f"{size}, image {manifest.name}: {seconds:.1f} s")


def _manifest(name: str | None, image: str | None) -> slow.manifest.Manifest:
    """Return the manifest of the image, or of the board's image. Raises `ConfigurationError`."""
    if image is not None:
        return slow.manifest.load(Path(image)) if image.endswith(".toml") else slow.manifest.find(image)
    board = selected([] if name is None else [name])
    if is_place(board.names[0]):
        raise ConfigurationError(
            f"the image of {board.names[0]} is not known before the place is acquired",
            hint="Name the image: hil compile MODULE --image NAME",
        )
    path = find(board.names[0])
    environment = slow.boardfile.environment(path)
    slow.boardfile.forget_classes(path)
    if (key := slow.boardfile.image_key(path)) is None:
        raise ConfigurationError(f"{path} names no image", hint="Name it: hil compile MODULE --image NAME")
    manifest = slow.manifest_in(environment.config, key)
    note(f"image {manifest.name} of board {board.names[0]}, chosen by {board.source}")
    return manifest
