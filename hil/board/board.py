"""A board under test: opened, brought up fresh, and closed."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from hil.board.boot_report import BootReport
from hil.board.bootable import BootableBoard
from hil.board.snapshots import BoardSnapshots
from hil.errors import HilError
from hil.places.selector import Terms


class Board(BootableBoard):
    """One board with its image. Nothing is switched on before `fresh` or `boot`.

    `name` is a board's name or the path of an environment, or `place:NAME` or `+TAG=VALUE` for a place of a lab. A
    place, also one that the environment names, is acquired on `terms` until the board is closed. `image` replaces the
    environment's image. `transcripts` is the directory for transcripts. `seed` selects virtual time on an emulated
    board. With `snapshots` and a `health_check` an emulated board is restored by `fresh`, not booted.
    """

    def __init__(
        self,
        name: str,
        *,
        image: str | None = None,
        transcripts: Path | None = None,
        seed: int | None = None,
        snapshots: bool = True,
        health_check: Callable[[Any], None] | None = None,
        on_attempt: Callable[[str, HilError | None], None] = lambda kind, error: None,
        terms: Terms = Terms(),  # noqa: B008  it is frozen
    ) -> None:
        super().__init__(name, image, transcripts, seed, health_check, on_attempt, terms)
        self._snapshots = BoardSnapshots(self, enabled=snapshots)

    def __enter__(self) -> Board:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def no_snapshot_reason(self) -> str:
        """Why the board is booted, not restored; empty for one that is restored."""
        return self._snapshots.no_snapshot_reason

    def fresh(self) -> BootReport:
        """Bring the board up as new and check its health: restored from its snapshot, or booted if it has none.

        The first time it is booted, checked and saved, unless another process has done so. A snapshot is removed only
        if it is proven bad: its files differ from their digests, or two restores in a row fail and a boot of the same
        machine succeeds. It is made again, once; after that the board is booted. Failures of the test bed never remove
        it. Raises as `boot`, and the errors of `health_check`; over a tapped line after the first attempt.
        """
        self._snapshots.bring_up()
        return self.came_up()

    def close(self) -> None:
        """Clean up the board and release its place. Emulated boards, and those of a place, are switched off."""
        self._snapshots.close()
        try:
            if self.place is not None and not self.place.borrowed and not self.lost:
                self._off_before_others()
        finally:
            self._environment.close()

    def _off_before_others(self) -> None:
        """Switch off, ignoring failures: others wait for the place."""
        try:
            self.off()
        except Exception as error:
            warnings.warn(f"place {self.where} is released, but was not switched off: {error}", stacklevel=3)
