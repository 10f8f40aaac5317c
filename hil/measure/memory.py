"""The memory that a board takes: guest, partition with the runner, and QEMU.

- Guest: MemAvailable of /proc/meminfo, the memory available without swapping. MemFree would count the page cache,
  which comes and goes, as lost.
- Partition and runner: free memory and locked memory as the agent reports them with the manifest's `hello_option`.
  Unknown for an image without that option.
- QEMU: anonymous pages by /proc/PID/smaps, without the machine's RAM, whose pages count from the first access by the
  guest, and without translated code, a buffer that fills and is emptied. Pages of files are left out: whether they
  are private depends on other programs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from hil.errors import GuestError, InfrastructureError, RunnerError
from hil.guest import Guest
from hil.guest.shell import quote
from hil.measure.quantities import GUEST, PARTITION, QEMU, RUNNER

PAGE = 4096  # bytes, the unit of all these counters
LIMIT = 20.0  # seconds for the guest's answer
LAST_LIMIT = 5.0  # seconds, for a guest that may be dead
MAPPING = re.compile(r"(?P<start>[0-9a-f]+)-(?P<end>[0-9a-f]+) (?P<mode>\S{4}) \S+ \S+ \d+ *(?P<name>.*)")
OWN = re.compile(r"(?:Anonymous|Swap): +(\d+) kB")


class Memory:
    """The memory of the board of `guest`, in bytes above the first reading.

    `unknown` lists, after the first `read`, the memories that cannot be read, and why.
    """

    def __init__(self, guest: Guest) -> None:
        self._guest = guest
        self._first: dict[str, int] = {}
        self._ram = 0
        self.unknown: tuple[str, ...] = ()

    def read(self) -> Mapping[str, int]:
        """Return the memory taken now. Raises `GuestError`, `RunnerError` for no answer; else as `guest.run`."""
        now = {GUEST: -self.available(LIMIT), **self._partition(), **self._qemu()}
        if not self._first:
            self._first = now
        return {name: value - self._first[name] for name, value in now.items()}

    def available(self, limit: float) -> int:
        """Return the available memory of the guest in bytes. Raises `GuestError` if unknown; else as `guest.run`."""
        result = self._guest.run("cat /proc/meminfo", timeout=limit)
        found = re.search(r"^MemAvailable: +(\d+) kB", result.text, re.M)
        if not found:
            raise GuestError(
                "there is no MemAvailable in /proc/meminfo of the guest",
                hint="Use a kernel since 3.14 with /proc mounted.",
                evidence=self._guest.shell.console.evidence(),
            )
        return int(found[1]) << 10

    def describe(self) -> str:
        """Return the state of the guest's memory after a failure in words, or why it is unknown."""
        try:
            now = self.available(LAST_LIMIT)
        except (GuestError, InfrastructureError) as error:
            return f"guest memory unknown: {error.message}"
        before = -self._first[GUEST] if self._first else now
        return f"guest memory {now >> 10} KiB available, {before >> 10} KiB at the start"

    def _partition(self) -> Mapping[str, int]:
        agent = self._guest.board.manifest.agent
        if agent is None or agent.hello_option is None:
            self._is_unknown(f"{PARTITION}, {RUNNER}: unknown, the agent does not report them (agent.hello_option)")
            return {}
        result = self._guest.run(quote([agent.command, agent.hello_option]), timeout=LIMIT)
        numbers = dict(re.findall(r"\b(free|locked)=(\d+)\b", result.text))
        if len(numbers) < 2:
            raise RunnerError(
                f"the runner no longer reports its memory: {result.text.strip()[-200:]!r}, status {result.status}",
                evidence=self._guest.shell.console.evidence(),
            )
        return {PARTITION: -int(numbers["free"]) << 10, RUNNER: int(numbers["locked"]) << 10}

    def _qemu(self) -> Mapping[str, int]:
        board = self._guest.board
        if not board.emulated:
            self._is_unknown(f"{QEMU}: none, the board is real")
            return {}
        if board.virtual is not None:
            self._is_unknown(f"{QEMU}: not read in virtual time, where figures repeat to the bit")
            return {}
        if not self._ram:
            self._ram = int(board.qemu.monitor.execute("query-memory-size-summary")["base-memory"])
        try:
            text = Path(f"/proc/{board.qemu.pid}/smaps").read_text("utf-8", "replace")
        except OSError as error:
            raise InfrastructureError(f"cannot read the memory of QEMU: {error.strerror}") from error
        return {QEMU: own(text, self._ram)}

    def _is_unknown(self, why: str) -> None:
        if why not in self.unknown:
            self.unknown += (why,)


def own(smaps: str, ram: int) -> int:
    """Return the anonymous bytes of QEMU itself by its /proc/PID/smaps, for a machine with `ram` bytes.

    Raises `InfrastructureError` if no mapping can be the machine's RAM, which would then be counted.
    """
    total, counted, found = 0, True, False
    for line in smaps.split("\n"):
        if mapping := MAPPING.fullmatch(line):
            is_ram = int(mapping["end"], 16) - int(mapping["start"], 16) >= ram
            is_code = "wx" in mapping["mode"] and not mapping["name"]
            counted, found = not (is_ram or is_code), found or is_ram
        elif counted and (pages := OWN.match(line)):
            total += int(pages[1]) << 10
    if not found:
        raise InfrastructureError(
            f"no mapping of QEMU is as large as the RAM of its machine, {ram} bytes: its own memory is unknown"
        )
    return total
