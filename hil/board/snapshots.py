"""The snapshot of a board: made by a checked boot, restored for each fresh board, and replaced when proven bad."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import asdict

from hil.board.bootable import BootableBoard
from hil.console import LineTimeout
from hil.errors import ConfigurationError, HilError, InfrastructureError
from hil.qemu.determinism import typing_digest
from hil.qemu.process import StateRefused
from hil.qemu.snapshot import Snapshot
from hil.qemu.snapshot_store import SnapshotStore

PROMPT_LIMIT = 2.0  # seconds from the end of a command to the next prompt


class BoardSnapshots:
    """The snapshots of one board. `no_snapshot_reason` is why it is booted, not restored; empty if it is restored."""

    def __init__(self, board: BootableBoard, *, enabled: bool) -> None:
        self.no_snapshot_reason = "" if enabled else "snapshots are switched off"
        if not board.emulated:
            self.no_snapshot_reason = "a real board has none"
        self._board = board
        self._store: SnapshotStore | None = None
        self._snapshot: Snapshot | None = None

    def bring_up(self) -> None:
        """Restore the board, or boot it if it has no snapshot. See `Board.fresh`."""
        board = self._board
        error: HilError | None = None
        for _ in range(2):
            boots, suspect = board.boots, self._snapshot if error is not None else None
            if (snapshot := self._obtain(suspect)) is None:
                break
            if (error := self._restore_twice(snapshot)) is None:
                return
        else:
            self._discard()
            self.no_snapshot_reason = f"two of them could not be restored: {error.message if error else ''}"
        if boots == board.boots or not self._is_healthy():  # else it was booted to be saved, and can be used
            board.boot_and_check()

    def close(self) -> None:
        """Close the snapshot's file."""
        if self._snapshot is not None:
            self._snapshot.close()
            self._snapshot = None

    def _restore_twice(self, snapshot: Snapshot) -> HilError | None:
        """Restore the board, with a second attempt; return the error if the snapshot may be the cause.

        Raises other errors: of the configuration, of the test bed, and over a tapped line, which may be the cause.
        """
        failures: list[HilError] = []
        while len(failures) < 2:
            try:
                self._board.restore(snapshot)
                return None
            except HilError as error:
                if isinstance(error, ConfigurationError) or self._board.line.tap is not None:
                    raise
                failures.append(error)
                if snapshot.damage():
                    return error
        for failure in failures:
            if failure.origin == "infrastructure" and not isinstance(failure, StateRefused):
                raise failure
        return failures[-1]

    def _is_healthy(self) -> bool:
        try:
            self._board.check_health()
        except HilError as error:
            self._board.dirty = f"it did not continue after it could not be saved: {error.message}"
        return self._board.up

    def _obtain(self, suspect: Snapshot | None = None) -> Snapshot | None:
        """Return the board's snapshot, made now if there is none; None if there cannot be one.

        The `suspect` is replaced, once a boot has succeeded.
        """
        if self._snapshot is not None and suspect is None and not self._snapshot.damage():
            return self._snapshot
        if self.no_snapshot_reason or self._board.health_check is None:
            return None
        machine = self._board.machine("a snapshot")
        self.no_snapshot_reason = machine.no_snapshot_reason()
        if self.no_snapshot_reason:
            return None
        if self._store is None:
            seed = [*machine.virtual.arguments(), typing_digest()] if machine.virtual is not None else []
            self._store = SnapshotStore([*self._board.state_key(), *seed])
        boots = self._board.boots
        try:
            with self._store.alone():
                found = self._store.find()
                replaced = found is not None and suspect is not None and found.same(suspect)
                if found is not None and replaced:
                    found.close()
                self.close()
                self._snapshot = self._save(self._store, replaced) if found is None or replaced else found
        except InfrastructureError as error:
            if boots != self._board.boots and not self._board.up:  # the boot failed, not the snapshot
                raise
            self.no_snapshot_reason = error.message
        return self._snapshot

    def _save(self, store: SnapshotStore, replaced: bool) -> Snapshot:
        """Boot the board and make a snapshot of it; one that is `replaced` is removed once the board is up."""
        board = self._board
        machine = board.machine("a snapshot")
        machine.savable = True
        try:
            board.boot_and_check()
        finally:
            machine.savable = False
        if replaced:
            store.discard()
        self._await_prompt()
        report, lockstep = board.came_up(), board.console.lockstep
        facts = {
            "board": board.name,
            "image": board.manifest.name,
            "made": time.strftime("%Y-%m-%d %H:%M:%S"),
            "stages": [asdict(stage) for stage in report.stages],
            "clock": report.clock,
            "lost": board.virtual.lost if board.virtual is not None else "",
            "history": f"{lockstep.history} {board.console.transcript.size}" if lockstep is not None else "",
        }
        return machine.save(store, facts)

    def _await_prompt(self) -> None:
        """Wait until the shell reads input, so that a restored one reads everything that is typed to it."""
        console, prompt = self._board.console, self._board.manifest.console.prompt.encode()
        if not console.transcript.read(max(0, console.position - len(prompt)), console.position).endswith(prompt):
            with suppress(LineTimeout):
                console.wait_for(prompt, timeout=PROMPT_LIMIT)

    def _discard(self) -> None:
        """Close the snapshot and remove it from the disk, unless another has taken its place there."""
        if self._snapshot is not None and self._store is not None:
            with self._store.alone():
                found = self._store.find()
                if found is not None:
                    if found.same(self._snapshot):
                        self._store.discard()
                    found.close()
        self.close()
