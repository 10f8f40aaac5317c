"""The wires between an emulated machine's GPIO controller and the partition: the table `[pins]` of a manifest."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from hil.image.fields import Model, Name

LINES = {"pl061": 8}
"""The number of lines of each known controller, by its type in QEMU."""
MOST = 64  # lines of one controller that the kernel's interface can address
_PIN = re.compile(r"[A-Z][A-Z0-9_]{0,30}")  # a line name in the kernel has 31 characters at most
_CHANNEL = re.compile(r"A[IO]\d+|CAN\d+")


def _pin(name: str) -> str:
    if not _PIN.fullmatch(name):
        raise ValueError("the name of a pin has 1 to 31 capital letters, digits and underscores, first a letter")
    if _CHANNEL.fullmatch(name):
        raise ValueError(f"{name} is the name of an analogue channel or a bus; choose another for the pin")
    return name


PinName = Annotated[str, AfterValidator(_pin)]
Line = Annotated[int, Field(ge=0, lt=MOST)]


class PinFacts(Model):
    """The partition's pins: which line of the controller has which name, as the partition's kernel names it.

    `inputs` are the pins that the bench drives and the partition reads, `outputs` those that the partition drives.
    `controller` is the type of the controller in QEMU.
    """

    controller: Name
    inputs: dict[PinName, Line] = {}
    outputs: dict[PinName, Line] = {}

    @property
    def lines(self) -> dict[str, int]:
        """The line of each pin, inputs first."""
        return self.inputs | self.outputs

    @model_validator(mode="after")
    def _distinct(self) -> PinFacts:
        if both := sorted(self.inputs.keys() & self.outputs.keys()):
            raise ValueError(f"{both[0]} is both an input and an output")
        if not self.lines:
            raise ValueError("no pin: add inputs or outputs, or remove the table")
        count = LINES.get(self.controller, MOST)
        names: dict[int, str] = {}
        for name, line in self.lines.items():
            if line >= count:
                raise ValueError(f"{name} has line {line}, but {self.controller} has the lines 0 to {count - 1}")
            if line in names:
                raise ValueError(f"{names[line]} and {name} have the same line, {line}")
            names[line] = name
        return self
