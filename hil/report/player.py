"""The console of one test as an asciicast, and a page that plays it.

The player, 115 kB, is packed into each page, because a report of one file can load nothing. So only failed tests get
one, up to a limit.
"""

from __future__ import annotations

import base64
import functools
import gzip
import json
import time

from hil.console import asciicast
from hil.console.recording import span
from hil.errors import ConfigurationError
from hil.report import generator
from hil.report.console import Span
from hil.report.templates import digest, render

CAST_BYTES = 1 << 18  # at the end of a console that a cast holds
IDLE = 2.0  # seconds: longer pauses are shortened in the player
STYLE = "#player{max-width:1000px;height:calc(100vh - 60px)}"
NO_PLAYER = f"The player of consoles is not installed; what to do: {generator.SETUP}.\n"


def cast(part: Span, title: str) -> str | None:
    """Return the bytes received and typed in `part` as an asciicast; None where there are none."""
    start = max(part.start, part.end - CAST_BYTES)
    events = list(span(part.transcript, start, part.end))
    if not events:
        return None
    first = events[0].time_ns
    lines = asciicast.cast(
        iter(events),
        lambda time_ns: (time_ns - first) / 1e9,
        begun=time.time() - (time.monotonic_ns() - first) / 1e9,
        title=title,
        idle_limit=IDLE,
    )
    return "\n".join(lines) + "\n"


@functools.cache
def _player() -> tuple[str, str, str]:
    """Return the player's script, packed, its digest for a security policy, and its style."""
    player = generator.modules() / "asciinema-player" / "dist" / "bundle"
    script = (player / "asciinema-player.min.js").read_text("utf-8")
    packed = base64.b64encode(gzip.compress(script.encode(), mtime=0)).decode()
    return packed, digest(script), (player / "asciinema-player.css").read_text("utf-8")


def player_page(cast: str, title: str) -> str | None:
    """Return a page that plays `cast`; None where the player is not installed.

    It needs scripts, which Allure blocks.
    """
    try:
        packed, allowed, style = _player()
    except (OSError, ConfigurationError):
        return None
    return render(
        "player.html",
        title=title,
        name="player",
        scripted=True,
        styles=[style, STYLE],
        allowed=[allowed, "'wasm-unsafe-eval'"],  # the player's terminal is compiled WebAssembly
        cast=json.dumps(cast).replace("<", "\\u003c"),
        packed=packed,
    )
