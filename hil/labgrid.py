"""The module for a labgrid environment to import (`imports: [hil.labgrid]`): it registers our drivers."""

from hil.board import boardfile  # noqa: F401  registers them
