"""Layers of a board's snapshot: files that a restored board contains already, because they were put there once before.

A layer is made from a board that nobody has touched since its restore, and the board is then restored from the layer.
So its state does not depend on whether the layer existed before, in virtual time to the bit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress

from hil.board.bootable import BootableBoard
from hil.console import LineTimeout
from hil.errors import HilError, InfrastructureError
from hil.host import progress
from hil.qemu.layer_store import LayerStore
from hil.qemu.snapshot import Snapshot
from hil.qemu.snapshot_store import SnapshotStore

PROMPT_LIMIT = 2.0  # seconds from the end of a command to the next prompt


class NoLayer(InfrastructureError):
    """A layer that could not be read or made, for a reason that is not the files'."""


def obtain(board: BootableBoard, base: Snapshot, contents: Mapping[str, str], send: Callable[[], object]) -> Snapshot:
    """Return the layer of `base` with `contents` (digests by path), made now if there is none.

    It is made by restoring the board from `base` and calling `send`, which puts the files into the guest. The board is
    then stopped. Raises `NoLayer`, after which the state of the board is unknown, and the errors of `send`.
    """
    store = LayerStore(base, contents)
    with ExitStack() as lock:
        with _converted():
            lock.enter_context(store.alone())
            if (found := store.find()) is not None:
                return found
            machine = board.machine("a snapshot")
            machine.savable = True
            try:
                board.restore(base)
            finally:
                machine.savable = False
        send()
        board.touch()
        with _converted():
            return save(board, store, {**base.facts, "made": time.strftime("%Y-%m-%d %H:%M:%S")})


@contextmanager
def _converted() -> Iterator[None]:
    try:
        yield
    except HilError as error:
        raise NoLayer(error.message, hint=error.hint) from error


def discard(base: Snapshot, contents: Mapping[str, str]) -> None:
    """Remove the layer of `base` with `contents`."""
    store = LayerStore(base, contents)
    with store.alone():
        store.discard()


def save(board: BootableBoard, store: SnapshotStore, facts: Mapping[str, object]) -> Snapshot:
    """Save the board's machine, which stays stopped, with `facts` and those of its clock. Raises as the machine's."""
    await_prompt(board)
    lockstep = board.console.lockstep
    facts = {
        **facts,
        "lost": board.virtual.lost if board.virtual is not None else "",
        "history": f"{lockstep.history} {board.console.transcript.size}" if lockstep is not None else "",
    }
    with progress.timed(f"{board.where}: saving a snapshot"):
        return board.machine("a snapshot").save(store, facts)


def await_prompt(board: BootableBoard) -> None:
    """Wait until the shell reads input, so that a restored one reads everything that is typed to it."""
    console, prompt = board.console, board.manifest.console.prompt.encode()
    if not console.transcript.read(max(0, console.position - len(prompt)), console.position).endswith(prompt):
        with suppress(LineTimeout):
            console.wait_for(prompt, timeout=PROMPT_LIMIT)
