"""The names of quantities and subjects that this project measures."""

from __future__ import annotations

from hil.measure.clock import ANALYSER, CONSOLE, EMULATOR_CLOCK, GUEST_COUNTER, MODULE

RESPONSE, EXECUTION, OVERHEAD = "response time", "execution time", "overhead"
TRANSFER, DEPLOYMENT = "transfer time", "deployment time"
RELEASE, ADDED, RELATIVE = "release jitter", "added delay", "relative time"
STEP_RESPONSE, SIGNAL = "step response", "signal"
GUEST, PARTITION, RUNNER, QEMU = (f"{who} memory taken" for who in ("guest", "partition", "runner", "QEMU"))

WIRES = (ANALYSER, EMULATOR_CLOCK)
EVENTS = (GUEST_COUNTER, CONSOLE, MODULE, *WIRES)
QUANTITIES = {
    **dict.fromkeys((RESPONSE, EXECUTION, OVERHEAD, TRANSFER), (GUEST_COUNTER,)),
    DEPLOYMENT: (CONSOLE,),
    **dict.fromkeys((RELEASE, ADDED, RELATIVE), EVENTS),
    **dict.fromkeys((STEP_RESPONSE, SIGNAL), EVENTS),
    **dict.fromkeys(("period jitter", "cycle-to-cycle jitter", "interarrival jitter"), EVENTS),
    **dict.fromkeys((GUEST, PARTITION, RUNNER, QEMU), (CONSOLE,)),
    **dict.fromkeys(("period", "high time", "low time", "duty cycle", "latency", "frequency"), WIRES),
}
"""All quantities, each with its clocks other than virtual time."""

UNITS = {
    **dict.fromkeys(QUANTITIES.keys() - {"frequency"}, "s"),
    **dict.fromkeys((GUEST, PARTITION, RUNNER, QEMU), "B"),
    **dict.fromkeys((RELATIVE, STEP_RESPONSE, SIGNAL, "duty cycle"), "1"),
}
"""The units of these quantities; none for frequencies."""
