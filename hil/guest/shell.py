"""A POSIX shell at the other end of a console: one round trip a command, framed so that nothing can fake it.

A session begins in whatever shell answers, with whatever line editor, prompt, aliases, options and history that has,
and starts a plain `sh` in it: interactive, so that ^C ends a loop, but without line editor, start files and history.
Exported variables and the directory stay.

A function in the guest, defined when the session opens, runs each command: it prints a mark, evaluates
the command, and prints another mark with its status. The marks carry the session's nonce and the
command's number; the nonce is not in what is typed afterwards, so no echo can be taken for a mark. The
command's length is typed with it, and one that arrived cut is not run but typed again. Echo and output
processing are off: output arrives byte for byte, and what others print is known by its line ends. A command that
holds other bytes than printable ASCII is typed as octal numbers, see `hil.guest.typed`.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hil.console import Console, LineTimeout
from hil.console.lines import split_lines
from hil.errors import GuestError
from hil.guest import typed
from hil.image.manifest import ConsoleFacts

RECOVERY_LIMIT = 5.0  # seconds for the shell to answer after an interrupt
START_LIMIT = 10.0  # seconds for a command's first mark: a guest that is up reads what is typed
TRIES = 3
INTERRUPT = b"\x03\n"  # the line feed is for a program that reads once more before it dies
# Read by whatever shell and line editor is there: no character expands or completes. The first line keeps the second
# out of a history file, and may fail. `env` empties what a new shell would act on; `unset` takes it out of the
# commands' environment. The inner `sh` answers before more is typed: zsh's editor alters what it reads ahead.
# The shell that was there waits, and ends with it unless a ^C came first: an `exec` fails in dash where it is the first
# process of a container.
ENTER = (
    " unset HISTFILE\n"
    " env ENV= HISTFILE= PROMPT_COMMAND= TMOUT=0 sh -c 'stty icanon isig icrnl -inlcr -igncr -istrip -echo -opost "
    '-ixon;echo @"NONCE".COUNT=0=@;exec sh ${BASH_VERSION:+--noediting} ${ZSH_VERSION:++o zle} -i\';'
    "[ $? -gt 125 ]||exit\n"
)
# The first line ends the line editors of other shells. `command` keeps an unknown option, and a syntax error in a
# command, from ending the line.
# _n and _s are the last command's number and status. _r gives it positional parameters, and something to return from.
# While a command runs, the prompt holds its end mark: at a syntax error mksh leaves the function and shows the prompt.
SETUP = (
    "set +euf;unset ENV HISTFILE PROMPT_COMMAND TMOUT PS1;PS1='PROMPT' PS2= _n=0 _s=0;"
    "for _o in emacs gmacs vi zle histexpand history;do command set +o $_o;done 2>/dev/null\n"
    '_h(){ case $2 in "${#3}") _c=$3;;"x${#3}x") _c=$(printf "$3.");_c=${_c%.};;*) echo "@NONCE.$1!@";return;;esac;'
    "_n=$1 _s= PS1='@NONCE.$_n>$?@\nPROMPT';"
    'echo "@NONCE.$1<";_r;_s=$?;PS1=\'PROMPT\';echo "@NONCE.$1>$_s@";};_r(){ command eval "$_c";}\n'
)
QUESTION = "echo '@'NONCE.COUNT=$_n=$_s@\n"
PROMPT = re.compile(r"[\w@:~#$>./ -]+", re.A)  # what every shell shows as it is


class CommandTimeout(GuestError):
    """A command did not end in time; `recovered` says whether the shell is back, `output` what came so far.

    `start` and `end` are the offsets of the output in the transcript.
    """

    def __init__(
        self,
        message: str,
        *,
        recovered: bool = False,
        output: bytes = b"",
        start: int = 0,
        end: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(message, **options)
        self.recovered = recovered
        self.output = output
        self.start = start
        self.end = end


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
        """The output's lines without their line feeds."""
        return split_lines(self.text)

    @property
    def seconds(self) -> float:
        """From the first mark to the last, by the host's clock."""
        return (self.end_ns - self.begin_ns) / 1e9


