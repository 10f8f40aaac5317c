"""The labgrid driver of a machine under QEMU."""

from __future__ import annotations

import os
import random
import shutil
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import attr
from labgrid.driver import Driver
from labgrid.factory import target_factory

from hil.board.images import manifest_of
from hil.board.machine import Connection, MachineDriver
from hil.errors import ConfigurationError, InfrastructureError
from hil.host.progress import Progress, shown
from hil.image import ensure, store
from hil.image.manifest import Manifest
from hil.qemu import lockstep
from hil.qemu.arguments import memory_size
from hil.qemu.lockstep import LockstepConfig
from hil.qemu.process import MachineMemory, Qemu
from hil.qemu.snapshot import Snapshot
from hil.qemu.snapshot_store import SnapshotStore, size_limit
from hil.qemu.virtual_time import Virtual


@target_factory.reg_driver
@attr.s(eq=False)
class HilQemuDriver(MachineDriver):
    """Power and console of a machine under QEMU; off is a power cut.

    `image` is the key of the image's manifest in the environment's `images:`; the image is built first if necessary.
    `arguments` are added to QEMU's command line.

    Set before power-on: `virtual` for virtual time, updated with the state of the running machine; `snapshot` to
    restore one; `savable` to allow `save` later.
    """

    image: str = attr.ib(default="main", validator=attr.validators.instance_of(str))
    arguments: list[str] = attr.ib(
        factory=list,
        # a string is iterable too: it would become one argument a character
        validator=attr.validators.deep_iterable(attr.validators.instance_of(str), attr.validators.instance_of(list)),
    )

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self.qemu: Qemu | None = None
        self.virtual: Virtual | None = None
        self.snapshot: Snapshot | None = None
        self.savable = False
        self._memory: int | None = None

    def start(self, transcript: Path) -> Connection:
        with shown(sys.stderr) as progress:
            image = ensure(manifest_of(self, self.image), progress)
        command, config = image.command(), None
        machine = image.manifest.machine
        if self.virtual is not None:
            command += [*machine.virtual_arguments, *self.virtual.arguments()]
            config = self._lockstep_config(image.manifest, transcript)
        command += self.arguments
        self.qemu = Qemu(
            command,
            log=transcript.with_suffix(".qemu.log"),
            oldest=machine.emulator_version,
            lockstep=config,
            memory=self._machine_memory(command),
        )
        try:
            store.prove(image)  # again: QEMU has read the files by now
            if self.snapshot is not None:
                self.qemu.restore(self.snapshot.state)
        except BaseException:
            self.qemu.abandon()
            raise
        if self.virtual is None:
            return Connection(self.qemu.console_port, self.qemu.exit_reason)
        chance = random.Random(self.virtual.seed)  # what is typed must repeat too
        return Connection(
            self.qemu.console_port, self.qemu.exit_reason, self.qemu.lockstep, lambda size: chance.randbytes(size).hex()
        )

    def listened(self) -> None:
        if self.qemu is not None:
            self.qemu.power_on()

    def stop(self) -> None:
        if self.qemu is not None:
            self.qemu.kill()
        self.qemu = None
        if self._memory is not None:
            os.close(self._memory)
            self._memory = None

    @Driver.check_active
    def get(self) -> bool:
        """Return whether the power is on."""
        return self.qemu is not None and self.qemu.running

    def _machine_memory(self, command: list[str]) -> MachineMemory | None:
        """Return the snapshot's memory, or new memory that can be saved; None for QEMU's own."""
        if self.snapshot is not None:
            return MachineMemory(self.snapshot.size, self.snapshot.memory, private=True)
        size = memory_size(command)
        if not self.savable or size is None:
            return None
        self._memory = os.memfd_create("hil-memory")
        return MachineMemory(size, self._memory)

    def _lockstep_config(self, manifest: Manifest, transcript: Path) -> LockstepConfig | None:
        """Return the configuration of the lock step; None if QEMU refuses it, with the reason in `virtual`."""
        assert self.virtual is not None
        if self.tap is not None:
            raise ConfigurationError(
                "a tapped line cannot be kept in lock step with virtual time",
                hint="use the fault proxy without --clock virtual",
            )
        library = lockstep.library()
        reason = lockstep.refusal(manifest.machine.emulator, library)
        self.virtual = replace(self.virtual, proof="", lost=reason)
        if reason:
            return None
        prompts = tuple(prompt.encode() for prompt in (*manifest.console.answers, manifest.console.prompt))
        history = self.snapshot.facts["history"] if self.snapshot else ""
        return LockstepConfig(library, self.virtual.seed, prompts, transcript.with_suffix(".virtual.tsv"), history)

    def no_snapshot_reason(self) -> str:
        """Return why the machine cannot be saved, apart from room on the disk; empty if it can."""
        if size_limit() == 0:
            return "HIL_SNAPSHOTS_MIB is 0"
        machine = ensure(manifest_of(self, self.image), Progress()).manifest.machine
        if shutil.which(machine.emulator) is None:  # the boot raises an error with a hint
            return f"there is no {machine.emulator}"
        if memory_size([*machine.arguments, *self.arguments]) is None:
            return "its memory is not given by -m, or is not one piece"
        return ""

    def save(self, snapshots: SnapshotStore, facts: Mapping[str, Any]) -> Snapshot:
        """Make a snapshot of the running machine, which stays stopped. It continues if that fails.

        Raises `InfrastructureError`.
        """
        if self.qemu is None or self._memory is None:
            raise InfrastructureError("the machine's memory cannot be saved", hint="set `savable` before power-on")
        self.qemu.stop()
        try:
            blocks = self.qemu.monitor.execute("query-block")
            if disks := [block["device"] for block in blocks if not block.get("inserted", {"ro": True})["ro"]]:
                raise InfrastructureError(f"it can write to {', '.join(disks)}, which a snapshot does not hold")
            return snapshots.save(self._memory, self.qemu.monitor.state(), self.console.transcript, facts)
        except BaseException:
            self.qemu.go_on()
            raise
