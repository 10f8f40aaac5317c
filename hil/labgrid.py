"""The module for a labgrid environment to import (`imports: [hil.labgrid]`): it registers our drivers."""

from hil.board import analyser, qemu_driver, replay, serial_driver, strategy  # noqa: F401
