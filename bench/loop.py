"""How many steps a second does a loop take by itself, on stand-in wires whose virtual time costs nothing?

    python bench/loop.py [STEPS]

The bound is 10,000 steps per second for a trivial plant: 20 times the rate of an emulated board.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "unit"))
from fake_wires import FakeWires

from hil import Analogue, Duty, Loop, Quadrature, ms
from hil.signals.plants.motor import Motor
from hil.signals.plants.oven import Oven

BOUND = 10_000
PIN, CHANNEL = {"heater": "HEATER"}, {"temperature": Analogue("AI0", 0, 100, noise=0.05)}
ENCODER = {"position": Quadrature("ENCODER_A", "ENCODER_B", counts=2000)}
CASES = {
    "trivial plant": (lambda t, dt, inputs: {"y": 0}, {}, {"y": "BUTTON"}),
    "oven on two pins": (Oven(), PIN, {"hot": "BUTTON"}),
    "oven by duty cycle, channel with noise": (Oven(), {"heater": Duty("HEATER")}, CHANNEL),
    "motor, 40 edges of its encoder in a step": (Motor(length=1e9), {"drive": "HEATER"}, ENCODER),
}


def main() -> int:
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    rates = {}
    for name, (plant, inputs, outputs) in CASES.items():
        wires = FakeWires()
        wires.put("HEATER", 1)
        result = Loop(wires).run(plant, step=1 * ms, inputs=inputs, outputs=outputs, until=steps * ms)
        rates[name] = steps / result.wall
        print(f"{rates[name]:9,.0f} steps/s  {name}")
    return rates["trivial plant"] < BOUND


if __name__ == "__main__":
    sys.exit(main())
