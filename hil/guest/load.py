"""Load and distress in the guest: processor, memory, processes, console, clock."""

from __future__ import annotations

import shlex

from hil.errors import ConfigurationError

LOADS = {
    "cpu": "while :;do :;done",
    "memory": "while dd if=/dev/zero of=/dev/shm/hil-load bs=64k count=512 2>/dev/null;do :;done",  # 32 MiB
    "fork": "while /bin/true;do :;done",
    # like kernel messages, which the shell tolerates; about 50 lines a second
    "console": "echo on >/proc/sys/kernel/printk_devkmsg;"
    "while echo '<1>hil: load on the console, a line as long as drivers write them' >/dev/kmsg&&usleep 20000;do :;done",
}
"""The command of each load. It runs in a session of its own and ends if it cannot do its work."""

DISTRESS = {
    # takes memory until the kernel kills it, again and again
    "out-of-memory": "while tail /dev/zero;test $? -gt 128;do :;done",
    # a day ahead and a day back, ten times a second
    "clock": "d=86400;while date -s @$(($(date +%s)+d))>/dev/null;do d=$((-d));usleep 100000;done",
    # kills agents in a transfer, or while they wait for the measuring one
    "agents": "while test -s /usr/bin/hello.wasm;"
    "do wasmedge_emit /usr/bin/hello.wasm & p=$!;usleep 10000;kill -9 $p;wait $p;done",
    # 127 processes at once, again and again
    "fork-bomb": "b(){ test $1 -gt 0||exit 0;b $(($1-1))& b $(($1-1))& wait;};while b 6;do :;done",
}
"""The command of each distress, likewise."""


def commands(kind: str) -> tuple[str, str]:
    """Return the commands that start and end a load or distress; the second fails if it has ended early.

    Raises `ConfigurationError` for an unknown kind.
    """
    known = LOADS | DISTRESS
    if kind not in known:
        raise ConfigurationError(f"there is no load {kind!r}", hint=f"Choose one of {', '.join(known)}.")
    mark = f"/tmp/hil-load-{kind}"
    script = f"echo $$ >{mark};{known[kind]}"
    # in a subshell: a child of the shell that ends while BusyBox' shell waits for input leaves an error mark on the
    # shell's stdin, which `head` and others then report
    start = (
        f"rm -f {mark};(setsid sh -c {shlex.quote(script)} </dev/null >/dev/null 2>&1 &);"
        f"while ! test -s {mark};do usleep 1000;done"
    )
    return start, f"kill -9 -$(cat {mark});s=$?;rm -f {mark} /dev/shm/hil-load;(exit $s)"
