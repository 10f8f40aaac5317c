"""The parts of a file on their way to the guest or back: their order, their commands and their checks."""

from __future__ import annotations

import base64
import logging
import re
import shlex
import time
from collections.abc import Callable, Iterator

from hil.errors import GuestError, InfrastructureError
from hil.guest.channel import BLOCK, Direction
from hil.guest.receiving import PAD, md5, received, receiving
from hil.guest.result import CommandTimeout, Result
from hil.guest.shell import START_LIMIT, TRIES, Shell
from hil.text import printable_line

_log = logging.getLogger(__name__)

LINE = 1000  # characters of base64 per line, which every tty and shell takes
COMPARED = 32 << 10  # bytes of the ranges in which a damaged file is compared
BAD_IN_A_ROW = 12  # parts; the first few only find a size that passes
RATE = 2 << 10  # least bytes per second, for time limits
SLOWEST = 400  # the same for bytes as they are, whose wait the guest ends: 4800 baud


def in_parts(
    total: int,
    done: int,
    way: Direction,
    move: Callable[[int, int, bool], str],
    passes: Callable[[int, int], bool] = lambda start, end: True,
) -> Iterator[int]:
    """Move `total` bytes from `done` on, in parts of a size that passes; yield the end of each part that arrived.

    `move` takes start and end of a part and whether it goes over the line as it is, which the line must be clean for
    and `passes` must allow; it returns an empty string for a part that arrived, else the problem. Raises
    `InfrastructureError` if no part passes.
    """
    bad = 0
    while done < total:
        end = min(total, done + way.size)
        clean = way.clean and passes(done, end)
        if not clean:
            end = min(total, done + way.typed_size)
        try:
            problem = move(done, end, clean)
        except CommandTimeout as error:
            if not error.recovered:
                raise
            problem = error.message
        except GuestError as error:
            problem = error.message
        if not problem:
            way.passed()
            yield end
            done, bad = end, 0
            continue
        bad += 1
        _log.info("a part of %d bytes did not pass, try %d: %s", end - done, bad, printable_line(problem))
        if bad == BAD_IN_A_ROW:
            raise InfrastructureError(
                f"a part of {end - done} bytes did not pass in {bad} tries; result of the last: {problem!r}",
                hint="Check whether the line loses bytes or the guest's file system is full.",
            )
        way.damaged(end - done)


class Pace:
    """The time limit for a part to begin, derived from the parts before."""

    def __init__(self) -> None:
        self._slowest = 0.0  # seconds per byte

    def limit(self, size: int) -> float:
        return 1 + 4 * size * self._slowest if self._slowest else START_LIMIT + size / RATE

    def began(self, size: int, seconds: float) -> None:
        self._slowest = max(self._slowest, seconds / size)


def send(shell: Shell, part: bytes, file: str, offset: int, pace: Pace) -> str:
    """Write a part, sent as base64, to its place in the guest's file and read it back; return the problem.

    A damaged command may still run, in part even unframed. So writing a part twice, or the part before in its place,
    must be harmless, and only the part read back counts.
    """
    text = base64.b64encode(part).decode()
    lines = "\n".join(text[at : at + LINE] for at in range(0, len(text), LINE))
    typed_ns = time.monotonic_ns()
    result = shell.attempt(
        f"base64 -d >{file}p <<'.'&&{_placing(part, file, offset)}\n{lines}\n.",
        timeout=5 + len(text) / RATE,
        start=pace.limit(len(text)),
    )
    if result is None:
        return "it did not arrive completely"
    pace.began(len(text), (result.begin_ns - typed_ns) / 1e9)
    return _problem(part, result)


def send_clean(shell: Shell, part: bytes, file: str, offset: int, there: Direction) -> str:
    """Write a part, sent as it is, to its place in the guest's file and read it back; return the problem."""
    result = shell.give(
        f"{receiving(part, f'{file}p')};[ $_k = 0 ]&&{_placing(part, file, offset)}",
        part + PAD,
        timeout=15 + len(part) / SLOWEST,
    )
    if result is None:
        return "it did not arrive completely"
    received(there, len(part), result)
    return _problem(part, result)


