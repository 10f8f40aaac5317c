"""Whether the state of a running machine is still the one in which it was handed out."""

from __future__ import annotations

import weakref
from dataclasses import dataclass

from hil.console import Console
from hil.qemu.wires import Wires


@dataclass(frozen=True)
class StateMark:
    """What differs as soon as somebody types to a machine, drives its wires, or lets its virtual time pass."""

    console: weakref.ref[Console]  # a mark keeps no transcript open
    typed: int
    stimuli: int
    now_ns: int | None

    @classmethod
    def of(cls, console: Console, wires: Wires | None) -> StateMark:
        """Return the mark of the machine's present state. Raises `HostTooSlow` in virtual time."""
        now_ns = console.lockstep.now_ns if console.lockstep is not None else None
        return cls(weakref.ref(console), console.typed, wires.stimuli if wires is not None else 0, now_ns)
