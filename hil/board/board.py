"""A board under test: brought up fresh, from a snapshot where there can be one, and closed.

The snapshot is made by a checked boot, restored for each fresh board, and replaced when proven bad.
"""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict

from hil.board import layers
from hil.board.boot_report import BootReport
from hil.board.bootable import BootableBoard
from hil.errors import ConfigurationError, HilError, InfrastructureError
from hil.host.closing import Closing
from hil.qemu.determinism import typing_digest
from hil.qemu.process import StateRefused
from hil.qemu.snapshot import Snapshot
from hil.qemu.snapshot_store import SnapshotStore

_log = logging.getLogger(__name__)


class Board(Closing, BootableBoard):
    """A board with its image, see `BootableBoard`. Nothing is switched on before `fresh` or `boot`."""

    _store: SnapshotStore | None = None
    _snapshot: Snapshot | None = None
    no_layer_reason = ""  # why it is not restored from layers

    def fresh(self) -> BootReport:
        """Bring the board up as new and check its health: restored from its snapshot, or booted if it has none.

        The first time it is booted, checked and saved, unless another process has done so. A snapshot is removed only
        if it is proven bad: its files differ from their digests, or two restores in a row fail and a boot of the same
        machine succeeds. It is made again, once; after that the board is booted. Failures of the test bed never remove
        it. Raises as `boot`, and the errors of `health_check`; over a tapped line after the first attempt.
        """
        error: HilError | None = None
        for _ in range(2):
            boots, suspect = self.boots, self._snapshot if error is not None else None
            if (snapshot := self._obtain(suspect)) is None:
                break
            if (error := self._restore_twice(snapshot)) is None:
                self.refill_spares()
                return self.reported_up("restore")
        else:
            self._discard_snapshot()
            self.no_snapshot_reason = f"two of them could not be restored: {error.message if error else ''}"
        if boots == self.boots or not self._is_healthy():  # else it was booted to be saved, and can be used
            self.boot_and_check()
        return self.reported_up("boot")

    def provide(self, contents: Mapping[str, str], send: Callable[[], bool]) -> bool:
        """Put files into the guest: by `send`, or by restoring the board from a layer of its snapshot that has them.

        `contents` are the digests of the files, by path. A board that is not `untouched` is not restored. Returns what
        `send` returns, False for a layer. Raises the errors of `send`, and as `fresh`.
        """
        base = self._snapshot
        if base is None or self.no_layer_reason or not self.untouched:
            return send()
        try:
            layer = layers.obtain(self, base, contents, send)
            try:
                failure = self._restore_twice(layer)
            finally:
                layer.close()
            if failure is None:
                self.touch()
                self.reported_up("restore")
                return False
            layers.discard(base, contents)
            self.no_layer_reason = failure.message
        except layers.NoLayer as error:
            self.no_layer_reason = error.message
        warnings.warn(
            f"{self.where}: large files are sent to each restored board: {self.no_layer_reason}", stacklevel=2
        )
        self.fresh()
        return send()

    def refill_spares(self) -> None:
        """Start to restore the machines that the next calls of `fresh` continue with, as many as `spares` wants."""
        if self._snapshot is not None and self.line.tap is None:
            boot = self._boot_of(self._snapshot)
            self.spares.refill(self.machine("a spare"), self._snapshot, boot, self.image)

    def close(self) -> None:
        """Clean up the board and release its place. Emulated boards, and those of a place, are switched off."""
        self._close_snapshot()
        try:
            self.report_down("released", self.dirty or "")
            if self.place is not None and not self.place.borrowed and not self.lost:
                self._off_before_others()
        finally:
            self.clean_up()

    def _off_before_others(self) -> None:
        """Switch off, ignoring failures: others wait for the place."""
        try:
            self.off()
        except Exception as error:
            warnings.warn(f"place {self.where} is released, but was not switched off: {error}", stacklevel=3)

    def _restore_twice(self, snapshot: Snapshot) -> HilError | None:
        """Restore the board, with a second attempt; return the error if the snapshot may be the cause.

        Raises other errors: of the configuration, of the test bed, and over a tapped line, which may be the cause.
        """
        failures: list[HilError] = []
        while len(failures) < 2:
            try:
                self.restore(snapshot)
                return None
            except HilError as error:
                if isinstance(error, ConfigurationError) or self.line.tap is not None:
                    raise
                _log.info("%s: restore %d of 2 failed: %s", self.where, len(failures) + 1, error.message)
                failures.append(error)
                if snapshot.damage():
                    return error
        for failure in failures:
            if failure.origin == "infrastructure" and not isinstance(failure, StateRefused):
                raise failure
        return failures[-1]

    def _is_healthy(self) -> bool:
        try:
            self.check_health()
        except HilError as error:
            self.dirty = f"it did not continue after it could not be saved: {error.message}"
        return self.up

    def _obtain(self, suspect: Snapshot | None) -> Snapshot | None:
        """Return the board's snapshot, made now if there is none; None if there cannot be one.

        The `suspect` is replaced, once a boot has succeeded.
        """
        if self._snapshot is not None and suspect is None and not self._snapshot.damage():
            return self._snapshot
        if self.no_snapshot_reason or self.health_check is None:
            return None
        machine = self.machine("a snapshot")
        self.no_snapshot_reason = machine.no_snapshot_reason()
        if self.no_snapshot_reason:
            return None
        if self._store is None:
            seed = [*machine.virtual.arguments(), typing_digest()] if machine.virtual is not None else []
            self._store = SnapshotStore([*self.state_key(), *seed])
        boots = self.boots
        try:
            with self._store.alone():
                found = self._store.find()
                replaced = found is not None and suspect is not None and self._store.holds(suspect)
                if found is not None and replaced:
                    found.close()
                self._close_snapshot()
                self._snapshot = self._save(self._store, replaced) if found is None or replaced else found
        except InfrastructureError as error:
            if boots != self.boots and not self.up:  # the boot failed, not the snapshot
                raise
            self.no_snapshot_reason = error.message
        return self._snapshot

    def _save(self, store: SnapshotStore, replaced: bool) -> Snapshot:
        """Boot the board and make a snapshot of it; one that is `replaced` is removed once the board is up."""
        machine = self.machine("a snapshot")
        machine.savable = True
        try:
            self.boot_and_check()
        finally:
            machine.savable = False
        if replaced:
            store.discard()
        report = self.came_up()
        facts = {
            "board": self.name,
            "image": self.manifest.name,
            "made": time.strftime("%Y-%m-%d %H:%M:%S"),
            "stages": [asdict(stage) for stage in report.stages],
            "clock": report.clock,
        }
        return layers.save(self, store, facts)

    def _discard_snapshot(self) -> None:
        """Close the snapshot and remove it from the disk, unless another has taken its place there."""
        _log.info("%s: the snapshot is discarded", self.where)
        if self._snapshot is not None and self._store is not None:
            with self._store.alone():
                if self._store.holds(self._snapshot):
                    self._store.discard()
        self._close_snapshot()

    def _close_snapshot(self) -> None:
        self.spares.close()
        if self._snapshot is not None:
            self._snapshot.close()
            self._snapshot = None