def _placing(part: bytes, file: str, offset: int) -> str:
    """Return the command that copies a part that was received to its place in the guest's file, and reads it back."""
    place, blocks = offset // BLOCK, -(-len(part) // BLOCK)
    return (
        f"dd if={file}p of={file} bs={BLOCK} seek={place} conv=notrunc;"
        f"dd if={file} bs={BLOCK} skip={place} count={blocks} 2>/dev/null|head -c {len(part)}|md5sum"
    )


def _problem(part: bytes, result: Result) -> str:
    """Return why a part that was read back did not arrive; an empty string if it did."""
    return "" if result.lines[-1:] == [f"{md5(part)}  -"] else result.text.strip()[-300:] or "nothing"


def fetch(shell: Shell, file: str, start: int, end: int, clean: bool) -> tuple[bytes, str]:
    """Return a part of a file in the guest, which sends it as it is or as base64, and the problem if there is one."""
    size = end - start
    result = shell.run(
        f"tail -c +{start + 1} {file}|head -c {size} >{file}.p;md5sum <{file}.p;"
        f"{'cat' if clean else 'base64'} {file}.p",
        timeout=5 + 2 * size / RATE,
    )
    check, _, data = result.output.partition(b"\n")
    if not clean:
        try:
            data = base64.b64decode(data, validate=False)
        except ValueError:
            data = b""
    if len(data) == size and check.startswith(md5(data).encode()):
        return data, ""
    return b"", result.text.strip()[-100:] or "nothing"


def wrong(shell: Shell, data: bytes, file: str) -> list[tuple[int, int]]:
    """Return the ranges of the guest's file that differ from `data`."""
    starts = range(0, len(data), COMPARED)
    result = insist(
        shell,
        f"i=0;while [ $i -lt {len(starts)} ];do dd if={file} bs={COMPARED} skip=$i count=1 2>/dev/null"
        f"|head -c $(({len(data)}-i*{COMPARED}))|md5sum;i=$((i+1));done",
        timeout=30 + len(data) / RATE,
    )
    digests = [*result.lines, *[""] * len(starts)]
    return [
        (start, min(start + COMPARED, len(data)))
        for start, digest in zip(starts, digests, strict=False)
        if not digest.startswith(md5(data[start : start + COMPARED]))
    ]


def insist(shell: Shell, command: str, expected: str = "", *, timeout: float = 30.0, check: bool = False) -> Result:
    """Run a repeatable command until it succeeds, up to `TRIES` times; return the last result, else as `Shell.run`."""
    for _ in range(TRIES - 1):
        try:
            result = shell.run(command, timeout=timeout)
            if result.status == 0 and expected in result.text:
                return result
        except GuestError:
            if shell.lost:
                raise
    return shell.run(command, timeout=timeout, check=check)


def facts(shell: Shell, keys: str, command: str) -> dict[str, str]:
    """Return the `key=value` lines that `command` prints. Raises `InfrastructureError` if the line garbles them."""
    for _ in range(BAD_IN_A_ROW):
        found = dict(line.split("=", 1) for line in shell.run(command).lines if re.match(r"\w=", line))
        if all(re.fullmatch(r"[\w/ .-]*", found.get(key, "?")) for key in keys):
            return found
    raise garbled(shell, command)


def garbled(shell: Shell, command: str) -> InfrastructureError:
    """Return the error for answers to `command` that the line garbled each time."""
    return InfrastructureError(
        f"the guest's answer to {command!r} was garbled {BAD_IN_A_ROW} times",
        hint="Check for another writer on the line.",
        evidence=shell.console.evidence(),
    )


def word(path: str) -> str:
    """Return a path as a word of a command that no program takes for an option."""
    return shlex.quote(f"./{path}" if path.startswith("-") else path)
