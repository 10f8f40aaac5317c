"""Control quality of modules with their plants: alone, beside a loaded guest, and while the guest panics.

Where the module is a process of the guest's own Linux, it stops with the guest, and the tests with the panic fail, as
they should: the heater keeps its last level. In real time, where the host delays steps and periods, the oven is slower.
"""

from dataclasses import replace

import pytest

from hil import Analogue, Duty, ms, percent, s
from hil.signals.plants.oven import Oven

pytestmark = [pytest.mark.board, pytest.mark.timing, pytest.mark.severity("critical")]

SETPOINT = 50
CONTROLLERS = {  # arguments; inputs and outputs of the plant; band of the settling time
    "thermostat.wasm": (("1000", "100000"), {"heater": Duty("HEATER")}, {"hot": "BUTTON"}, 15 * percent),
    "pi.wasm": (
        ("1000", "100000"),
        {"heater": Analogue("AO0", low=0, high=1)},
        {"temperature": Analogue("AI0", low=0, high=100, noise=0.02, seed=1)},
        2 * percent,
    ),
}
PANIC_US = 500_000  # after the start of the agent


def respond(loop, runner, sample, controller, beside="", end=lambda: None):
    """Return the response of the oven's temperature to the start of the controller; call `end` before its stop."""
    arguments, inputs, outputs, band = CONTROLLERS[controller]
    exact = loop.wiring.exact
    oven, step, length = (Oven(), 1 * ms, 1 * s) if exact else (Oven(tau=2.0, delay=0.05), 10 * ms, 4 * s)
    with runner.start(sample(controller), *arguments):
        result = loop.run(oven, step=step, inputs=inputs, outputs=outputs, until=length)
        end()
    series = result.response("temperature", SETPOINT, band=band)
    return replace(series, subject=f"temperature, {controller}{beside}")


@pytest.mark.parametrize("controller", CONTROLLERS)
def test_control(loop, runner, sample, measure, controller):
    measure.check(respond(loop, runner, sample, controller))


@pytest.mark.parametrize("load", ["cpu", "memory"])
def test_control_beside_a_loaded_guest(loop, guest, runner, sample, measure, load):
    with guest.load(load):
        series = respond(loop, runner, sample, "pi.wasm", f", guest under {load} load")
    measure.check(series)


@pytest.mark.destructive
@pytest.mark.parametrize("controller", CONTROLLERS)
def test_control_goes_on_when_the_guest_panics(
    board, console, power, pins, loop, guest, runner, sample, measure, controller
):
    start, beats, most = console.skip(), [], 0.02 if loop.wiring.exact else 0.5
    begun = f"while ! pidof {runner.facts.command}; do usleep 10000; done"
    guest.run(f"({begun}; usleep {PANIC_US}; echo c >/proc/sysrq-trigger) >/dev/null 2>&1 &")

    def end():
        beats.append(pins["BEAT"])
        power.off()  # no ^C arrives any more

    series = respond(loop, runner, sample, controller, ", guest panics", end)
    console.transcript.refresh()
    assert b"Kernel panic" in console.transcript.read(start, console.transcript.size)
    silent = (beats[0].end - beats[0].ticks[-1]) / 1e9
    assert silent <= most, (
        f"the module stopped {silent:.3f} s before the end of the loop, with the guest"
        f" (image {board.manifest.name}, hypervisor {board.manifest.hypervisor})"
    )
    measure.check(series)
