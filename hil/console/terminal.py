"""A console by hand: bytes pass between the terminal and the line."""

from __future__ import annotations

import os
import select
import sys
import termios
import tty
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hil.console.console import Console

QUIT = b"\x1d"  # Ctrl-], as in telnet and labgrid's console


def interact(console: Console) -> None:
    """Pass bytes between the terminal and the line until Ctrl-] or the line's end."""
    stdin, stdout = sys.stdin.fileno(), sys.stdout.fileno()
    before = termios.tcgetattr(stdin)
    tty.setraw(stdin)
    try:
        console.write(b"\n")
        while True:
            ready = select.select([stdin, console], [], [])[0]
            if stdin in ready:
                typed = os.read(stdin, 4096)
                if not typed or QUIT in typed:
                    return
                console.write(typed)
            if console in ready:
                os.write(stdout, console.read(0.0))
    finally:
        termios.tcsetattr(stdin, termios.TCSADRAIN, before)
