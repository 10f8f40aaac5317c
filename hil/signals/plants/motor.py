"""A DC motor that moves a carriage between two end switches."""

from __future__ import annotations

import math
from collections.abc import Mapping


class Motor:
    """A motor with an encoder and end switches: connect `position` to a `Quadrature`.

    Input `drive`, -1 to 1, is the share of the full speed of `speed` turns per second, reached with the time constant
    `tau` in seconds; input `reverse`, if it is connected, turns the direction round. Outputs: `position` in turns from
    the start, `velocity` in turns per second, and the switches `at_start` and `at_end`, 1 at 0 and at `length` turns,
    where the carriage stops hard. The solution is exact for an input that is held, up to the stops.
    """

    units = {"position": "turns", "velocity": "turns/s"}

    def __init__(self, speed: float = 20.0, tau: float = 0.05, length: float = 10.0, position: float = 0.0) -> None:
        self.speed, self.tau, self.length = speed, tau, length
        self.begin = self.position = position
        self.velocity = 0.0

    def reset(self) -> Mapping[str, float]:
        self.position, self.velocity = self.begin, 0.0
        return self._outputs()

    def step(self, t: float, dt: float, inputs: Mapping[str, float]) -> Mapping[str, float]:
        target = self.speed * inputs["drive"] * (-1 if inputs.get("reverse") else 1)
        decay = math.exp(-dt / self.tau)
        self.position += target * dt + (self.velocity - target) * self.tau * (1 - decay)
        self.velocity = target + (self.velocity - target) * decay
        if not 0 <= self.position <= self.length:
            self.position, self.velocity = min(max(self.position, 0.0), self.length), 0.0
        return self._outputs()

    def _outputs(self) -> dict[str, float]:
        position = self.position
        return {
            "position": position,
            "velocity": self.velocity,
            "at_start": int(position <= 0),
            "at_end": int(position >= self.length),
        }
