"""How much memory a board takes: its guest, its partition with the runner, and the QEMU that it is.

- guest: MemAvailable of /proc/meminfo, what its kernel could give without swapping. MemFree would count the page
  cache, which comes and goes, as lost;
- partition, and the runner in it: what the agent tells with the manifest's `hello_option`, free memory and what the
  runner has locked. An image without that option cannot tell;
- QEMU: anonymous pages by /proc/PID/smaps, without two kinds of mappings: the machine's RAM, of which a page
  counts when the guest touches it for the first time, and translated code, a buffer that fills and is emptied.
  Pages of files count as private, or not, by what other programs have them mapped, too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from hil.errors import GuestError, InfrastructureError, RunnerError
from hil.guest import Guest
from hil.guest.shell import quote

GUEST, PARTITION, RUNNER, QEMU = (f"{who} memory taken" for who in ("guest", "partition", "runner", "QEMU"))
PAGE = 4096  # bytes: what all these count in
LIMIT = 20.0  # seconds for the guest to tell
LAST_LIMIT = 5.0  # the same where it may not answer any more
MAPPING = re.compile(r"(?P<start>[0-9a-f]+)-(?P<end>[0-9a-f]+) (?P<mode>\S{4}) \S+ \S+ \d+ *(?P<name>.*)")
OWN = re.compile(r"(?:Anonymous|Swap): +(\d+) kB")


class Memory:
    """The memory of `guest`'s board, in bytes above what was taken when it was first looked at.

    `unknown` says, after the first `read`, of which memory nothing can be told, and why.
    """

    def __init__(self, guest: Guest) -> None:
        self._guest = guest
        self._first: dict[str, int] = {}
        self._ram = 0
        self.unknown: tuple[str, ...] = ()

    def read(self) -> Mapping[str, int]:
        """What is taken now. Raises `GuestError`, `RunnerError` where one tells no more; else as `guest.run`."""
        now = {GUEST: -self.available(LIMIT), **self._partition(), **self._qemu()}
        if not self._first:
            self._first = now
        return {name: value - self._first[name] for name, value in now.items()}

    def available(self, limit: float) -> int:
        """What the guest could give, in bytes. Raises `GuestError` where it does not tell, and as `guest.run`."""
        told = self._guest.run("cat /proc/meminfo", timeout=limit)
        found = re.search(r"^MemAvailable: +(\d+) kB", told.text, re.M)
        if not found:
            raise GuestError(
                "the guest's /proc/meminfo tells no MemAvailable",
                hint="a kernel since 3.14 with /proc mounted does",
                evidence=self._guest.shell.console.evidence(),
            )
        return int(found[1]) << 10

    def describe(self) -> str:
        """How the guest's memory stands after a failure, in words; short of that, why it is not known."""
        try:
            now = self.available(LAST_LIMIT)
        except (GuestError, InfrastructureError) as error:
            return f"guest memory unknown: {error.message}"
        before = -self._first[GUEST] if self._first else now
        return f"guest memory {now >> 10} KiB available, {before >> 10} KiB at the start"

    def _partition(self) -> Mapping[str, int]:
        agent = self._guest.board.manifest.agent
        if agent is None or agent.hello_option is None:
            self._cannot(f"{PARTITION}, {RUNNER}: unknown, the image's agent cannot tell (agent.hello_option)")
            return {}
        told = self._guest.run(quote([agent.command, agent.hello_option]), timeout=LIMIT)
        numbers = dict(re.findall(r"\b(free|locked)=(\d+)\b", told.text))
        if len(numbers) < 2:
            raise RunnerError(
                f"the runner does not tell of its memory any more: {told.text.strip()[-200:]!r}, status {told.status}",
                evidence=self._guest.shell.console.evidence(),
            )
        return {PARTITION: -int(numbers["free"]) << 10, RUNNER: int(numbers["locked"]) << 10}

    def _qemu(self) -> Mapping[str, int]:
        board = self._guest.board
        if not board.emulated:
            self._cannot(f"{QEMU}: none, the board is real")
            return {}
        if board.virtual is not None:
            self._cannot(f"{QEMU}: not looked at in virtual time, where what is measured repeats to the bit")
            return {}
        if not self._ram:
            self._ram = int(board.qemu.monitor.execute("query-memory-size-summary")["base-memory"])
        try:
            text = Path(f"/proc/{board.qemu.pid}/smaps").read_text("utf-8", "replace")
        except OSError as error:
            raise InfrastructureError(f"cannot read the memory of QEMU: {error.strerror}") from error
        return {QEMU: own(text, self._ram)}

    def _cannot(self, why: str) -> None:
        if why not in self.unknown:
            self.unknown += (why,)


def own(smaps: str, ram: int) -> int:
    """QEMU's own anonymous bytes by its /proc/PID/smaps, for a machine with `ram` bytes.

    Raises `InfrastructureError` where no mapping holds the machine's RAM: the number would be another one.
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
            f"no mapping of QEMU is as large as its machine's RAM, {ram} bytes: its own memory cannot be told from it"
        )
    return total
