"""A board that notices whether anybody has touched it since it was restored."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from hil.board.environment import BoardEnvironment
from hil.board.qemu_driver import HilQemuDriver
from hil.console import Console
from hil.console.lockstep import HostTooSlow
from hil.errors import InfrastructureError


@dataclass(frozen=True)
class StateMark:
    """What differs as soon as somebody types to a machine, drives its wires, or lets its virtual time pass."""

    console: weakref.ref[Console]  # a mark keeps no transcript open
    typed: int
    stimuli: int
    now_ns: int | None


class TrackedBoard(BoardEnvironment):
    """A board that is `untouched` from its restore on, until somebody changes its state."""

    _restored_state: StateMark | None = None

    @property
    def up(self) -> bool:
        """Whether the board is booted to a shell and still trusted."""
        raise NotImplementedError

    @property
    def untouched(self) -> bool:
        """Whether the board is restored and nobody has typed to it or driven its wires since its health check."""
        mark = self._restored_state
        return mark is not None and self.up and self.line.tap is None and self._state() == mark

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Run a block that types to the board, but leaves it as it is: it stays `untouched`."""
        untouched = self.untouched
        yield
        if untouched:
            self.note_restored()

    def touch(self) -> None:
        """Note that the caller depends on this restore, for example holds its console: the board is not `untouched`."""
        self._restored_state = None

    def note_restored(self) -> None:
        """Note that the board is restored and checked: it is `untouched`."""
        self._restored_state = self._state()

    def _state(self) -> StateMark | None:
        qemu = self.power.qemu if isinstance(self.power, HilQemuDriver) else None
        try:
            console = self.line.console
            now_ns = console.lockstep.now_ns if console.lockstep is not None else None
        except (HostTooSlow, InfrastructureError):
            return None
        if qemu is None:
            return None
        return StateMark(weakref.ref(console), console.typed, qemu.wires.stimuli if qemu.wires else 0, now_ns)
