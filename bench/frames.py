"""What a CAN frame costs in wall time, and how a module's answers fare at 10 to 100 % bus load.

    python bench/frames.py [FRAMES]

Frames of a sleeping machine show the cost of the bus model and of its log; then pytest runs `frame_echo.py` on the
reference image in virtual time. Bound: 2,000 cyclic frames per second of wall time.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "unit"))
from can_machine import machine, port_of

from hil import ms, s, us
from hil.signals.can.bus import CanBus

BOUND = 2_000


def main() -> int:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    with tempfile.TemporaryDirectory() as directory, machine(Path(directory)) as qemu:
        can = CanBus(port_of(qemu))
        with can.cyclic(0x100, bytes(8), period=300 * us):
            begin = time.monotonic()
            can.advance(count * 300 * us)
            rate = len(can.frames()) / (time.monotonic() - begin)
        print(f"{rate:9,.0f} frames/s  cyclic, at 300 us: {can.load()} of the bus")
        begin, waits = time.monotonic(), 2000
        for _ in range(waits):
            can.send(0x200, bytes(8))
            can.wait(0x200, timeout=1 * ms)
        print(f"{waits / (time.monotonic() - begin):9,.0f} frames/s  sent and waited for one by one")
        begin = time.monotonic()
        can.advance(1 * s)
        print(f"{time.monotonic() - begin:9.3f} s        for 1 s of virtual time without frames")
    options = ["-q", "-s", "-p", "no:cacheprovider", "--board", "qemu-reference", "--clock", "virtual"]
    echo = Path(__file__).with_name("frame_echo.py")
    done = subprocess.run([sys.executable, "-m", "pytest", *options, str(echo)], check=False)
    return rate < BOUND or done.returncode


if __name__ == "__main__":
    sys.exit(main())
