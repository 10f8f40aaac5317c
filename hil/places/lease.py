"""Leases: the record on a place by which others recognise that its holder has died.

labgrid records host and user of a holder only, and keeps a place acquired for ever. A lease is a tag on the place that
names the process. It is valid for one acquisition: its mark is also in the place's list of allowed users, which the
coordinator clears on release. So an old tag never applies to a later holder, least of all to a human with
labgrid-client.
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
BEAT = 60.0  # seconds between two renewals
LIMIT = 180.0  # seconds without a renewal, after which the holder counts as dead
_TEXT = re.compile(r"([0-9a-f]+)_([0-9a-f]+)_([0-9a-f]+)_(\d+)_(\d+)_(\d+)")


@dataclass(frozen=True)
class Lease:
    """The holder of a place: its acquisition, run, machine and process.

    `started` is the start of the process in clock ticks since the machine booted; `since` is in seconds since 1970.
    """

    nonce: str
    run: str
    machine: str
    pid: int
    started: int
    since: int

    def __str__(self) -> str:
        """Return the value of the tag: lower case, digits and underscores, as labgrid requires."""
        return "_".join(map(str, astuple(self)))

    @property
    def mark(self) -> str:
        """The user name, of nobody, that binds the lease to the acquisition."""
        return f"hil-lease/{self.nonce}"

    @property
    def process(self) -> Process:
        return Process(self.pid, self.started)

    @property
    def ours(self) -> bool:
        """Whether it belongs to this process."""
        return self.machine == machine() and self.process == Process.of(os.getpid())

    @property
    def sibling(self) -> bool:
        """Whether it belongs to another process of the same run, such as an xdist worker."""
        return self.run == run() and not self.ours

    def ended(self, silent: float) -> str:
        """Return why the holder counts as dead `silent` seconds after its last renewal; empty if it is alive."""
        if self.machine == machine() and not self.process.alive:
            return "which is dead"
        return f"without a sign of life for {silent:.0f} s" if silent > LIMIT else ""


def of(place: Any) -> Lease | None:
    """Return the lease on a labgrid place; None for one that is free or was acquired by other means."""
    found = _TEXT.fullmatch(place.tags.get(TAG, ""))
    if not found or not place.acquired:
        return None
    lease = Lease(found[1], found[2], found[3], *map(int, found.groups()[3:]))
    return lease if lease.mark in place.allowed else None


def new() -> Lease:
    """Return a lease for this process, from now on."""
    own = Process.of(os.getpid())
    assert own is not None
    return Lease(secrets.token_hex(4), run(), machine(), own.pid, own.start, int(time.time()))


@cache
def run() -> str:
    """Return the identity of this run, the same in all its processes."""
    name = os.environ.get("PYTEST_XDIST_TESTRUNUID") or secrets.token_hex(16)
    return hashlib.sha256(name.encode()).hexdigest()[:8]


@cache
def machine() -> str:
    """Return the identity of this machine: its boot, and the name space of its process ids."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text()
    return hashlib.sha256(f"{boot} {Path('/proc/self/ns/pid').stat().st_ino}".encode()).hexdigest()[:12]


def holder(place: Any) -> str:
    """Describe who holds a labgrid place."""
    host, _, user = place.acquired.partition("/")
    if (lease := of(place)) is None:
        return f"{user}@{host}, who has acquired it by hand"
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(lease.since))
    return f"{user}@{host}, process {lease.pid}, since {since}"
