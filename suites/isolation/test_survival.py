"""Does the runner's module go on when the guest does not? Seen by what it prints on the console.

Where the runner is a process of the guest's own Linux these fail, as they should: nothing stands between them.
"""

import re

import pytest

from hil import LineTimeout

pytestmark = [pytest.mark.board, pytest.mark.destructive]

PERIOD_US, TICKS = 50_000, 60
AFTER_US = 1_000_000  # a third of the ticks
QUIET, SILENCE = 5.0, 2.0  # seconds without a line after which no more is awaited; for a guest that does not answer
FATES = {
    "panics": "echo c >/proc/sysrq-trigger",
    "resets": "echo b >/proc/sysrq-trigger",
    # the agent first: with time left to it, it would end the module
    "kills-all": "killall -9 {agent};kill -9 -1",
}


def last_came(console, line):
    try:
        while console.wait_for(line, b"\n", timeout=QUIET).index:
            pass
    except LineTimeout:
        return False
    return True


@pytest.mark.parametrize("fate", FATES)
def test_module_goes_on_when_the_guest(board, console, runner, sample, fate):
    place, agent = runner.place(sample("ticker.wasm")), board.manifest.agent.command
    start = console.skip()
    act = f"usleep {AFTER_US};{FATES[fate].format(agent=agent)}"
    console.sendline(f"(setsid sh -c '{act}' &);{agent} {place} {PERIOD_US} {TICKS}")
    whole = last_came(console, b"tick %d\n" % TICKS)
    console.transcript.refresh()
    seen = console.transcript.read(start, console.transcript.size)
    ticks = re.findall(rb"tick (\d+)\n", seen)
    assert ticks, f"the module did not run: {seen[-500:]!r}"
    console.sendline("\necho $((6*7))")
    with pytest.raises(LineTimeout):  # else nothing happened to the guest: its shell answers
        console.wait_for(b"42\r\n", timeout=SILENCE)
    assert whole, (
        f"the module stopped at tick {int(ticks[-1])} of {TICKS} with the guest"
        f" (image {board.manifest.name}, hypervisor {board.manifest.hypervisor})"
    )
