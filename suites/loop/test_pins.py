"""Pins: how fast an edge is answered, whether a bouncing contact counts once, and how fast an encoder may turn.

In real time the host delays the emulator now and then, and edges that come meanwhile are one. So each stimulus waits
for its answer, and the encoder, which cannot, has few counts and a wide bound.
"""

from dataclasses import replace

import pytest

from hil import Series, ms, s

pytestmark = [pytest.mark.board, pytest.mark.timing, pytest.mark.severity("critical")]

EDGES, PAUSE, LIMIT = 200, 2.137 * ms, 10 * s  # the pause has any phase of the partition's tick
PRESSES, BOUNCES, BOUNCING = 10, 5, 3 * ms
FAST, SLOWEST = 0.25 * ms, 500 * ms  # the first time between edges of the encoder, and the longest


def test_an_edge_is_answered_in_time(pins, runner, sample, measure):
    with runner.start(sample("echo-pin.wasm"), str(EDGES)) as run:
        for number in range(1, EDGES + 1):
            pins.drive("BUTTON", number % 2)
            pins.wait_for("LED", number % 2, timeout=LIMIT)
            pins.advance(PAUSE)
        run.wait()
    assert run.execution.lines[-1] == f"echoed {EDGES} edges, lost 0"
    latency = pins["BUTTON"].latency_to(pins["LED"], edge="any", answer="any")
    assert len(latency) == EDGES
    measure.check(latency)


def test_a_bouncing_contact_counts_once(pins, runner, sample, measure):
    stable = 10 * ms if pins.wiring.exact else 200 * ms  # the host may delay a bounce
    with runner.start(sample("debounce.wasm"), str(2 * PRESSES), str(round(stable.value * 1e6))) as run:
        for number in range(1, 2 * PRESSES + 1):
            pins.bounce("BUTTON", number % 2, within=BOUNCING, times=BOUNCES)
            pins.advance(BOUNCING + stable / 2)
            pins.wait_for("LED", number % 2, timeout=LIMIT)
            pins.advance(stable)
        run.wait()
    assert len(pins["BUTTON"].rising) == PRESSES * (1 + 2 * BOUNCES)
    assert (len(pins["LED"].rising), len(pins["LED"].falling)) == (PRESSES, PRESSES)
    contact = replace(pins["BUTTON"].without_glitches(0.9 * stable), channel="debounced BUTTON")
    latency = contact.latency_to(pins["LED"], edge="any", answer="any")
    assert len(latency) == 2 * PRESSES
    measure.check(latency)


def test_encoder_is_counted_up_to_a_rate(pins, runner, sample, measure):
    """The rate is found: the time between edges is halved or doubled, and then the interval is halved."""
    exact = pins.wiring.exact
    counts, close, idle = (2000, 1.2, 20) if exact else (40, 2, 1000)
    reports = []

    def all_counted(apart, counts=counts):
        """Turn the encoder by `counts`, a multiple of 4, with the time `apart` between edges."""
        with runner.start(sample("encoder.wasm"), str(idle)) as run:
            first, second = ("ENCODER_A", "ENCODER_B") if counts > 0 else ("ENCODER_B", "ENCODER_A")
            begin = pins.now + 20 * ms
            pins.train(first, period=4 * apart, count=abs(counts) // 4, at=begin)
            pins.train(second, period=4 * apart, count=abs(counts) // 4, at=begin + apart)
            run.wait()
        reports.append(f"{apart}: {run.execution.lines[-1]}")
        return run.execution.lines[-1] == f"position {counts}, {abs(counts)} edges, 0 impossible, 0 lost"

    good, bad = FAST, None
    while not all_counted(good):
        good, bad = 2 * good, good
        assert good <= SLOWEST, f"counts are lost at any rate: {reports}"
    while bad is None:
        good, bad = (good / 2, None) if all_counted(good / 2) else (good, good / 2)
    while good > bad * close:
        middle = (good + bad) / 2
        good, bad = (middle, bad) if all_counted(middle) else (good, middle)
    if exact:
        assert all_counted(2 * good), reports
        assert all_counted(2 * good, -counts), reports
    edges = pins["ENCODER_A"]
    facts = {"provenance": edges.provenance | {"trials": "; ".join(reports)}, "host": edges.host}
    measure.check(Series("time between edges", f"encoder, {counts} counts", [good.value], edges.clock, **facts))
