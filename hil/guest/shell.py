"""A POSIX shell at the other end of a console: one round trip per command, framed (see `hil.guest.framing`).

A session starts in any shell, with any line editor, prompt, aliases, options and history, and runs a plain `sh` in it:
interactive, so that ^C ends a loop, but without line editor, start files and history. Exported variables and the
directory are kept.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from hil.console import Console, LineTimeout
from hil.console.lines import split_lines
from hil.errors import Evidence, GuestError
from hil.guest import typed
from hil.guest.framing import ENTER, INTERRUPT, PROMPT, QUESTION, SETUP, Stream, foreign_lines, frame
from hil.image.manifest import ConsoleFacts

RECOVERY_LIMIT = 5.0  # seconds for the shell to answer after an interrupt
START_LIMIT = 10.0  # seconds for a command's first mark: a guest that is up reads what is typed
TRIES = 3


class CommandTimeout(GuestError):
    """A command did not end in time.

    `recovered` is true if the shell responds again. `output` holds the output so far; `start` and `end` are its offsets
    in the transcript.
    """

    def __init__(
        self, message: str, *, recovered: bool, output: bytes, start: int, end: int, evidence: Evidence
    ) -> None:
        super().__init__(message, evidence=evidence)
        self.recovered, self.output = recovered, output
        self.start, self.end = start, end


@dataclass(frozen=True)
class Result:
    """The result of a command.

    `output` holds both its streams, byte for byte; `foreign` the whole lines of other writers meanwhile. `begin_ns` and
    `end_ns` are host monotonic stamps of the two frame marks; `start` and `end` are the offsets of the output in the
    transcript.
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
        """The lines of the output without line feeds."""
        return split_lines(self.text)

    @property
    def seconds(self) -> float:
        """The time from the first mark to the last, by the host's clock."""
        return (self.end_ns - self.begin_ns) / 1e9


