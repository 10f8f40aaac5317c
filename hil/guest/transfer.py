"""Files to and from the guest over its shell: compressed, in checked parts, verified by SHA-256.

A part that the line damaged is sent again. The size of the parts adapts to the line: it shrinks after a damaged part
and grows after good ones. An interrupted upload resumes where it stopped, within one boot of the guest. BusyBox is all
that the guest needs.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import logging
import lzma
import posixpath
import re
import shlex
import time
from collections.abc import Callable, Iterator

from hil.console import LineClosed
from hil.console.lines import printable
from hil.errors import GuestError, InfrastructureError
from hil.guest.shell import START_LIMIT, TRIES, CommandTimeout, Result, Shell
from hil.host.progress import Progress
from hil.text import printable_line

_log = logging.getLogger(__name__)

LINE = 1000  # characters of base64 per line, which every tty and shell takes
LARGEST = 32 << 10  # bytes of compressed data per command
SMALLEST = BLOCK = 256  # parts are whole blocks
GOOD_IN_A_ROW = 4  # parts before larger ones
BAD_IN_A_ROW = 12  # parts; the first few only find a size that passes
FILE_MAX = 64 << 20  # bytes of a file that is fetched
RATE = 2 << 10  # least bytes per second, for time limits


def digest_in_guest(shell: Shell, path: str) -> str | None:
    """Return the SHA-256 of a file in the guest, None if there is none."""
    result = shell.run(f"sha256sum 2>/dev/null <{_word(path)}")
    found = re.match(r"[0-9a-f]{64}\b", result.text)
    return found[0] if found and result.status == 0 else None


def put(shell: Shell, data: bytes, path: str, *, progress: Progress | None = None) -> bool:
    """Write `data` to `path` in the guest; return false if it was there already.

    The file appears completely or not at all. `progress` counts compressed bytes. Raises `GuestError` if the guest
    cannot write it or it is a directory, `InfrastructureError` if the line damages every part.
    """
    progress, shown = progress or Progress(), printable_line(path)
    digest = hashlib.sha256(data).hexdigest()
    target = _word(path)
    # in the same directory: a rename is atomic there; not named after the file, whose name may be too long
    beside = posixpath.join(posixpath.dirname(path), f".hil-{digest[:16]}")
    part, whole = (_word(f"{beside}.{kind}") for kind in ("part", "new"))
    has = _facts(
        shell,
        "fdsmx",
        f"echo f=$([ ! -d {target} ]||echo directory);echo d=$(sha256sum <{target} 2>/dev/null);"
        f"echo s=$(wc -c <{part} 2>/dev/null);echo m=$(md5sum <{part} 2>/dev/null);echo x=$(command -v unxz)",
    )
    if has.get("f"):
        raise GuestError(
            f"{shown} is a directory in the guest", hint="Name a file in it.", evidence=shell.console.evidence()
        )
    if has.get("d", "").startswith(digest):
        return False
    if has.get("x"):  # BusyBox unpacks it in 8 MiB of memory
        packed, unpack = lzma.compress(data, check=lzma.CHECK_CRC32, preset=6), "unxz"
    else:
        packed, unpack = gzip.compress(data, 9, mtime=0), "gunzip"
    sent = int(has["s"]) if has.get("s", "").isdigit() else -1
    if 0 <= sent <= len(packed) and has.get("m", "").startswith(_md5(packed[:sent])):
        sent -= sent % BLOCK
    else:
        directory = _word(posixpath.dirname(path) or ".")
        _insist(shell, f"mkdir -p {directory} && : >{part}", check=True)
        sent = 0
    progress.step(f"sending {posixpath.basename(shown)}", len(packed), unit="B")
    pace, missing = _Pace(), [(sent, len(packed))]
    for _ in range(TRIES):
        try:
            for start, stop in missing:
                for end in _parts(stop, start, lambda at, end: _send(shell, packed[at:end], part, at, pace)):
                    progress.advance(end)
        except LineClosed:
            raise  # the arrived parts stay for the next try
        except InfrastructureError:
            shell.run(f"rm -f {part} {part}p")
            raise
        result = _insist(
            shell,
            f"head -c {len(packed)} {part}|{unpack} >{whole} && sha256sum <{whole} && mv {whole} {target}",
            digest,
            timeout=30 + len(data) / RATE,
        )
        # a damaged position makes one part overwrite another
        if digest in result.text or not (missing := _wrong(shell, packed, part)):
            break
    _insist(shell, f"rm -f {part} {part}p {whole}")
    if result.status or digest not in result.text:
        raise GuestError(
            f"{shown} did not arrive in the guest: status {result.status}, {result.text.strip()[-300:]!r}",
            hint="Check that the guest has room and that the directory is writable.",
            evidence=shell.console.evidence(),
        )
    return True


def get(shell: Shell, path: str, *, limit: int = FILE_MAX, progress: Progress | None = None) -> bytes:
    """Return the bytes of a file in the guest.

    Raises `GuestError` if it cannot be read or exceeds `limit` bytes, `InfrastructureError` if the line damages every
    part.
    """
    progress, shown = progress or Progress(), printable_line(path)
    name, temporary = _word(path), f"/tmp/hil-{shell.console.token(4)}"
    counted = shell.run(f"wc -c <{name}")
    if counted.status:
        reason = printable(counted.output.strip())
        raise GuestError(f"cannot read {shown} in the guest: {reason}", evidence=shell.console.evidence())
    facts = _facts(shell, "sd", f"echo s=$(wc -c <{name});echo d=$(sha256sum <{name})")
    size, digest = int(facts["s"]), facts["d"]
    if size > limit:
        raise GuestError(f"{shown} in the guest has {size} bytes, over the limit of {limit}")
    try:
        shell.run(f"gzip -c <{name} >{temporary}", timeout=30 + size / RATE, check=True)
        length = int(_facts(shell, "l", f"echo l=$(wc -c <{temporary})")["l"])
        progress.step(f"fetching {posixpath.basename(shown)}", length, unit="B")
        packed = bytearray()

        def fetch(start: int, end: int) -> str:
            data, problem = _fetch(shell, temporary, start, end)
            packed.extend(data)
            return problem

        for end in _parts(length, 0, fetch):
            progress.advance(end)
    finally:
        if not shell.lost and not shell.console.ended:
            shell.run(f"rm -f {temporary} {temporary}p")
    data = gzip.decompress(packed)
    if not digest.startswith(hashlib.sha256(data).hexdigest()):
        raise GuestError(f"{shown} changed in the guest during the transfer", evidence=shell.console.evidence())
    return data


def _wrong(shell: Shell, packed: bytes, part: str) -> list[tuple[int, int]]:
    """Return the ranges of the guest's file that differ from `packed`."""
    starts = range(0, len(packed), LARGEST)
    result = _insist(
        shell,
        f"i=0;while [ $i -lt {len(starts)} ];do dd if={part} bs={LARGEST} skip=$i count=1 2>/dev/null"
        f"|head -c $(({len(packed)}-i*{LARGEST}))|md5sum;i=$((i+1));done",
        timeout=30 + len(packed) / RATE,
    )
    digests = [*result.lines, *[""] * len(starts)]
    return [
        (start, min(start + LARGEST, len(packed)))
        for start, digest in zip(starts, digests, strict=False)
        if not digest.startswith(_md5(packed[start : start + LARGEST]))
    ]


