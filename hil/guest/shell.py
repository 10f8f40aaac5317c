"""A POSIX shell at the other end of a console: one round trip a command, framed so that nothing can fake it.

A command is typed as `echo BEGIN; eval COMMAND; echo END STATUS`. BEGIN and END carry the session's
nonce and the command's number, and are typed in two halves, so that no echo of what was typed can be
taken for them. Echo and output processing are off: the output's bytes arrive as the command wrote
them, and what the kernel prints in between is known by its own line ends.
"""

from __future__ import annotations

import re
import secrets
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass

from hil.console import Console, LineTimeout, Match
from hil.console.transcript import printable
from hil.errors import ConfigurationError, Evidence, GuestError
from hil.image.manifest import ConsoleFacts

RECOVERY_LIMIT = 5.0  # seconds for the shell to answer after an interrupt
CANONICAL_LINE = 4095  # bytes: Linux's tty keeps no more of a line (N_TTY_BUF_SIZE)
INTERRUPT = b"\x03"


class CommandTimeout(GuestError):
    """A command did not end in time; `recovered` says whether the shell is back, `output` what came so far."""

    def __init__(self, message: str, *, recovered: bool, output: bytes, evidence: Evidence) -> None:
        super().__init__(message, evidence=evidence)
        self.recovered = recovered
        self.output = output


@dataclass(frozen=True)
class Result:
    """What a command did.

    `output` is what it wrote (both streams), byte for byte; `foreign` the whole lines that others
    wrote meanwhile. `begin_ns` and `end_ns` are host monotonic stamps of the two frame marks as they
    came over the line; `start` and `end` are the offsets of the output in the transcript.
    """

    command: str
    output: bytes
    status: int
    foreign: tuple[str, ...]
    begin_ns: int
    end_ns: int
    start: int
    end: int

    @property
    def text(self) -> str:
        return self.output.decode("utf-8", "replace")

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()

    @property
    def seconds(self) -> float:
        """From the first mark to the last, by the host's clock."""
        return (self.end_ns - self.begin_ns) / 1e9


class Shell:
    """A session with the shell that shows its prompt on `console`.

    Raises `GuestError` when no shell answers.
    """

    def __init__(self, console: Console, facts: ConsoleFacts) -> None:
        self.console = console
        self._nonce = secrets.token_hex(4)
        self._count = 0
        # a foreign line ends with CR LF; the guest's own output, unprocessed, has LF alone
        patterns = "|".join(f"(?:{pattern})" for pattern in facts.foreign).encode()
        self._foreign = re.compile(rb"^(?:%s)(?<!\r)\r+\n" % patterns, re.M) if patterns else None
        self._intruder = re.compile(rb"(?:%s)(?<!\r)\r+\n" % patterns) if patterns else None
        self.lost = False
        # an empty PS2: lines of a long command must not be answered with prompts
        if not self._answers(b"stty -echo -opost; PS2=;"):
            raise GuestError(
                f"no shell answered on the line in {RECOVERY_LIMIT:g} s",
                hint="is something else running in the foreground, or is the guest stuck?",
                evidence=console.evidence(),
            )

    def run(self, command: str, *, timeout: float = 30.0, check: bool = False) -> Result:
        """Run `command` and return its result, waiting `timeout` seconds at most.

        Raises `CommandTimeout` after having interrupted it, `GuestError` when `check` is set and the
        status is not 0, `ConfigurationError` for a line that no tty takes.
        """
        self._count += 1
        mark = f"{self._nonce}.{self._count}"
        # `command` keeps a syntax error from ending the whole line and so the frame
        typed = f"echo '@'{mark}'<';command eval {shlex.quote(command)};echo '@'{mark}'>'$?@\n".encode()
        longest = max(map(len, typed.split(b"\n")))
        if longest > CANONICAL_LINE or b"\0" in typed:
            raise ConfigurationError(
                f"a command line of {longest} bytes is too long for the guest's tty (at most {CANONICAL_LINE})"
                if longest > CANONICAL_LINE
                else "a command cannot hold a NUL byte",
                hint="break it into lines, or put it into a file with guest.put() and run that",
            )
        self.console.skip()
        self.console.write(typed)
        deadline = time.monotonic() + timeout

        def wait_for(text: str) -> Match:
            return self.console.wait_for(text.encode(), timeout=max(0.0, deadline - time.monotonic()))

        try:
            begin, end, last = wait_for(f"@{mark}<\n"), wait_for(f"@{mark}>"), wait_for("@\n")
        except LineTimeout as error:
            raise self._interrupt(command, timeout, error) from None
        transcript = self.console.transcript
        output, foreign = self._separate(transcript.read(begin.end, end.start))
        code = self._status(transcript.read(end.end, last.start), command)
        result = Result(command, output, code, foreign, begin.time_ns, last.time_ns, begin.end, end.start)
        if check and code:
            raise GuestError(
                f"the guest's command {command!r} ended with status {code}: {result.text.strip()[-500:]}",
                evidence=self.console.evidence(),
            )
        return result

    def _separate(self, data: bytes) -> tuple[bytes, tuple[str, ...]]:
        if self._foreign is None or b"\r" not in data:
            return data, ()
        found = [line.decode("utf-8", "replace").rstrip() for line in self._foreign.findall(data)]
        return self._foreign.sub(b"", data), tuple(found)

    def _status(self, data: bytes, command: str) -> int:
        digits = self._intruder.sub(b"", data) if self._intruder else data
        if not re.fullmatch(rb"\d{1,3}", digits):
            raise GuestError(
                f"the line garbled the status of the guest's command {command!r}: {printable(data)[:200]!r}",
                hint="another writer on the line? If the image's manifest should know it, add it to console.foreign",
                evidence=self.console.evidence(),
            )
        return int(digits)

    def _interrupt(self, command: str, timeout: float, error: LineTimeout) -> CommandTimeout:
        since = self.console.position
        evidence = error.evidence or self.console.evidence()
        output = self.console.transcript.read(since, self.console.transcript.size)
        recovered = self._answers(INTERRUPT)
        self.lost = not recovered
        after = "it was interrupted and the shell is back" if recovered else "the shell did not come back after ^C"
        return CommandTimeout(
            f"the guest's command {command!r} did not end in {timeout:g} s; {after}",
            recovered=recovered,
            output=output,
            evidence=evidence,
        )

    def _answers(self, typed: bytes) -> bool:
        """Type something and see whether the shell then answers with a new mark."""
        self._count += 1
        mark = f"{self._nonce}.{self._count}"
        self.console.skip()
        self.console.write(typed + f"\necho '@'{mark}'='\n".encode())
        try:
            self.console.wait_for(f"@{mark}=".encode(), timeout=RECOVERY_LIMIT)
        except LineTimeout:
            return False
        return True


def quote(words: Sequence[str]) -> str:
    """Words as one command line that the guest's shell reads as exactly these words."""
    return shlex.join(words)
