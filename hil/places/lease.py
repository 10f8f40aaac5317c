"""Leases: who holds a place, for those who find it taken when its holder has died.

labgrid knows no more of a holder than host and user, and keeps a place acquired for ever. A lease is a tag of the place
that tells the process. It stands for one acquisition only: its mark is also in the place's list of users that are
allowed on it, which the coordinator clears with the release. So an old tag says nothing of a later holder, least of all
of a human with labgrid-client.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import time
from dataclasses import astuple, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from hil.host.processes import Process

TAG = "hil_lease"
BEAT = 60.0  # seconds between two signs of life
LIMIT = 180.0  # seconds without one, after which the holder counts as dead
_MARK = "hil-lease/"
_TEXT = re.compile(r"([0-9a-f]+)_([0-9a-f]+)_([0-9a-f]+)_(\d+)_(\d+)_(\d+)")


@dataclass(frozen=True)
class Lease:
    """Who holds a place: the acquisition, the run that it is for, the machine, the process, and since when.

    `started` is the process's start in clock ticks since the machine's; `since` is in seconds since 1970.
    """

    nonce: str
    run: str
    machine: str
    pid: int
    started: int
    since: int

    def __str__(self) -> str:
        """As a tag's value: labgrid wants no more than lower case, digits and underscores in it."""
        return "_".join(map(str, astuple(self)))

    @property
    def mark(self) -> str:
        """What binds it to the acquisition, as a user that nobody is."""
        return _MARK + self.nonce

    @property
    def process(self) -> Process:
        return Process(self.pid, self.started)

    @property
    def text(self) -> str:
        return f"process {self.pid}, since {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(self.since))}"

    @property
    def ours(self) -> bool:
        """Whether it is of this process."""
        return self.machine == machine() and self.process == Process.of(os.getpid())

    @property
    def sibling(self) -> bool:
        """Whether another process of the same run has it, as xdist's workers are."""
        return self.run == run() and not self.ours

    def ended(self, silent: float) -> str:
        """Why its holder counts as dead, `silent` seconds after the last sign of life; empty where it lives."""
        if self.machine == machine() and not self.process.alive:
            return "which is dead"
        return f"of which nothing was heard for {silent:.0f} s" if silent > LIMIT else ""


def of(place: Any) -> Lease | None:
    """The lease by which a place of labgrid's is held; None where it is free or was acquired in another way."""
    found = _TEXT.fullmatch(place.tags.get(TAG, ""))
    if not found or not place.acquired:
        return None
    lease = Lease(found[1], found[2], found[3], *map(int, found.groups()[3:]))
    return lease if lease.mark in place.allowed else None


def new() -> Lease:
    """One for this process, from now on."""
    own = Process.of(os.getpid())
    assert own is not None
    return Lease(secrets.token_hex(4), run(), machine(), own.pid, own.start, int(time.time()))


@cache
def run() -> str:
    """What all processes of one run have in common."""
    name = os.environ.get("PYTEST_XDIST_TESTRUNUID") or secrets.token_hex(16)
    return hashlib.sha256(name.encode()).hexdigest()[:8]


@cache
def machine() -> str:
    """The boot of a machine, and the name space in which its processes have their numbers."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text()
    return hashlib.sha256(f"{boot} {Path('/proc/self/ns/pid').stat().st_ino}".encode()).hexdigest()[:12]
