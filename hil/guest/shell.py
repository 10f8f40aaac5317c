"""A POSIX shell at the other end of a console: one round trip per command, framed (see `hil.guest.framing`).

A session starts in any shell, with any line editor, prompt, aliases, options and history, and runs a plain `sh` in it:
interactive, so that ^C ends a loop, but without line editor, start files and history. Exported variables and the
directory are kept.
"""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Sequence

from hil.console import Console, LineTimeout
from hil.errors import ConfigurationError, Evidence, GuestError
from hil.guest import typed
from hil.guest.channel import Channel
from hil.guest.framing import ENTER, INTERRUPT, PROMPT, QUESTION, SETUP, Stream, foreign_lines, frame
from hil.guest.result import CommandTimeout, Result, Typed
from hil.image.manifest import ConsoleFacts

RECOVERY_LIMIT = 5.0  # seconds for the shell to answer after an interrupt
START_LIMIT = 10.0  # seconds for a command's first mark: a guest that is up reads what is typed
TRIES = 3
SHOWN = 500  # characters of a command in an error message


class Shell:
    """A session with the shell that shows its prompt on `console`.

    First interrupts half-typed input and foreground programs, and replaces the shell by a plain one. An `idle` shell,
    left by an earlier session, is used as it is if it answers. Raises `GuestError` when no shell answers.
    """

    def __init__(self, console: Console, facts: ConsoleFacts, *, idle: bool = False) -> None:
        self.console = console
        self.lost = False
        self.retyped = 0
        self.channel: Channel | None = None
        self._foreground: Typed | None = None
        self._nonce = console.token(4)
        self._count = 0
        # compiled once per session: that takes longer than a round trip
        self._begun, self._ended, self._asked, self._answer = (
            re.compile(rb"@%s\.(\d+)%s\n" % (self._nonce.encode(), rest))
            for rest in (rb"(<|!@)", rb">(\d{1,3})@", rb"(?:\+|>(\d{1,3})@)", rb"=([^=\n]*)=(\d*)@")
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
        the answer, or with `check` for a status other than 0, `ConfigurationError` for a NUL byte and while a command
        of `start` occupies the shell.
        """
        result = self.result(self.start(command, timeout=timeout))
        if check and result.status:
            raise GuestError(
                f"the guest's command {_shown(result.command)} ended with status {result.status}: "
                f"{result.text.strip()[-500:]}",
                evidence=self.console.evidence(),
            )
        return result

    def start(self, command: str | bytes, *, timeout: float, subject: str = "") -> Typed:
        """Type `command` until it has begun. It is overdue after `timeout` seconds; otherwise as `run`.

        With a `subject`, the command's name in errors, the shell is occupied until the command has ended.
        """
        command = typed.text_of(command)
        deadline = self.console.now + timeout
        for _ in range(TRIES):
            begun = self._begin(command, timeout=timeout, deadline=deadline)
            if begun is None:
                self.retyped += 1
                continue
            begun.subject = subject
            self._foreground = begun if subject else None
            return begun
        raise GuestError(
            f"the guest's command {_shown(command)} did not arrive completely in {TRIES} tries",
            hint="Check whether the line loses bytes: compare sent and received bytes in the transcript.",
            evidence=self.console.evidence(),
        )

    def attempt(self, command: str, *, timeout: float, start: float | None = None) -> Result | None:
        """Type `command` once; return None if it did not arrive completely and was not run, else as `run`.

        `start` limits the seconds until it begins, for a command known to be quick.
        """
        begun = self._begin(command, timeout=timeout, deadline=self.console.now + timeout, start=start)
        return None if begun is None else self.result(begun)

    def give(self, command: str, data: bytes, *, timeout: float) -> Result | None:
        """Type `command` once, and send it `data` as it is when it asks for it; otherwise as `attempt`.

        It asks by the line `"${PS1%%.*}.$_n+"`, with the guest's tty set up for all byte values. If it ends without
        that, nothing is sent. The output before that line is not part of the result.
        """
        begun = self._begin(command, timeout=timeout, deadline=self.console.now + timeout)
        if begun is None:
            return None
        try:
            mark = begun.stream.find(self._asked, begun.number, begun.deadline)
        except LineTimeout:
            if error := self._recover(begun):
                raise error from None
            return None
        if mark[2] is not None:
            self._end(begun, mark)
        else:
            begun.stream.begin = begun.stream.at
            try:
                self.console.write(data, timeout=max(0.0, begun.deadline - self.console.now))
            except LineTimeout:  # the line takes no more
                if error := self._recover(begun):
                    raise error from None
                return None
        return self.result(begun)

    def result(self, begun: Typed) -> Result:
        """Wait for the result of a command until it is overdue, then interrupt it. Raises as `run`."""
        result = self.wait(begun, max(0.0, begun.deadline - self.console.now))
        if result is None:
            self._foreground = None
            raise self._recover(begun) or LineTimeout("no mark in time", evidence=self.console.evidence())
        return result

    def wait(self, begun: Typed, timeout: float) -> Result | None:
        """Wait for the result of a command, `timeout` seconds at most; return None if it does not come."""
        if begun.result is None:
            try:
                self._end(begun, begun.stream.find(self._ended, begun.number, self.console.now + timeout))
            except LineTimeout:
                return None
        return begun.result

    def poll(self, begun: Typed) -> Result | None:
        """Return the result of a command if it has arrived, else None; lets no virtual time pass."""
        if begun.result is None:
            begun.stream.take_all()
            if match := begun.stream.search(self._ended, begun.number):
                self._end(begun, match)
        return begun.result

    def interrupt(self, begun: Typed) -> Result:
        """Type ^C and return the result of the command.

        Raises `CommandTimeout` if the command does not end, or ends without its frame.
        """
        result = self.poll(begun)
        if result is None:
            with contextlib.suppress(LineTimeout):
                self.console.write(INTERRUPT, timeout=RECOVERY_LIMIT)
                result = self.wait(begun, RECOVERY_LIMIT)
        if result is not None:
            return result
        end = begun.stream.next
        last = self._ask(interrupt=True)
        if result := self.poll(begun):  # it has ended late
            return result
        self.lost, self._foreground = last is None, None
        raise self._timeout(begun, f"did not end at ^C in {RECOVERY_LIMIT:g} s", last is not None, end=end)

    def _begin(self, command: str, *, timeout: float, deadline: float, start: float | None = None) -> Typed | None:
        """Type `command` once and wait until it begins; return None if it was not run and there is time to retype."""
        running = self._foreground
        if running is not None and self.poll(running) is None:
            raise ConfigurationError(
                f"{running.subject} runs in the foreground of the guest's shell, which takes no other command",
                hint="Stop it or wait for its end first, with stop() or wait() of its handle or by leaving its `with` "
                "block. Start loads and background jobs before it.",
                evidence=self.console.evidence(),
            )
        self._foreground = None
        self._count += 1
        lines = frame(command, self._count)
        self.console.skip()
        self.console.write(lines, timeout=max(0.0, deadline - self.console.now))
        begun = Typed(command, self._count, Stream(self.console, self._foreign), timeout, deadline)
        until = self.console.now + (START_LIMIT if start is None else start)
        if self.console.lockstep is not None:  # no byte is lost
            until = deadline
        try:
            mark = begun.stream.find(self._begun, begun.number, min(deadline, until))
        except LineTimeout:
            if error := self._recover(begun):
                raise error from None
            return None
        if mark[2] == b"!@":  # it arrived cut
            return None
        begun.stream.begin = begun.stream.at
        return begun

    def _end(self, begun: Typed, mark: re.Match[bytes]) -> None:
        """Set the result of a command whose end `mark` was read."""
        stream, time_at = begun.stream, self.console.transcript.time_at
        start, end = stream.begin, stream.at - len(mark[0])
        begun.result = Result(
            begun.command,
            bytes(stream.text[start:end]),
            int(mark[2]),
            tuple(stream.foreign),
            time_at(stream.raw_end(start) - 1),
            time_at(stream.raw_end(stream.at) - 1),
            stream.raw_end(start),
            stream.raw(end),
        )

    def _recover(self, begun: Typed) -> GuestError | None:
        """Recover the shell; return why the command failed, None if it never began and there is time to retype it."""
        evidence = self.console.evidence()
        number, deadline = begun.number, begun.deadline
        last = self._ask(interrupt=True)
        self.lost = last is None
        if last is not None and self.console.now < deadline and last[0] != number:
            return None
        if last is not None and last[0] == number and (last[1] is not None or self.console.now < deadline):
            ended = "was interrupted" if last[1] is None else f"ended with status {last[1]}"
            return GuestError(
                f"the line garbled the frame of the guest's command {_shown(begun.command)}, which {ended}",
                hint="Check for another writer on the line; add its lines to console.foreign in the image's manifest.",
                evidence=evidence,
            )
        problem = f"did not end in {begun.timeout:g} s"
        return self._timeout(begun, problem, last is not None, evidence=evidence)

    def _timeout(
        self,
        begun: Typed,
        problem: str,
        recovered: bool,
        *,
        evidence: Evidence | None = None,
        end: int | None = None,
    ) -> CommandTimeout:
        after = "it was interrupted" if recovered else "the shell does not respond after ^C"
        stream = begun.stream
        return CommandTimeout(
            f"the guest's command {_shown(begun.command)} {problem}; {after}",
            recovered=recovered,
            output=stream.seen(),
            start=stream.raw_end(stream.begin),
            end=stream.next if end is None else end,
            evidence=evidence or self.console.evidence(),
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


def _shown(command: str) -> str:
    """Return a command for an error message; of a long one, as with a file in it, the beginning."""
    text = repr(command)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}... ({len(command)} characters)"


def quote(words: Sequence[str | bytes]) -> str:
    """Return a command line that the guest's shell reads as exactly these words."""
    return shlex.join(map(typed.text_of, words))
