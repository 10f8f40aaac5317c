"""An oven: first order with a dead time."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping


class Oven:
    """An oven with a heater: the plant of thermostats and of PI controllers.

    Input `heater`, 0 to 1, is the share of full power. Output `temperature` in degrees Celsius tends to
    `ambient + gain * heater` with the time constant `tau` in seconds; the heater acts `delay` seconds late. Output
    `hot` is 1 at and above `threshold`, for a thermostat with one pin. The solution is exact for an input that is held.
    """

    units = {"temperature": "°C"}

    def __init__(
        self,
        gain: float = 80.0,
        tau: float = 0.5,
        delay: float = 0.02,
        ambient: float = 20.0,
        threshold: float = 50.0,
    ) -> None:
        self.gain, self.tau, self.delay = gain, tau, delay
        self.ambient, self.threshold = ambient, threshold
        self.temperature = ambient
        self._late: deque[float] = deque()  # heater of the last steps

    def reset(self) -> Mapping[str, float]:
        self.temperature = self.ambient
        self._late.clear()
        return self._outputs()

    def step(self, t: float, dt: float, inputs: Mapping[str, float]) -> Mapping[str, float]:
        self._late.append(inputs["heater"])
        heater = self._late.popleft() if len(self._late) > round(self.delay / dt) else 0.0
        target = self.ambient + self.gain * heater
        self.temperature = target + (self.temperature - target) * math.exp(-dt / self.tau)
        return self._outputs()

    def _outputs(self) -> dict[str, float]:
        return {"temperature": self.temperature, "hot": int(self.temperature >= self.threshold)}