def _insist(shell: Shell, command: str, expected: str = "", *, timeout: float = 30.0, check: bool = False) -> Result:
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


def _parts(total: int, done: int, move: Callable[[int, int], str]) -> Iterator[int]:
    """Move `total` bytes from `done` on, in parts of a size that passes; yield the end of each part that arrived.

    `move` returns an empty string for a part that arrived, else the problem. Raises `InfrastructureError` if no part
    passes.
    """
    size, good, bad = LARGEST, 0, 0
    while done < total:
        end = min(total, done + size)
        try:
            problem = move(done, end)
        except CommandTimeout as error:
            if not error.recovered:
                raise
            problem = error.message
        except GuestError as error:
            problem = error.message
        if not problem:
            yield end
            done, good, bad = end, good + 1, 0
            if good >= GOOD_IN_A_ROW:
                size, good = min(LARGEST, size * 2), 0
            continue
        good, bad = 0, bad + 1
        _log.info("a part of %d bytes did not pass, try %d: %s", end - done, bad, printable_line(problem))
        if bad == BAD_IN_A_ROW:
            raise InfrastructureError(
                f"a part of {end - done} bytes did not pass in {bad} tries; result of the last: {problem!r}",
                hint="Check whether the line loses bytes or the guest's file system is full.",
            )
        size = max(SMALLEST, size // 2)


class _Pace:
    """The time limit for a part to begin, derived from the parts before."""

    def __init__(self) -> None:
        self._slowest = 0.0  # seconds per byte

    def limit(self, size: int) -> float:
        return 1 + 4 * size * self._slowest if self._slowest else START_LIMIT + size / RATE

    def began(self, size: int, seconds: float) -> None:
        self._slowest = max(self._slowest, seconds / size)


def _send(shell: Shell, part: bytes, temporary: str, offset: int, pace: _Pace) -> str:
    """Write a part to its place in the guest's file and read it back; return the problem.

    A damaged command may still run, in part even unframed. So writing a part twice, or the part before in its place,
    must be harmless, and only the part read back counts.
    """
    text = base64.b64encode(part).decode()
    lines = "\n".join(text[at : at + LINE] for at in range(0, len(text), LINE))
    place, blocks = offset // BLOCK, -(-len(part) // BLOCK)
    typed_ns = time.monotonic_ns()
    result = shell.attempt(
        f"base64 -d >{temporary}p <<'.'&&dd if={temporary}p of={temporary} bs={BLOCK} seek={place} conv=notrunc;"
        f"dd if={temporary} bs={BLOCK} skip={place} count={blocks} 2>/dev/null|head -c {len(part)}|md5sum\n"
        f"{lines}\n.",
        timeout=5 + len(text) / RATE,
        start=pace.limit(len(text)),
    )
    if result is None:
        return "it did not arrive completely"
    pace.began(len(text), (result.begin_ns - typed_ns) / 1e9)
    arrived = result.lines[-1:] == [f"{_md5(part)}  -"]
    return "" if arrived else result.text.strip()[-300:] or "nothing"


def _fetch(shell: Shell, temporary: str, start: int, end: int) -> tuple[bytes, str]:
    """Return a part of a file in the guest, and the problem if there is one."""
    size = end - start
    result = shell.run(
        f"tail -c +{start + 1} {temporary}|head -c {size} >{temporary}p;md5sum <{temporary}p;base64 {temporary}p",
        timeout=5 + 2 * size / RATE,
    )
    check, _, text = result.text.partition("\n")
    try:
        data = base64.b64decode(text, validate=False)
    except ValueError:
        data = b""
    if len(data) == size and check.startswith(_md5(data)):
        return data, ""
    return b"", result.text.strip()[-100:] or "nothing"


def _facts(shell: Shell, keys: str, command: str) -> dict[str, str]:
    """Return the `key=value` lines that `command` prints. Raises `InfrastructureError` if the line garbles them."""
    for _ in range(BAD_IN_A_ROW):
        found = dict(line.split("=", 1) for line in shell.run(command).lines if re.match(r"\w=", line))
        if all(re.fullmatch(r"[\w/ .-]*", found.get(key, "?")) for key in keys):
            return found
    raise InfrastructureError(
        f"the guest's answer to {command!r} was garbled {BAD_IN_A_ROW} times",
        hint="Check for another writer on the line.",
        evidence=shell.console.evidence(),
    )


def _word(path: str) -> str:
    """Return a path as a word of a command that no program takes for an option."""
    return shlex.quote(f"./{path}" if path.startswith("-") else path)


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()