class Shell:
    """A session with the shell that shows its prompt on `console`.

    Whatever is half typed, or runs in the foreground, is interrupted first, and the shell is replaced by a plain one.
    One that is `idle`, as an earlier session has left it, is taken as it is where it answers. Raises `GuestError` when
    no shell answers.
    """

    def __init__(self, console: Console, facts: ConsoleFacts, *, idle: bool = False) -> None:
        self.console = console
        self.lost = False
        self.retyped = 0
        self._nonce = console.token(4)
        self._count = 0
        # once a session: compiling them costs more than a round trip
        self._begun, self._ended, self._told = (
            re.compile(rb"@%s\.(\d+)%s\n" % (self._nonce.encode(), rest))
            for rest in (rb"(<|!@)", rb">(\d{1,3})@", rb"=([^=\n]*)=(\d*)@")
        )
        patterns = "|".join(f"(?:{pattern})" for pattern in (*facts.foreign, *facts.runner)).encode()
        self._foreign = re.compile(rb"(?:%s)(?<!\r)\r+\n" % patterns) if patterns else None
        prompt = facts.prompt if PROMPT.fullmatch(facts.prompt) else "# "
        setup = SETUP.replace("PROMPT'", f"{prompt}'") + QUESTION
        for number in range(TRIES):
            # a restored board's shell is plain since before it was saved; and a ^C would leave an error mark on what it
            # reads, of which `head` then complains
            entered = (idle and number == 0) or self._ask(ENTER, interrupt=True) is not None
            if entered and self._ask(setup) is not None:
                return
        raise GuestError(
            f"no shell answered on the line, {TRIES} times in {RECOVERY_LIMIT:g} s each",
            hint="is the guest stuck, or does something run in the foreground that ^C does not end?",
            evidence=console.evidence(),
        )

    def run(self, command: str | bytes, *, timeout: float = 30.0, check: bool = False) -> Result:
        """Run `command`, of any bytes but NUL, and return its result, waiting `timeout` seconds at most.

        A command that did not arrive whole was not run and is typed again. Raises `CommandTimeout` after
        having interrupted it, `LineTimeout` when the guest does not even take the command, `GuestError`
        when the line garbled the answer or when `check` is set and the status is not 0,
        `ConfigurationError` for a NUL byte.
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
            f"the guest's command {command!r} did not arrive whole in {TRIES} tries",
            hint="does the line lose bytes? The transcript shows what was sent and what came",
            evidence=self.console.evidence(),
        )

    def attempt(
        self, command: str, *, timeout: float, deadline: float | None = None, start: float | None = None
    ) -> Result | None:
        """Type `command` once; None where it did not arrive whole and was not run. Else as `run`.

        It has `start` seconds to begin, for one that is known to be quick; `deadline` (by `Console.now`) is when
        `timeout` ends.
        """
        deadline = self.console.now + timeout if deadline is None else deadline
        self._count += 1
        frame = self._frame(command)
        self.console.skip()
        self.console.write(frame, timeout=max(0.0, deadline - self.console.now))
        stream = _Stream(self.console, self._foreign)
        begun = self.console.now + (START_LIMIT if start is None else start)
        if self.console.lockstep is not None:  # it loses nothing
            begun = deadline
        try:
            return self._result(command, stream, min(deadline, begun), deadline)
        except LineTimeout:
            self._recover(command, timeout, deadline, stream)
            return None

    def _frame(self, command: str) -> bytes:
        """Return the lines to type. The length says whether the command arrived whole."""
        data = typed.bytes_of(command)
        body = data if typed.plain(data) else typed.octal(data)
        length = b"%d" if body is data else b"x%dx"
        return b"_h %d %s %s\n" % (self._count, length % len(body), typed.quoted(body))

    def _result(self, command: str, stream: _Stream, begun: float, deadline: float) -> Result | None:
        """Read one frame; None for a command that arrived cut. Raises `LineTimeout`."""
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

    def _recover(self, command: str, timeout: float, deadline: float, stream: _Stream) -> None:
        """Bring the shell back. Returns where the command never started and there is time to type it again."""
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
                hint="another writer on the line? If the image's manifest should know it, add it to console.foreign",
                evidence=evidence,
            )
        after = "the shell did not come back after ^C" if last is None else "it was interrupted and the shell is back"
        raise CommandTimeout(
            f"the guest's command {command!r} did not end in {timeout:g} s; {after}",
            recovered=last is not None,
            output=stream.seen(),
            start=stream.raw_end(stream.begin),
            end=end,
            evidence=evidence,
        )

    def _ask(self, question: str = QUESTION, *, interrupt: bool = False) -> tuple[int, int | None] | None:
        """Type a question for the last command's number and status; None where no shell answers.

        Asks more than once: the line may damage the question or the answer.
        """
        self._count += 1
        text = question.replace("NONCE", self._nonce).replace("COUNT", str(self._count)).encode()
        self.console.skip()
        stream = _Stream(self.console, self._foreign)
        deadline = self.console.now + RECOVERY_LIMIT
        for left in range(TRIES, 0, -1):
            now = self.console.now
            try:
                self.console.write(INTERRUPT * interrupt + text, timeout=max(0.0, deadline - now))
                told = stream.find(self._told, self._count, now + max(0.0, deadline - now) / left)
                # a number that was typed and arrived damaged is none of ours
                return int(told[2]) if told[2].isdigit() else -1, int(told[3]) if told[3] else None
            except LineTimeout:
                continue
        return None


class _Stream:
    """What comes over the line from here on, without the lines of known other writers.

    They may cut into anything, so the marks are looked for in `text`, which is what is left without
    them. Bytes are taken over line by line. `at` is where the last mark that was found ends.
    """

    def __init__(self, console: Console, foreign: re.Pattern[bytes] | None) -> None:
        self.text = bytearray()
        self.foreign: list[str] = []
        self.at = self.begin = 0
        self._console = console
        self._pattern = foreign
        self._base = console.position
        self._pending = bytearray()
        self._removed: list[tuple[int, int]] = []

    def find(self, mark: re.Pattern[bytes], number: int, deadline: float) -> re.Match[bytes]:
        """Wait for the `mark`, which ends a line, whose first group is `number`. Raises `LineTimeout`."""
        wanted = b"%d" % number
        start, late = self.at, False
        while (match := self._search(mark, wanted, start)) is None:
            start = max(self.at, self.text.rfind(b"\n") + 1)  # a mark does not reach over a line's end
            left = deadline - self._console.now
            data = b"" if late else self._console.read(max(0.0, left))
            late = left < 0  # what is there is read once more; a line that never rests would be read for ever
            if not data:
                raise LineTimeout("no mark in time", evidence=self._console.evidence())
            self._feed(data)
        self.at = match.end()
        return match

    def _search(self, mark: re.Pattern[bytes], wanted: bytes, start: int) -> re.Match[bytes] | None:
        return next((match for match in mark.finditer(self.text, start) if match[1] == wanted), None)

    def seen(self) -> bytes:
        """What has come after `begin`, unfinished lines too."""
        return bytes(self.text[self.begin :] + self._pending)

    def raw(self, offset: int) -> int:
        """The transcript's offset of a place in `text`."""
        return self._base + offset + sum(length for at, length in self._removed if at <= offset)

    def raw_end(self, offset: int) -> int:
        """The transcript's offset behind what ends at `offset` in `text`: before any line removed there."""
        return self._base + offset + sum(length for at, length in self._removed if at < offset)

    def _feed(self, data: bytes) -> None:
        cut = data.rfind(b"\n") + 1
        if not cut:
            self._pending += data
            return
        block = bytes(self._pending) + data[:cut]
        self._pending = bytearray(data[cut:])
        done = 0
        # a foreign line ends with CR LF; the guest's own output, unprocessed, has LF alone
        if self._pattern is not None and b"\r" in block:
            for match in self._pattern.finditer(block):
                self.text += block[done : match.start()]
                self.foreign.append(match[0].decode("utf-8", "replace").rstrip())
                self._removed.append((len(self.text), len(match[0])))
                done = match.end()
        self.text += block[done:]


def quote(words: Sequence[str | bytes]) -> str:
    """Return a command line that the guest's shell reads as exactly these words."""
    return shlex.join(map(typed.text_of, words))
