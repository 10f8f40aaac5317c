"""A machine in lock step with a CAN bus and a processor that sleeps, for the tests of the bus."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hil.measure.clock import VIRTUAL, Clock
from hil.qemu import lockstep
from hil.qemu.lockstep import LockstepConfig, Virtual
from hil.qemu.process import Qemu
from hil.qemu.wires import WiresConfig
from hil.signals.can.emulated import EmulatedCan, wires_of

SLEEP = struct.pack("<2I", 0xD503207F, 0x17FFFFFF)  # wfi; b to it
CLOCK = Clock(VIRTUAL, 2e-9)


@contextmanager
def machine(
    directory: Path, *, real: bool = False, bus: str = "/objects/canbus0", bitrate: int = 500_000
) -> Iterator[Qemu]:
    """Start QEMU with a CAN controller that no driver has started; in real time with `real`."""
    kernel = directory / "sleep.bin"
    kernel.write_bytes(SLEEP)
    library, virtual = lockstep.library(), Virtual(1)
    command = ["qemu-system-aarch64", "-machine", "virt", "-cpu", "cortex-a53", "-m", "64", "-kernel", str(kernel)]
    command += ["-object", "can-bus,id=canbus0", "-device", "kvaser_pci,canbus=canbus0"]
    step = None if real else LockstepConfig(library, 1, (b"never",), directory / "stamps.tsv")
    qemu = Qemu(
        [*command, *([] if real else virtual.arguments())],
        log=directory / "qemu.log",
        oldest="7.2",
        lockstep=step,
        wires=WiresConfig(library, directory / "log.signals", "", f"{bus} {bitrate}"),
    )
    try:
        qemu.power_on()
        yield qemu
    finally:
        qemu.abandon()


def port_of(qemu: Qemu, bitrate: int = 500_000) -> EmulatedCan:
    return EmulatedCan(wires_of(lambda: qemu.wires, "test"), lambda: CLOCK, bitrate)
