"""Files to and from the guest over its shell: compressed, in checked parts, verified by SHA-256.

A small file takes one command, once the line is known (see `hil.guest.channel`). A part that the line damaged is sent
again. The size of the parts adapts to the line: it shrinks after a damaged part and grows after good ones. An
interrupted upload resumes where it stopped, within one boot of the guest. BusyBox is all that the guest needs.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
import zlib
from dataclasses import dataclass

from hil.console import LineClosed
from hil.console.lines import printable
from hil.errors import GuestError, InfrastructureError
from hil.guest import parts
from hil.guest.channel import BLOCK, Direction
from hil.guest.packing import Packed, pack
from hil.guest.parts import RATE, SLOWEST, Pace, facts, insist, word
from hil.guest.receiving import PAD, TAKEN, channel_of, md5, received, receiving
from hil.guest.shell import TRIES, Shell
from hil.host.progress import Progress
from hil.text import printable_line

FILE_MAX = 64 << 20  # bytes of a file that is fetched
GZIP = 16 + zlib.MAX_WBITS  # the format of gzip
PACKING = 256 << 10  # least bytes per second that a guest packs, for time limits
_FETCHED = re.compile(rb"^s=(\d+)\n(?:d=([0-9a-f]{64})  -\nl=(\d+)\nm=([0-9a-f]{32})  -\n)?", re.M)


@dataclass(frozen=True)
class _Upload:
    """A file to send: its packed bytes, its size and digest, and its paths in the guest as words of a command."""

    packed: Packed
    size: int
    digest: str
    target: str
    directory: str
    part: str
    whole: str

    @classmethod
    def of(cls, data: bytes, path: str, packed: Packed) -> _Upload:
        digest, directory = hashlib.sha256(data).hexdigest(), posixpath.dirname(path)
        # in the same directory: a rename is atomic there; not named after the file, whose name may be too long
        beside = posixpath.join(directory, f".hil-{digest[:16]}")
        part, whole = word(f"{beside}.part"), word(f"{beside}.new")
        return cls(packed, len(data), digest, word(path), word(directory or "."), part, whole)


def digest_in_guest(shell: Shell, path: str) -> str | None:
    """Return the SHA-256 of a file in the guest, None if there is none."""
    result = shell.run(f"sha256sum 2>/dev/null <{word(path)}")
    found = re.match(r"[0-9a-f]{64}\b", result.text)
    return found[0] if found and result.status == 0 else None


def put(shell: Shell, data: bytes, path: str, *, progress: Progress | None = None) -> bool:
    """Write `data` to `path` in the guest; return false if it was there already.

    The file appears completely or not at all. `progress` counts compressed bytes. Raises `GuestError` if the guest
    cannot write it or it is a directory, `InfrastructureError` if the line damages every part.
    """
    shown, channel = printable_line(path), channel_of(shell)
    there, packed = channel.there, pack(data, xz=channel.xz, rate=channel.there.rate)
    upload = _Upload.of(data, path, packed)
    progress = progress or Progress()
    progress.step(f"sending {posixpath.basename(shown)}", len(packed.data), unit="B")
    outcome = ""
    if there.clean and len(packed.data) <= there.size and TAKEN not in packed.data:
        outcome = _put_at_once(shell, upload, there)
    if not outcome:
        outcome = _put_in_parts(shell, upload, there, progress, shown)
    if outcome == "directory":
        raise GuestError(
            f"{shown} is a directory in the guest", hint="Name a file in it.", evidence=shell.console.evidence()
        )
    return outcome != "same"


def _put_at_once(shell: Shell, upload: _Upload, there: Direction) -> str:
    """Send a small file with one command; return `done`, `same`, `directory`, or an empty string if it failed."""
    data, part, whole, target = upload.packed.data, upload.part, upload.whole, upload.target
    digest = f'"{upload.digest}  -"'
    made = part if upload.packed.plain else whole
    move = f'[ "$(sha256sum <{made})" = {digest} ]&&mv {made} {target}&&echo f=done'
    if upload.packed.plain:  # a program less
        finish = f"[ $_k = 0 ]&&{move}||rm -f {part}"
    else:
        finish = f"[ $_k = 0 ]&&{upload.packed.unpack} <{part} >{whole}&&{move};rm -f {part} {whole}"
    command = (
        f'if [ -d {target} ];then echo f=directory;elif [ "$(sha256sum 2>/dev/null <{target})" = {digest} ];then '
        f"echo f=same;elif {{ [ -d {upload.directory} ]||mkdir -p {upload.directory};}}&&: >{part};then "
        f"{receiving(data, part)};{finish};fi"
    )
    try:
        result = shell.give(command, data + PAD, timeout=60 + len(data) / SLOWEST + upload.size / RATE)
    except GuestError:
        if shell.lost:
            raise
        result = None
    if result is None:
        return ""
    arrived = received(there, len(data), result)
    if arrived:
        there.passed()
    elif arrived is False:
        there.damaged(len(data))
    found = re.search(r"^f=(\w+)$", result.text, re.M)
    return found[1] if found else ""


def _put_in_parts(shell: Shell, upload: _Upload, there: Direction, progress: Progress, shown: str) -> str:
    """Send a file in parts; return as `_put_at_once`, but raise if it failed."""
    packed, part, whole, target = upload.packed.data, upload.part, upload.whole, upload.target
    make = f"mkdir -p {upload.directory}&&: >>{part}"
    has = facts(
        shell,
        "fdwsm",
        f"echo f=$([ ! -d {target} ]||echo directory);_d=$(sha256sum 2>/dev/null <{target});echo d=$_d;"
        f'[ -d {target} ]||[ "$_d" = "{upload.digest}  -" ]||{{ {make};}};echo w=$?;'
        f"echo s=$(wc -c 2>/dev/null <{part});echo m=$(md5sum 2>/dev/null <{part})",
    )
    if has["f"]:
        return "directory"
    if has["d"].startswith(upload.digest):
        return "same"
    if has["w"] != "0":
        insist(shell, make, check=True)
    sent = int(has["s"]) if has["s"].isdigit() else -1
    if 0 <= sent <= len(packed) and has["m"].startswith(md5(packed[:sent])):
        sent -= sent % BLOCK
    else:
        insist(shell, f": >{part}", check=True)
        sent = 0
    pace, missing = Pace(), [(sent, len(packed))]

    def send(start: int, end: int, clean: bool) -> str:
        if clean:
            return parts.send_clean(shell, packed[start:end], part, start, there)
        return parts.send(shell, packed[start:end], part, start, pace)

    for _ in range(TRIES):
        try:
            for start, stop in missing:
                for end in parts.in_parts(stop, start, there, send, lambda at, end: TAKEN not in packed[at:end]):
                    progress.advance(end)
        except LineClosed:
            raise  # the arrived parts stay for the next try
        except InfrastructureError:
            shell.run(f"rm -f {part} {part}p")
            raise
        result = insist(
            shell,
            f"head -c {len(packed)} {part}|{upload.packed.unpack} >{whole};_d=$(sha256sum <{whole});echo $_d;"
            f'[ "$_d" = "{upload.digest}  -" ]&&mv {whole} {target}&&rm -f {part} {part}p',
            upload.digest,
            timeout=30 + upload.size / RATE,
        )
        if result.status == 0 and upload.digest in result.text:
            return "done"
        # a damaged position makes one part overwrite another
        if upload.digest in result.text or not (missing := parts.wrong(shell, packed, part)):
            break
    insist(shell, f"rm -f {part} {part}p {whole}")
    raise GuestError(
        f"{shown} did not arrive in the guest: status {result.status}, {result.text.strip()[-300:]!r}",
        hint="Check that the guest has room and that the directory is writable.",
        evidence=shell.console.evidence(),
    )


@dataclass(frozen=True)
class _Fetched:
    """A file that the guest has packed: the digest of the file, the number of packed bytes, and the `first` of them."""

    digest: str
    length: int
    first: bytes


def get(shell: Shell, path: str, *, limit: int = FILE_MAX, progress: Progress | None = None) -> bytes:
    """Return the bytes of a file in the guest.

    Raises `GuestError` if it cannot be read or exceeds `limit` bytes, `InfrastructureError` if the line damages every
    part.
    """
    progress, shown = progress or Progress(), printable_line(path)
    # `@`: a replay recognises the random word
    temporary, back = f"/tmp/hil@{shell.console.token(4)}", channel_of(shell).back
    try:
        fetched = _packed_in_guest(shell, word(path), temporary, limit, back.size if back.clean else 0, shown)
        progress.step(f"fetching {posixpath.basename(shown)}", fetched.length, unit="B")
        packed = bytearray(fetched.first)

        def fetch(start: int, end: int, clean: bool) -> str:
            data, problem = parts.fetch(shell, temporary, start, end, clean)
            packed.extend(data)
            return problem

        for end in parts.in_parts(fetched.length, len(packed), back, fetch):
            progress.advance(end)
    finally:
        if not shell.lost and not shell.console.ended:
            shell.run(f"rm -f {temporary} {temporary}.p")
    try:
        data = zlib.decompressobj(wbits=GZIP).decompress(packed, limit + 1)
    except zlib.error:
        data = b""  # of another digest
    if hashlib.sha256(data).hexdigest() != fetched.digest:
        raise GuestError(f"{shown} changed in the guest during the transfer", evidence=shell.console.evidence())
    return data


def _packed_in_guest(shell: Shell, name: str, temporary: str, limit: int, size: int, shown: str) -> _Fetched:
    """Pack a file to `temporary` in the guest, and fetch its first `size` bytes as they are. Raises as `get`."""
    command = (
        f'_s=$(wc -c <{name})&&echo s=$_s&&if [ $_s -le {limit} ];then echo "d=$(sha256sum <{name})"&&'
        f"gzip -c <{name} >{temporary}&&echo l=$(wc -c <{temporary})&&head -c {size} {temporary} >{temporary}.p&&"
        f'echo "m=$(md5sum <{temporary}.p)"&&cat {temporary}.p;fi'
    )
    for _ in range(parts.BAD_IN_A_ROW):
        result = shell.run(command, timeout=60 + limit / PACKING + 2 * size / RATE)
        found = _FETCHED.search(result.output)
        if found and int(found[1]) > limit:
            raise GuestError(f"{shown} in the guest has {int(found[1])} bytes, over the limit of {limit}")
        if found and found[2]:
            first = result.output[found.end() :]
            return _Fetched(found[2].decode(), int(found[3]), first if found[4].decode() == md5(first) else b"")
        if result.status:
            reason = printable(result.output.strip()[-300:])
            raise GuestError(f"cannot read {shown} in the guest: {reason}", evidence=shell.console.evidence())
    raise parts.garbled(shell, command)
