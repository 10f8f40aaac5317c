"""Load in the guest, to see whether others notice: processor, memory, process creation, console."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hil.errors import ConfigurationError, GuestError

if TYPE_CHECKING:
    from hil.guest.guest import Guest

LOADS = {
    "cpu": "while :;do :;done",
    "memory": "while dd if=/dev/zero of=/dev/shm/hil-load bs=64k count=512 2>/dev/null;do :;done",  # 32 MiB
    "fork": "while /bin/true;do :;done",
    # as the kernel's own messages, which the shell knows how to live with; some 50 lines a second
    "console": "echo on >/proc/sys/kernel/printk_devkmsg;"
    "while echo '<1>hil: load on the console, a line as long as drivers write them' >/dev/kmsg&&usleep 20000;do :;done",
}
"""What each load runs, in a session of its own; it ends where it can do no work, and then nothing was measured."""


@contextmanager
def load(guest: Guest, kind: str) -> Iterator[None]:
    """Keep the guest under load while entered.

    Raises `ConfigurationError` for an unknown kind, `GuestError` where the load cannot be started or did
    not last: then nothing was measured under it.
    """
    if kind not in LOADS:
        raise ConfigurationError(f"there is no load {kind!r}", hint=f"the loads are: {', '.join(LOADS)}")
    mark = f"/tmp/hil-load-{kind}"
    script = f"echo $$ >{mark};{LOADS[kind]}"
    # in a subshell: a child of its own that ends while BusyBox' shell waits for input would leave an error mark on
    # the shell's stdin, of which `head` and others then complain
    guest.run(
        f"rm -f {mark};(setsid sh -c {shlex.quote(script)} </dev/null >/dev/null 2>&1 &);"
        f"while ! test -s {mark};do usleep 1000;done",
        check=True,
    )
    try:
        yield
    finally:
        ended = guest.run(f"kill -9 -$(cat {mark});s=$?;rm -f {mark} /dev/shm/hil-load;(exit $s)")
    if ended.status:
        raise GuestError(
            f"the load {kind} in the guest had ended before its time", evidence=guest.shell.console.evidence()
        )
