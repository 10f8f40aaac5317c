"""Files to and from the guest over its shell: compressed, in checked parts, proven by SHA-256."""

from __future__ import annotations

import base64
import gzip
import hashlib
import posixpath
import re
import shlex
import zlib

from hil.errors import GuestError, InfrastructureError
from hil.guest.shell import Shell

LINE = 1000  # characters of base64 a line: below what any tty and shell take
PART = 24 << 10  # bytes of compressed data a command: bounds what one lost byte costs
TRIES = 3
RATE = 4 << 10  # bytes a second at the least, to bound the waits


def digest_in_guest(shell: Shell, path: str) -> str | None:
    """The SHA-256 of a file in the guest, None where there is none."""
    result = shell.run(f"sha256sum {shlex.quote(path)} 2>/dev/null")
    found = re.match(r"[0-9a-f]{64}\b", result.text)
    return found[0] if found and result.status == 0 else None


def put(shell: Shell, data: bytes, path: str) -> bool:
    """Make `path` in the guest hold `data`; returns false where it did already.

    The file appears whole or not at all. Raises `GuestError` when the guest cannot write it,
    `InfrastructureError` when the line corrupts it again and again.
    """
    digest = hashlib.sha256(data).hexdigest()
    if digest_in_guest(shell, path) == digest:
        return False
    packed = gzip.compress(data, 9, mtime=0)
    target, temporary = shlex.quote(path), shlex.quote(path + ".part")
    directory = shlex.quote(posixpath.dirname(path) or ".")
    shell.run(f"mkdir -p {directory} && : >{temporary}", check=True)
    for start in range(0, len(packed), PART):
        _put_part(shell, packed[start : start + PART], temporary)
    final = shlex.quote(path + ".new")
    result = shell.run(
        f"gunzip -c {temporary} >{final} && sha256sum {final} && mv {final} {target}; "
        f"s=$?; rm -f {temporary} {final}; (exit $s)",
        timeout=30 + len(data) / RATE,
    )
    if result.status or digest not in result.text:
        raise GuestError(
            f"{path} did not arrive in the guest: status {result.status}, {result.text.strip()[-300:]!r}",
            hint="is there room in the guest, and is the directory writable?",
            evidence=shell.console.evidence(),
        )
    return True


def _put_part(shell: Shell, part: bytes, temporary: str) -> None:
    text = base64.b64encode(part).decode()
    lines = "\n".join(text[at : at + LINE] for at in range(0, len(text), LINE))
    check = f"{hashlib.md5(part, usedforsecurity=False).hexdigest()}"
    command = (
        f"base64 -d >{temporary}.p <<'.'\n{lines}\n.\n"
        f"md5sum <{temporary}.p && cat {temporary}.p >>{temporary}; rm -f {temporary}.p"
    )
    said = ""
    for _ in range(TRIES):
        result = shell.run(f"S=$(wc -c <{temporary});" + command, timeout=30 + len(text) / RATE)
        if check in result.text and result.status == 0:
            return
        said = result.text.strip()[-300:]
        shell.run(f"truncate -s $S {temporary}", check=True)
    shell.run(f"rm -f {temporary}")
    raise InfrastructureError(
        f"a part of {len(part)} bytes did not arrive in the guest in {TRIES} tries; it said {said!r}",
        hint="is the line losing bytes, or the guest's file system full?",
        evidence=shell.console.evidence(),
    )


def get(shell: Shell, path: str, *, limit: int = 64 << 20) -> bytes:
    """The bytes of a file in the guest.

    Raises `GuestError` when it cannot be read or is over `limit` bytes, `InfrastructureError` when
    the line corrupts it.
    """
    name = shlex.quote(path)
    for _ in range(TRIES):
        told = shell.run(f"wc -c <{name}")
        if told.status:
            raise GuestError(f"cannot read {path} in the guest: {told.text.strip()}", evidence=shell.console.evidence())
        if not (number := re.fullmatch(r"\s*(\d+)\s*", told.text)):
            continue
        size = int(number[1])
        if size > limit:
            raise GuestError(f"{path} in the guest has {size} bytes, over the limit of {limit}")
        result = shell.run(f"sha256sum <{name}; gzip -c <{name} | base64", timeout=30 + size / RATE)
        digest, _, text = result.text.partition("\n")
        try:
            data = gzip.decompress(base64.b64decode(text))
        except (ValueError, OSError, EOFError, zlib.error):
            continue
        if hashlib.sha256(data).hexdigest() == digest[:64]:
            return data
    raise InfrastructureError(
        f"{path} did not come out of the guest whole in {TRIES} tries",
        hint="is another writer on the line?",
        evidence=shell.console.evidence(),
    )
