"""Files to the guest as they are: commands that receive a counted number of bytes from the tty, set to raw.

The tty's own timer ends the wait for bytes that do not come, so that the shell comes back whatever happens. What
arrives after bytes that are not right is swallowed: the shell must not take it for commands.
"""

from __future__ import annotations

import hashlib
import logging
import re

from hil.errors import GuestError
from hil.guest.channel import Channel, Direction
from hil.guest.result import Result
from hil.guest.shell import Shell

_log = logging.getLogger(__name__)

# Xen gives the line to another domain after three of them, QEMU's `-nographic` takes one for itself
TAKEN = b"\x01\x01\x01"
# Each value, in an order in which XON follows XOFF and nothing dangerous follows ^A; then what telnet alters.
PROBE = bytes(range(256))[::-1] + b"\r\0\r\n\n\r\xff\xff"

# Sent after each part: a reader that lost a few bytes does not wait for them but takes these, up to the line end.
PAD = b"x" * 31 + b"\n"
# Seconds without a byte that end the wait for a part, for the probe, and for what follows bytes that are not right. A
# busy host or a network stalls.
SILENCE, PROBE_SILENCE, REST = 4.0, 1.5, 2.0
PROBES = 2
# The number of bytes is typed twice: with a smaller one, the shell would take the rest for commands. `dd` does not read
# ahead. Bytes that are not right and not followed by the end of the pad are not all: the rest is swallowed.
_RECEIVE = (
    "_k=2 _c={size};if [ $_c = {size} ]&&_t=$(stty -g)&&stty raw -echo min 0 time {silence};then "
    'echo "${{PS1%%.*}}.$_n+";_a= _b= _l=;read _a _z 2>/dev/null </proc/uptime;{read};'
    'if [ "$_d" = "{digest}  -" ];then _k=0;else _k=1;case x$_l in x|*[!x]*)'
    "stty time {rest};cat >/dev/null;;esac;fi;"
    'read _b _z 2>/dev/null </proc/uptime;stty $_t;echo "t=$_a,$_b,$_k";fi'
)
_COUNTS = "dd count=0 iflag=fullblock </dev/null 2>/dev/null"  # fails where `dd` cannot read a number of bytes
_RECEIVED = re.compile(r"^t=(\d+\.\d\d|),(\d+\.\d\d|),([01])$", re.M)


def channel_of(shell: Shell) -> Channel:
    """Return what is known of the line; the first call in a session tries it out with one command.

    Raises as `Shell.run`.
    """
    if shell.channel is None:
        shell.channel = _tried_out(shell)
        _log.info("files are sent %s", "as they are" if shell.channel.there.clean else "as base64")
    return shell.channel


def receiving(data: bytes, file: str = "") -> str:
    """Return a command for `Shell.give` that writes `data`, given to it with `PAD` behind, to `file`, a word.

    The variable `_k` is then 0 if it arrived unchanged, 1 if not, 2 if the guest cannot receive bytes as they are.
    """
    read = "dd bs=$_c count=1 iflag=fullblock 2>/dev/null"
    read = f"{read} >{file};read -r _l;_d=$(md5sum <{file})" if file else f"_d=$({read}|md5sum);read -r _l"
    silence = SILENCE if file else PROBE_SILENCE
    return _RECEIVE.format(
        size=len(data), read=read, digest=md5(data), silence=round(10 * silence), rest=round(10 * REST)
    )


def received(there: Direction, size: int, result: Result) -> bool | None:
    """Return whether `size` bytes arrived unchanged, None if the guest did not receive any; note how long they took."""
    found = _RECEIVED.search(result.text)
    if found is None:
        return None
    if found[1] and found[2] and found[3] == "0":
        there.took(size, float(found[2]) - float(found[1]))
    return found[3] == "0"


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def _tried_out(shell: Shell) -> Channel:
    facts = "echo x=$(command -v unxz)"
    if shell.console.virtual:  # an emulated line loses and alters no byte
        result = shell.run(f"{facts};stty -g >/dev/null")
        return Channel(Direction(result.status == 0, fixed=True), Direction(clean=True, fixed=True), _has_xz(result))
    command = f"if {_COUNTS};then {receiving(PROBE)};fi;{facts}"
    for _ in range(PROBES):
        try:
            result_or_none = shell.give(command, PROBE + PAD, timeout=30.0)
        except GuestError:
            if shell.lost:
                raise
            continue
        if result_or_none is None:
            continue
        there = Direction(clean=False)
        arrived = received(there, len(PROBE), result_or_none)
        there.clean = arrived is True
        if arrived is not False:
            return Channel(there, Direction(clean=True), _has_xz(result_or_none))
    return Channel(Direction(clean=False), Direction(clean=True), _has_xz(shell.run(facts)))


def _has_xz(result: Result) -> bool:
    return any(re.fullmatch(r"x=.*unxz", line) for line in result.lines)
