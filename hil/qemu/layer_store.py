"""The layers in the cache: what a machine has changed since it was restored from a snapshot, for example its files.

A layer is a snapshot without memory of its own: the directory `snapshots/KEY/whole/` with `state`, which contains the
changed pages, and `facts.json`. It is of use with the snapshot that it was made from, and with no other one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from hil.console import Transcript
from hil.errors import InfrastructureError
from hil.qemu import snapshot
from hil.qemu.changed_pages import with_changes
from hil.qemu.snapshot import Snapshot
from hil.qemu.snapshot_store import SnapshotStore

FORMAT = "layer 1"


class LayerStore(SnapshotStore):
    """The place of one layer of the snapshot `base`. `contents` are the digests of what it adds, by path."""

    def __init__(self, base: Snapshot, contents: Mapping[str, str]) -> None:
        self._base = base
        self._contents = dict(sorted(contents.items()))
        words = [word for pair in self._contents.items() for word in pair]
        digests = base.facts["digests"]
        super().__init__([FORMAT, base.directory.parent.name, digests["memory"], digests["state"], *words])

    def find(self) -> Snapshot | None:
        """Return the layer as a snapshot with the memory of its base; None without one. Raises as for a snapshot."""
        found = super().find()
        if found is not None:
            with suppress(OSError):  # a base goes after its layers
                os.utime(self._base.directory.parent)
        return found

    def save(self, memory: int, state: bytes, console: Transcript, facts: Mapping[str, Any]) -> Snapshot:
        """Make a layer of the stopped machine's open `memory` and its `state`, then trim as for a snapshot."""
        try:
            state = with_changes(state, self._base.memory, memory)
        except OSError as error:
            raise InfrastructureError(f"cannot compare memory with {self._base.directory}: {error.strerror}") from error
        base = self._base.directory.parent
        facts = {**facts, "contents": self._contents, "base": base.name}
        return self._publish(len(state), lambda made: snapshot.write_layer(made, state, facts), base)

    def _read(self, whole: Path) -> Snapshot:
        return snapshot.read_layer(whole, self._base)
