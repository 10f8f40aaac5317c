"""Frames around a command's output that nothing else on the line can fake, and the text that sets them up.

A function in the guest, defined when a session opens, runs each command: it prints a mark, evaluates the command, and
prints another mark with its status. The marks carry the session's nonce and the command's number. The nonce is not
typed with later commands, so no echo can be taken for a mark. The command's length is typed with it; a command that
arrived cut is not run but typed again. Echo and output processing are off: output arrives byte for byte, and lines of
other writers are recognised by their line ends. A command with bytes other than printable ASCII is typed as octal
numbers, see `hil.guest.typed`.
"""

from __future__ import annotations

import re

from hil.console import Console, LineTimeout
from hil.guest import typed

INTERRUPT = b"\x03\n"  # the line feed is for a program that reads once more before it dies
# Read by any shell and line editor: no character expands or completes. The first line keeps the second out of a history
# file, and may fail. `env` empties the variables that a new shell acts on; `unset` removes them from the commands'
# environment. The inner `sh` answers before more is typed: zsh's editor alters what it reads ahead. The outer shell
# waits, and ends with the inner one unless a ^C came first: `exec` fails in dash as the first process of a container.
ENTER = (
    " unset HISTFILE\n"
    " env ENV= HISTFILE= PROMPT_COMMAND= TMOUT=0 sh -c 'stty icanon isig icrnl -inlcr -igncr -istrip -echo -opost "
    '-ixon;echo @"NONCE".COUNT=0=@;exec sh ${BASH_VERSION:+--noediting} ${ZSH_VERSION:++o zle} -i\';'
    "[ $? -gt 125 ]||exit\n"
)
# The first line disables the line editors of other shells. `command` keeps an unknown option, and a syntax error in a
# command, from ending the line.
# _n and _s are the last command's number and status. _r provides positional parameters and a function to return from.
# While a command runs, the prompt holds its end mark: at a syntax error mksh leaves the function and shows the prompt.
SETUP = (
    "set +euf;unset ENV HISTFILE PROMPT_COMMAND TMOUT PS1;PS1='PROMPT' PS2= _n=0 _s=0;"
    "for _o in emacs gmacs vi zle histexpand history;do command set +o $_o;done 2>/dev/null\n"
    '_h(){ case $2 in "${#3}") _c=$3;;"x${#3}x") _c=$(printf "$3.");_c=${_c%.};;*) echo "@NONCE.$1!@";return;;esac;'
    "_n=$1 _s= PS1='@NONCE.$_n>$?@\nPROMPT';"
    'echo "@NONCE.$1<";_r;_s=$?;PS1=\'PROMPT\';echo "@NONCE.$1>$_s@";};_r(){ command eval "$_c";}\n'
)
QUESTION = "echo '@'NONCE.COUNT=$_n=$_s@\n"
PROMPT = re.compile(r"[\w@:~#$>./ -]+", re.A)  # shown unchanged by every shell


def frame(command: str, number: int) -> bytes:
    """Return the lines to type for `command`; they carry its length."""
    data = typed.bytes_of(command)
    body = data if typed.plain(data) else typed.octal(data)
    length = b"%d" if body is data else b"x%dx"
    return b"_h %d %s %s\n" % (number, length % len(body), typed.quoted(body))


def foreign_lines(patterns: tuple[str, ...]) -> re.Pattern[bytes] | None:
    """Return the pattern of whole lines of other writers; None without `patterns`."""
    joined = "|".join(f"(?:{pattern})" for pattern in patterns).encode()
    return re.compile(rb"(?:%s)(?<!\r)\r+\n" % joined) if joined else None


class Stream:
    """The bytes that arrive from now on, without the `foreign` lines of other writers.

    Foreign lines may cut into anything, so marks are searched in `text`, the bytes without them. Bytes are taken line
    by line. `at` is the end of the last mark found, `next` the transcript offset of the next byte to read.
    """

    def __init__(self, console: Console, foreign: re.Pattern[bytes] | None) -> None:
        self.text = bytearray()
        self.foreign: list[str] = []
        self.at = self.begin = 0
        self._console = console
        self._pattern = foreign
        self.next = self._base = console.position
        self._pending = bytearray()
        self._removed: list[tuple[int, int]] = []

    def find(self, mark: re.Pattern[bytes], number: int, deadline: float) -> re.Match[bytes]:
        """Wait for the `mark`, at the end of a line, whose first group is `number`. Raises `LineTimeout`.

        Moves the console's position behind what was read.
        """
        start, late = self.at, False
        while (match := self.search(mark, number, start)) is None:
            start = max(self.at, self.text.rfind(b"\n") + 1)  # a mark lies within a line
            left = deadline - self._console.now
            taken = not late and self.take(max(0.0, left))
            late = left < 0  # read once more; a busy line would otherwise be read forever
            if not taken:
                raise LineTimeout("no mark in time", evidence=self._console.evidence())
            self._console.position = max(self._console.position, self.next)
        return match

    def search(self, mark: re.Pattern[bytes], number: int, start: int | None = None) -> re.Match[bytes] | None:
        """Return the `mark` with this `number` if it has been read, else None."""
        wanted = b"%d" % number
        found = mark.finditer(self.text, self.at if start is None else start)
        match = next((match for match in found if match[1] == wanted), None)
        if match is not None:
            self.at = match.end()
        return match

    def take(self, timeout: float) -> bool:
        """Read what has arrived; wait for the first byte `timeout` seconds at most. Return whether any came."""
        for offset, block in self._console.blocks(self.next, self._console.now + timeout):
            self.next = offset + len(block)
            self._feed(block)
            return True
        return False

    def take_all(self) -> None:
        """Read all that has arrived; let no virtual time pass."""
        while self.take(0.0):
            # a busy line in real time would otherwise be read forever
            if not self._console.virtual and self.next >= self._console.transcript.size:
                return

    def seen(self) -> bytes:
        """Return the bytes after `begin`, unfinished lines included."""
        return bytes(self.text[self.begin :] + self._pending)

    def raw(self, offset: int) -> int:
        """Return the transcript offset of an offset in `text`."""
        return self._base + offset + sum(length for at, length in self._removed if at <= offset)

    def raw_end(self, offset: int) -> int:
        """Return the transcript offset of the end of `text[:offset]`: before any line removed there."""
        return self._base + offset + sum(length for at, length in self._removed if at < offset)

    def _feed(self, data: bytes) -> None:
        cut = data.rfind(b"\n") + 1
        if not cut:
            self._pending += data
            return
        block = bytes(self._pending) + data[:cut]
        self._pending = bytearray(data[cut:])
        done = 0
        # a foreign line ends with CR LF; the output of the guest, unprocessed, with LF
        if self._pattern is not None and b"\r" in block:
            for match in self._pattern.finditer(block):
                self.text += block[done : match.start()]
                self.foreign.append(match[0].decode("utf-8", "replace").rstrip())
                self._removed.append((len(self.text), len(match[0])))
                done = match.end()
        self.text += block[done:]
