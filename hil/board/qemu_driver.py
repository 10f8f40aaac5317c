"""The labgrid driver of a machine under QEMU."""

from __future__ import annotations

import base64
import copy
import os
import random
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import attr
from attr.validators import deep_iterable, instance_of
from labgrid.driver import Driver
from labgrid.factory import target_factory

from hil.board.images import built, manifest_of
from hil.board.machine import MachineDriver
from hil.console import Console, Transcript
from hil.errors import ConfigurationError, InfrastructureError
from hil.host.disk import disk_errors
from hil.image import store
from hil.image.manifest import Manifest
from hil.image.store import Image
from hil.qemu import lockstep, snapshot
from hil.qemu.arguments import memory_size
from hil.qemu.lockstep import LockstepConfig, Refusal, Virtual
from hil.qemu.plant import PlantMemory
from hil.qemu.process import MachineMemory, Qemu
from hil.qemu.snapshot import Snapshot
from hil.qemu.snapshot_store import SnapshotStore, size_limit
from hil.qemu.wires import WiresConfig


@target_factory.reg_driver
@attr.s(eq=False)
class HilQemuDriver(MachineDriver):
    """Power and console of a machine under QEMU; off is a power cut.

    `image` is the key of the image's manifest in the environment's `images:`; the image is built first if necessary.
    `arguments` are added to QEMU's command line.

    Set before power-on: `virtual` for virtual time, updated with the state of the running machine; `snapshot` to
    restore one; `savable` to allow `save` later.
    """

    image: str = attr.ib(default="main", validator=instance_of(str))
    # a string is iterable too: it would become one argument a character
    arguments: list[str] = attr.ib(factory=list, validator=deep_iterable(instance_of(str), instance_of(list)))

    qemu: Qemu | None = None
    virtual: Virtual | None = None
    snapshot: Snapshot | None = None
    savable = False
    no_pins_reason = "it is off"  # of a machine without wires
    no_can_reason = "it is off"
    _memory: int | None = None
    _image: Image | None = None  # of a twin

    @property
    def manifest(self) -> Manifest:
        """The image's manifest, read now. Raises `ConfigurationError`."""
        return manifest_of(self) if self._image is None else self._image.manifest

    def twin(self, snapshot: Snapshot, image: Image) -> HilQemuDriver:
        """Return a driver of another machine of the same board, off, which `begin` restores from `snapshot`.

        `begin` and `end` of a twin may run in another thread: they read no files of the project, show no progress and
        make no steps on labgrid's bus.
        """
        twin = copy.copy(self)
        twin.qemu = twin._console = twin._memory = None
        twin.snapshot, twin.savable, twin._image = snapshot, False, image
        return twin

    def take_over(self, twin: HilQemuDriver) -> None:
        """Switch off, and continue with the machine of a `twin`. Raises `InfrastructureError`."""
        self.end()
        self.qemu, self.virtual, self._console = twin.qemu, twin.virtual, twin._console
        self.no_pins_reason, self.no_can_reason = twin.no_pins_reason, twin.no_can_reason

    def start(self, transcript: Transcript) -> Console:
        image = self._image or built(self.manifest)
        command, config = image.command(), None
        machine = image.manifest.machine
        if self.virtual is not None:
            command += [*machine.virtual_arguments, *self.virtual.arguments()]
            config = self._lockstep_config(transcript.path)
        command += self.arguments
        self.qemu = Qemu(
            command,
            log=transcript.path.with_suffix(".qemu.log"),
            oldest=machine.emulator_version,
            lockstep=config,
            wires=self._wires_config(transcript.path),
            memory=self._machine_memory(command),
            plant=PlantMemory() if image.manifest.analogue is not None else None,
        )
        try:
            store.prove(image)  # again: QEMU has read the files by now
            if self.snapshot is not None:
                if self.qemu.plant is not None:
                    self.qemu.plant.load(bytes.fromhex(self.snapshot.facts["plant"]))
                self.qemu.restore(self.snapshot.state, base64.b64decode(self.snapshot.facts.get("wires", "")))
        except BaseException:
            self.qemu.abandon()
            raise
        chance = random.SystemRandom() if self.virtual is None else random.Random(self.virtual.seed)
        console = Console(
            self.tapped(self.qemu.console_port),
            transcript,
            explain_end=self.qemu.exit_reason,
            lockstep=self.qemu.lockstep,
            token=lambda size: chance.randbytes(size).hex(),  # what is typed must repeat too
        )
        if self.qemu.wires is not None:
            self.qemu.wires.evidence = console.evidence
        return console

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
        """Return the snapshot's memory, or memory that can be saved; None for QEMU's own."""
        if self.snapshot is not None and not self.savable:
            return MachineMemory(self.snapshot.size, self.snapshot.memory, private=True, saved=True)
        size = memory_size(command) if self.snapshot is None else self.snapshot.size
        if not self.savable or size is None:
            return None
        self._memory = os.memfd_create("hil-memory")
        if self.snapshot is not None:
            with disk_errors("copy a snapshot's memory", "free some memory"):
                snapshot.copy(self.snapshot.memory, self._memory)
        return MachineMemory(size, self._memory, saved=self.snapshot is not None)

    def _lockstep_config(self, transcript: Path) -> LockstepConfig | None:
        """Return the configuration of the lock step; None if QEMU refuses it, with the reason in `virtual`."""
        assert self.virtual is not None
        if self.tap is not None:
            raise ConfigurationError(
                "a tapped line cannot be kept in lock step with virtual time",
                hint="use the fault proxy without --clock virtual",
            )
        manifest, library = self.manifest, lockstep.library()
        reason = lockstep.refusal(manifest.machine.emulator, library).lockstep
        self.virtual = replace(self.virtual, proof="", lost=reason)
        if reason:
            return None
        prompts = tuple(prompt.encode() for prompt in (*manifest.console.answers, manifest.console.prompt))
        history = self.snapshot.facts["history"] if self.snapshot else ""
        return LockstepConfig(library, self.virtual.seed, prompts, transcript.with_suffix(".virtual.tsv"), history)

    def _wires_config(self, transcript: Path) -> WiresConfig | None:
        """Return the configuration of the wires; None where there are none.

        `no_pins_reason` and `no_can_reason` say what is missing.
        """
        manifest, pins, can = self.manifest, self.manifest.pins, self.manifest.can
        refusal, library = Refusal(), Path()
        if (pins or can) and lockstep.available():
            library = lockstep.library()
            refusal = lockstep.refusal(manifest.machine.emulator, library)
        elif pins or can:
            reason = "the wires need a C compiler, and there is none"
            refusal = Refusal(wires=reason, can=reason)
        absent = f"the manifest of image {manifest.name} has no table"
        self.no_pins_reason = f"{absent} [pins]" if pins is None else refusal.wires
        self.no_can_reason = f"{absent} [can]" if can is None else refusal.can
        if self.no_pins_reason and self.no_can_reason:
            return None
        return WiresConfig(
            library,
            transcript.with_suffix(".signals"),
            "" if pins is None else pins.controller,
            "" if can is None or self.no_can_reason else f"/objects/{can.bus} {can.bitrate}",
        )

    def no_snapshot_reason(self) -> str:
        """Return why the machine cannot be saved, apart from room on the disk; empty if it can."""
        if size_limit() == 0:
            return "HIL_SNAPSHOTS_MIB is 0"
        machine = self.manifest.machine
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
        wires, state = self.qemu.wires, b""
        if wires is not None and wires.exact:  # a stopped machine in lock step takes no message
            state = wires.save()
        self.qemu.stop()
        try:
            blocks = self.qemu.monitor.execute("query-block")
            if disks := [block["device"] for block in blocks if not block.get("inserted", {"ro": True})["ro"]]:
                raise InfrastructureError(f"it can write to {', '.join(disks)}, which a snapshot does not hold")
            if wires is not None and not wires.exact:
                state = wires.save()
            facts = {**facts, "wires": base64.b64encode(state).decode()}
            devices = self.qemu.monitor.state()
            if self.qemu.plant is not None:  # the state contains no shared memory
                facts = {**facts, "plant": self.qemu.plant.content().hex()}
                devices = self.qemu.plant.loadable(devices)
            return snapshots.save(self._memory, devices, self.console.transcript, facts)
        except BaseException:
            self.qemu.go_on()
            raise
