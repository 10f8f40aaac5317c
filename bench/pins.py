"""What do the wires cost on the reference image, and how fine are they? Usage: pins.py [STEPS] [ROUNDS]

In virtual time with a running module: steps of 1 ms per second with a trivial plant, beside stepping a machine in real
time from outside by QMP's `stop` and `cont`; the wall time of a step and of an edge; the latency of an echo.

    pins.py digests [RUNS]

Runs `suites/loop` RUNS times (10), each second one beside a CPU hog per processor, and compares the digests of the
results. The boards are restored for each test.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from hil import Loop, Pins, ms, us
from hil.board.board import Board
from hil.guest import Guest
from hil.signals.emulated import EmulatedWiring
from hil.wasm import Runner, Samples
from hil.wasm.health_check import check_health

BOUND = 500  # steps per second
STORM = 100_000
SUITE = ["-q", "-p", "no:cacheprovider", "suites/loop", "--clock", "virtual"]
HOG = [sys.executable, "-c", "while True: pass"]


def with_board(directory: Path, seed: int | None) -> Board:
    board = Board("qemu-reference", transcripts=directory, seed=seed)
    guest = Guest(board)
    board.health_check = lambda board: check_health(guest)
    board.fresh()
    return board


def cpu_seconds(pid: int) -> float:
    """Return the processor time of a process so far, and of this one."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") + time.process_time()


def steps(directory: Path, count: int) -> tuple[float, str]:
    """Return steps per second beside a module that waits for its sensor, and a text with the other figures."""
    texts = []
    with with_board(directory, 1) as board:
        guest = Guest(board)
        pins, runner = Pins(EmulatedWiring(guest)), Runner(guest)

        def rate(*call: str) -> float:
            with runner.start(Samples()(call[0]), *call[1:], limit=600):
                before = cpu_seconds(board.qemu.pid)
                result = Loop(pins.wiring).run(
                    lambda t, dt, inputs: {"y": 0},
                    step=1 * ms,
                    inputs={"x": "HEATER"},
                    outputs={"y": "BUTTON"},
                    until=count * ms,
                )
                cpu = (cpu_seconds(board.qemu.pid) - before) / count
            texts.append(f"{call[0]} {1e3 * result.wall / count:.2f} ms a step, {1e3 * cpu:.2f} of processor time")
            return count / result.wall

        waiting = rate("echo-pin.wasm", "400")
        rate("thermostat.wasm", "1000", "1000000")
        begun = time.perf_counter()
        pins.train("ENCODER_A", period=2 * us, count=STORM // 2)
        pins.advance(STORM * us)
        texts.append(f"{1e6 * (time.perf_counter() - begun) / STORM:.0f} us an edge of {STORM:,}")
        begin = pins.now
        with runner.start(Samples()("echo-pin.wasm"), "1000"):
            pins.train("BUTTON", period=5.137 * ms, count=200)
            pins.let_pass()
        latency = pins.edges("BUTTON", since=begin).latency_to(pins.edges("LED", since=begin), "any", "any")
        text = f"p50 {latency.median * 1e6:.1f}, max {latency.samples.max() * 1e6:.1f} us, n={len(latency)}"
        return waiting, "; ".join([*texts, f"echo {text}"])


def peer(directory: Path, count: int) -> float:
    """Return steps per second of a machine in real time that is stepped from outside by QMP."""
    with with_board(directory, None) as board:
        monitor = board.qemu.monitor
        begun = time.perf_counter()
        for _ in range(count):
            monitor.execute("stop")
            monitor.execute("cont")
        return count / (time.perf_counter() - begun)


def digests(runs: int) -> int:
    found: dict[str, int] = {}
    for number in range(runs):
        hogs = [subprocess.Popen(HOG) for _ in range(os.cpu_count() or 1)] if number % 2 else []
        begun = time.monotonic()
        try:
            command = [sys.executable, "-m", "pytest", *SUITE]
            done = subprocess.run(command, capture_output=True, text=True, timeout=3600)
        finally:
            for hog in hogs:
                hog.kill()
                hog.wait()
        digest = re.search(r"(\d+) series, digest (\w+)", done.stdout)
        text = f"{digest[1]} series, {digest[2]}" if digest else done.stdout[-500:]
        print(f"{text}, status {done.returncode}, {len(hogs)} hogs, {time.monotonic() - begun:.0f} s", flush=True)
        found[text] = found.get(text, 0) + 1
    print(f"{max(found.values())} of {runs} runs have the same digest")
    return len(found) > 1


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["digests"]:
        return digests(int(arguments[1]) if len(arguments) > 1 else 10)
    count, rounds = (int(text) for text in [*arguments, *("2000", "3")[len(arguments) :]])
    rates, ratios = [], []
    with tempfile.TemporaryDirectory() as name:
        for number in range(rounds):
            rate, text = steps(Path(name), count)
            other = peer(Path(name), min(count, 500))
            rates.append(rate)
            ratios.append(rate / other)
            print(f"round {number + 1}: {rate:,.0f} steps/s, QMP's stop and cont {other:,.0f}; {text}", flush=True)
    print(f"{statistics.median(rates):,.0f} steps/s (bound {BOUND}), {statistics.median(ratios):.1f} times QMP's")
    return statistics.median(rates) < BOUND


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
