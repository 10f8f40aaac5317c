"""All faults in one class."""

from __future__ import annotations

from hil.faults.deployment import DeploymentFaults
from hil.faults.line import LineFaults
from hil.faults.machine import MachineFaults
from hil.faults.system import SystemFaults


class FaultMaker(MachineFaults, SystemFaults, DeploymentFaults, LineFaults):
    """Makes faults on the runner's board; the same `seed` makes the same ones.

    A fault that needs QEMU raises `ConfigurationError` on a real board. Damage to the board is no error here: it is
    in the returned record, and `hil.faults.aftermath` judges what is left.
    """
