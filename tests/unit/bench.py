"""A bench without hardware: outputs that are files, and a stand-in for sigrok-cli that samples them."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

from labgrid import Environment

from hil.image.pins import PinFacts
from hil.signals.bench import BenchWiring

RATE = 20_000  # Hz
ANSWER = 3  # ms from an edge of BUTTON to that of LED
ANALYSER = r"""
import os, select, sys, time
directory, answer, rate = sys.argv[1], float(sys.argv[2]) / 1e3, int(sys.argv[3])
arguments = sys.argv[4:]
if "--show" in arguments:
    print("demo - Stand-in with 3 channels: D0 D1 D2")
    sys.exit()
say = lambda text: print(text, file=sys.stderr, flush=True)
mode = open(f"{directory}/mode").read() if os.path.exists(f"{directory}/mode") else ""
if mode == "finite":
    say("cli: This device doesn't support continuous sampling.")
    sys.exit(1)
names = [name.partition("=")[2] or name for name in arguments[arguments.index("-C") + 1].split(",")]
begin = time.monotonic()
say("sr: [00:00.000000] hwdriver: demo: Starting acquisition.")
print(f"$comment\n  Acquisition with {len(names)}/3 channels at {rate // 1000} kHz\n$end\n$timescale 1 us $end")
for code, name in enumerate(names):
    print(f"$var wire 1 {code} {name} $end")
print("$enddefinitions $end")
levels, led, samples, changes = {}, [], 0, []
def look(now):
    try:
        button = open(f"{directory}/BUTTON").read().strip() or None
    except OSError:
        button = None
    if button is not None and button != levels.get(0):
        changes.append((now, 0, button))
        changes.append((now + answer, 1, button))
        levels[0] = button
    if 2 not in levels:
        levels[2] = "0"
        changes.append((now, 2, "0"))
while True:
    end = time.monotonic() + 0.01
    while time.monotonic() < end:
        look(time.monotonic() - begin)
        time.sleep(0.0002)
    total = int((end - begin) * rate)
    say(f"cli: Received SR_DF_LOGIC ({total - samples} bytes, unitsize = 1).")
    samples = total
    changes.sort()
    while changes and changes[0][0] * rate < total - 1:
        at, code, level = changes.pop(0)
        if code < len(names):
            print(f"#{int(at * rate) * 1000000 // rate} {level}{code}")
    sys.stdout.flush()
    if mode == "dies" and time.monotonic() > begin + 0.6:
        say("sr: demo: Device was unplugged")
        sys.exit(1)
    if mode == "stalls" and time.monotonic() > begin + 0.6:
        time.sleep(60)
    if select.select([0], [], [], 0)[0]:
        print(f"#{total * 1000000 // rate}", flush=True)
        sys.exit()
"""
MANIFEST = PinFacts(controller="pl061", inputs={"BUTTON": 0, "FAULT": 1}, outputs={"LED": 4, "BEAT": 6})


def wiring(
    directory: Path,
    *,
    pins: PinFacts | None = MANIFEST,
    channels: str = "D0=BUTTON,D1=LED",
    analyser: str = f"samplerate: {RATE}",
    drivers: str = "BUTTON",
) -> BenchWiring:
    """The wiring of a board whose digital outputs are files: LED follows BUTTON after `ANSWER` ms."""
    tool = directory / "sigrok-cli"
    script = directory / "analyser.py"
    script.write_text(ANALYSER)
    tool.write_text(f'#!/bin/sh\nexec {sys.executable} {script} {directory} {ANSWER} {RATE} "$@"\n')
    tool.chmod(0o755)
    outputs = []
    for name in drivers.split():
        (directory / name).write_text("1\n")  # as a test before may have left it
        outputs.append(f"      - FileDigitalOutputDriver: {{name: {name}, filepath: {directory / name}}}\n")
    if analyser:
        outputs.append(f"      - HilAnalyserDriver: {{{analyser}}}\n")
    path = directory / "board.yaml"
    path.write_text(
        f"imports: [hil.labgrid]\ntools: {{sigrok-cli: {tool}}}\ntargets:\n  main:\n    resources:\n"
        f'      SigrokDevice: {{driver: demo, channels: "{channels}"}}\n    drivers:\n{"".join(outputs)}'
    )
    target = Environment(str(path)).get_target("main")
    console = SimpleNamespace(transcript=SimpleNamespace(path=directory / "board.raw"), lockstep=None)
    board = SimpleNamespace(
        name="bench",
        path=path,
        target=target,
        manifest=SimpleNamespace(name="image", pins=pins),
        image=lambda: SimpleNamespace(digest="sha256:0"),
        console=console,
        emulated=False,
        virtual=None,
    )
    return BenchWiring(SimpleNamespace(board=board))
