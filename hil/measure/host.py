"""The load of the host during a measurement in real time: waits for a processor, steal time, load average.

Linux counts for each thread how long it was ready but had no processor (the second number of
`/proc/PID/task/TID/schedstat`), and for the machine how long the hypervisor below ran something else (steal).
The sum is an upper limit of the delay that a busy host can have added to the samples.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hil.measure.units import shown

PROC = Path("/proc")
STEAL = 8  # field of the line `cpu` in /proc/stat
EMULATOR, READER, OWN = "emulator", "console reader", "test process"
DELAYING = (EMULATOR, READER)  # a wait of the test process delays no stamp


@dataclass(frozen=True)
class HostLoad:
    """The load of the host during a measurement of `seconds`.

    `waits` is, by process name, the total time in seconds for which threads of the process waited for a processor;
    processes whose waits the kernel does not count are left out. `steal` is in seconds over all processors, `load` the
    load average of the last minute, `processors` their number.
    """

    seconds: float
    waits: Mapping[str, float]
    steal: float
    load: float
    processors: int

    @property
    def delay(self) -> float:
        """The largest delay by the host of all samples together, in seconds."""
        return sum(self.waits.get(name, 0.0) for name in DELAYING) + self.steal

    @property
    def facts(self) -> dict[str, str]:
        """The load as provenance of a series."""
        return {
            "host load": f"{self.load:.2f} on {self.processors} processors",
            "host steal": shown(self.steal),
            **{f"{name} waited": f"{shown(wait)} in {shown(self.seconds)}" for name, wait in self.waits.items()},
        }

    def __str__(self) -> str:
        waits = [f"the {name} waited {shown(wait)} for a processor" for name, wait in self.waits.items()]
        parts = [*waits, f"steal {shown(self.steal)}", f"load {self.load:.1f} on {self.processors} processors"]
        return f"in {shown(self.seconds)} " + ", ".join(parts)


@dataclass(frozen=True)
class HostWindow:
    """The `load` of the host during the next `count` samples of a series.

    `unit` is the length of one unit of the samples in seconds: 1 if they are seconds.
    """

    count: int
    load: HostLoad
    unit: float = 1.0

    @property
    def delay(self) -> float:
        """The largest delay by the host of all these samples together, in their unit."""
        return self.load.delay / self.unit


def total(windows: Sequence[HostWindow]) -> HostLoad:
    """Return the load of all `windows` together."""
    loads = [window.load for window in windows]
    names = dict.fromkeys(name for load in loads for name in load.waits)
    return HostLoad(
        sum(load.seconds for load in loads),
        {name: sum(load.waits.get(name, 0.0) for load in loads) for name in names},
        sum(load.steal for load in loads),
        max(load.load for load in loads),
        loads[0].processors,
    )


class Watch:
    """A measurement of the host's load on the processes `pids`, by name; it starts with the object."""

    def __init__(self, pids: Mapping[str, int], proc: Path = PROC) -> None:
        self._pids, self._proc = pids, proc
        self._waits, self._steal, self._begin = self._read(), self._stolen(), time.monotonic()

    def load(self) -> HostLoad:
        """Return the load since the watch was created."""
        before, now = self._waits, self._read()
        waits = {
            name: sum(ns - before.get(name, {}).get(thread, 0) for thread, ns in threads.items()) / 1e9
            for name, threads in now.items()
        }
        seconds = time.monotonic() - self._begin
        average = float((self._proc / "loadavg").read_text().split()[0])
        return HostLoad(seconds, waits, self._stolen() - self._steal, average, os.cpu_count() or 1)

    def _read(self) -> dict[str, dict[str, int]]:
        found = {name: dict(_waits(self._proc / str(pid) / "task")) for name, pid in self._pids.items()}
        return {name: threads for name, threads in found.items() if threads}

    def _stolen(self) -> float:
        fields = (self._proc / "stat").read_text().partition("\n")[0].split()
        return int(fields[STEAL]) / os.sysconf("SC_CLK_TCK")


def _waits(tasks: Path) -> Iterable[tuple[str, int]]:
    """Yield each thread and its waiting time in nanoseconds; nothing if the kernel does not count it."""
    with suppress(OSError):
        for task in tasks.iterdir():
            with suppress(OSError, ValueError, IndexError):  # a thread that has ended meanwhile
                yield task.name, int((task / "schedstat").read_text().split()[1])
