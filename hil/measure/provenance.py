"""The circumstances of a measurement: its provenance, and the load of the host during it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from hil.errors import InfrastructureError
from hil.guest import Guest
from hil.image.store import Image
from hil.measure.clock import LOCKSTEP
from hil.measure.host import EMULATOR, OWN, READER, HostWindow, Watch
from hil.wasm import Module


@contextmanager
def watched(guest: Guest, count: int, windows: list[HostWindow] | None = None) -> Iterator[list[HostWindow]]:
    """Append to `windows` the load of the host while `count` samples are taken on `guest`; nothing in virtual time."""
    board, windows = guest.board, [] if windows is None else windows
    if board.virtual is not None:
        yield windows
        return
    pids = {OWN: os.getpid(), READER: board.console.reader}
    if board.emulated:
        with suppress(InfrastructureError):  # QEMU has ended; the measurement itself will raise
            pids[EMULATOR] = board.qemu.pid
    watch = Watch(pids)
    yield windows
    windows.append(HostWindow(count, watch.load()))


def provenance(guest: Guest, module: Module | None = None, image: Image | None = None) -> dict[str, str]:
    """Return the facts needed to repeat a measurement: board, image, module, QEMU, seed, and what was typed before.

    `image` is that of the board, if it is known: the board's search for it takes subprocesses.
    """
    board, console = guest.board, guest.board.console
    facts = {"board": board.name, "image": f"{board.manifest.name} {(image or board.image()).digest}"}
    if module is not None:
        facts["module"] = f"{module.name} {module.sha256}"
    if board.emulated:
        facts["qemu"] = board.qemu.build
    if board.virtual is not None:
        mode = "no lock step" if console.lockstep is None else LOCKSTEP
        facts |= {"mode": mode, "seed": str(board.virtual.seed), "exactness": str(board.virtual)}
    if console.lockstep is not None:
        facts["history"] = console.lockstep.history
    return {**facts, "transcript": str(console.transcript.path)}