class Shell:
    """A session with the shell that shows its prompt on `console`.

    First interrupts half-typed input and foreground programs, and replaces the shell by a plain one. An `idle` shell,
    left by an earlier session, is used as it is if it answers. Raises `GuestError` when no shell answers.
    """

    def __init__(self, console: Console, facts: ConsoleFacts, *, idle: bool = False) -> None:
        self.console = console
        self.lost = False
        self.retyped = 0
        self._nonce = console.token(4)
        self._count = 0
        # compiled once per session: that takes longer than a round trip
        self._begun, self._ended, self._answer = (
            re.compile(rb"@%s\.(\d+)%s\n" % (self._nonce.encode(), rest))
            for rest in (rb"(<|!@)", rb">(\d{1,3})@", rb"=([^=\n]*)=(\d*)@")
        )
        self._foreign = foreign_lines((*facts.foreign, *facts.runner))
        prompt = facts.prompt if PROMPT.fullmatch(facts.prompt) else "# "
        setup = SETUP.replace("PROMPT'", f"{prompt}'") + QUESTION
        for number in range(TRIES):
            # the shell of a restored board is plain already, and a ^C would leave an error mark on its input, which
            # `head` then reports
            entered = (idle and number == 0) or self._ask(ENTER, interrupt=True) is not None
            if entered and self._ask(setup) is not None:
                return
        raise GuestError(
            f"no shell answered on the line, {TRIES} times in {RECOVERY_LIMIT:g} s each",
            hint="Check whether the guest is stuck, or a foreground program ignores ^C.",
            evidence=console.evidence(),
        )

    def run(self, command: str | bytes, *, timeout: float = 30.0, check: bool = False) -> Result:
        """Run `command`, any bytes but NUL, and return its result; wait `timeout` seconds at most.

        A command that did not arrive completely was not run and is typed again. Raises `CommandTimeout` after
        interrupting the command, `LineTimeout` if the guest does not take the command, `GuestError` if the line garbled
        the answer, or with `check` for a status other than 0, `ConfigurationError` for a NUL byte.
        """
        command = typed.text_of(command)
        deadline = self.console.now + timeout
        for _ in range(TRIES):
            result = self.attempt(command, timeout=timeout, deadline=deadline)
            if result is None:
                self.retyped += 1
                continue
            if check and result.status:
                raise GuestError(
                    f"the guest's command {command!r} ended with status {result.status}: {result.text.strip()[-500:]}",
                    evidence=self.console.evidence(),
                )
            return result
        raise GuestError(
            f"the guest's command {command!r} did not arrive completely in {TRIES} tries",
            hint="Check whether the line loses bytes: compare sent and received bytes in the transcript.",
            evidence=self.console.evidence(),
        )

    def attempt(
        self, command: str, *, timeout: float, deadline: float | None = None, start: float | None = None
    ) -> Result | None:
        """Type `command` once; return None if it did not arrive completely and was not run, else as `run`.

        `start` limits the seconds until it begins, for a command known to be quick; `deadline` (by `Console.now`) is
        the end of `timeout`.
        """
        deadline = self.console.now + timeout if deadline is None else deadline
        self._count += 1
        lines = frame(command, self._count)
        self.console.skip()
        self.console.write(lines, timeout=max(0.0, deadline - self.console.now))
        stream = Stream(self.console, self._foreign)
        begun = self.console.now + (START_LIMIT if start is None else start)
        if self.console.lockstep is not None:  # no byte is lost
            begun = deadline
        try:
            return self._result(command, stream, min(deadline, begun), deadline)
        except LineTimeout:
            self._recover(command, timeout, deadline, stream)
            return None

    def _result(self, command: str, stream: Stream, begun: float, deadline: float) -> Result | None:
        """Read one frame; return None for a command that arrived cut. Raises `LineTimeout`."""
        started = stream.find(self._begun, self._count, begun)
        if started[2] == b"!@":
            return None
        start = stream.begin = stream.at
        ended = stream.find(self._ended, self._count, deadline)
        end = stream.at - len(ended[0])
        time_at = self.console.transcript.time_at
        return Result(
            command,
            bytes(stream.text[start:end]),
            int(ended[2]),
            tuple(stream.foreign),
            time_at(stream.raw_end(start) - 1),
            time_at(stream.raw_end(stream.at) - 1),
            stream.raw_end(start),
            stream.raw(end),
        )

    def _recover(self, command: str, timeout: float, deadline: float, stream: Stream) -> None:
        """Recover the shell; return if the command never started and there is time to type it again, else raise."""
        evidence = self.console.evidence()
        end = self.console.position
        number = self._count
        last = self._ask(interrupt=True)
        self.lost = last is None
        if last is not None and self.console.now < deadline and last[0] != number:
            return
        if last is not None and last[0] == number and (last[1] is not None or self.console.now < deadline):
            ended = "was interrupted" if last[1] is None else f"ended with status {last[1]}"
            raise GuestError(
                f"the line garbled the frame of the guest's command {command!r}, which {ended}",
                hint="Check for another writer on the line; add its lines to console.foreign in the image's manifest.",
                evidence=evidence,
            )
        after = "the shell does not respond after ^C" if last is None else "it was interrupted"
        raise CommandTimeout(
            f"the guest's command {command!r} did not end in {timeout:g} s; {after}",
            recovered=last is not None,
            output=stream.seen(),
            start=stream.raw_end(stream.begin),
            end=end,
            evidence=evidence,
        )

    def _ask(self, question: str = QUESTION, *, interrupt: bool = False) -> tuple[int, int | None] | None:
        """Type `question` and return the last command's number and status; None if no shell answers.

        Types it up to `TRIES` times: the line may damage the question or the answer.
        """
        self._count += 1
        text = question.replace("NONCE", self._nonce).replace("COUNT", str(self._count)).encode()
        self.console.skip()
        stream = Stream(self.console, self._foreign)
        deadline = self.console.now + RECOVERY_LIMIT
        for left in range(TRIES, 0, -1):
            now = self.console.now
            try:
                self.console.write(INTERRUPT * interrupt + text, timeout=max(0.0, deadline - now))
                answer = stream.find(self._answer, self._count, now + max(0.0, deadline - now) / left)
                # a number that arrived damaged is unknown
                return int(answer[2]) if answer[2].isdigit() else -1, int(answer[3]) if answer[3] else None
            except LineTimeout:
                continue
        return None


def quote(words: Sequence[str | bytes]) -> str:
    """Return a command line that the guest's shell reads as exactly these words."""
    return shlex.join(map(typed.text_of, words))
