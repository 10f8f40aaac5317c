"""The console of one test as an asciicast, and a page that plays it.

The player is packed into the page, 115 kB of it: within a report of one file nothing can be loaded. So only what is
looked at gets one, a test that failed, and of a run that fails all over not each.
"""

from __future__ import annotations

import base64
import functools
import gzip
import json
import time
from dataclasses import dataclass

from hil.console import asciicast
from hil.console.recording import span
from hil.report.build import REPORTS_DIR
from hil.report.console import Span
from hil.report.markup import asset, digest, escaped, page

CAST_BYTES = 1 << 18  # of a console; of a longer one the cast has the end
IDLE = 2.0  # seconds: longer pauses are cut short in the player
STYLE = "#player{max-width:1000px;height:calc(100vh - 60px)}"
PLAYER = REPORTS_DIR / "node_modules" / "asciinema-player" / "dist" / "bundle"


def cast(part: Span, title: str) -> str | None:
    """What came and was typed in `part` as an asciicast; None where nothing was."""
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


@dataclass(frozen=True)
class Player:
    """The player's script, packed, its digest for a policy, and its style."""

    packed: str
    digest: str
    style: str


@functools.cache
def player() -> Player | None:
    """The player that ./bootstrap installs; None where it is not there."""
    try:
        script = (PLAYER / "asciinema-player.min.js").read_text("utf-8")
        style = (PLAYER / "asciinema-player.css").read_text("utf-8")
    except OSError:
        return None
    packed = base64.b64encode(gzip.compress(script.encode(), mtime=0)).decode()
    return Player(packed, digest(script), style)


def render(cast: str, title: str) -> str | None:
    """A page that plays `cast`; None where there is no player. It needs a script: Allure shows it without."""
    found = player()
    if found is None:
        return None
    told = json.dumps(cast).replace("<", "\\u003c")
    body = (
        f"<p>{escaped(title)}"
        '<p id="still">To play it, download it and open it: Space starts and stops, the arrows go back and forth.'
        '<div id="player"></div>'
        f'<script type="application/json" id="cast">{told}</script>'
        f'<script type="text/plain" id="packed">{found.packed}</script>'
    )
    # the player's terminal is compiled WebAssembly; its style is there for a terminal alone
    allowed = [found.digest, "'wasm-unsafe-eval'"]
    return page("console, played", body, styles=[found.style, STYLE], script=asset("player.js"), allowed=allowed)
