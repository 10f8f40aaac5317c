"""Pages out of templates, each complete in one file that opens from a disk and requests nothing."""

from __future__ import annotations

import functools
import hashlib
import re
import time
from pathlib import Path
from typing import Any

from jinja2 import Environment

from hil.host import files
from hil.host.disk import disk_errors
from hil.measure.units import lasted, shown
from hil.plots.picture import FAINT, INK, LINES, OPEN, OUTCOMES, PAPER
from hil.report.templates import environment

COLOURS = {
    "paper": PAPER,
    "ink": INK,
    "faint": FAINT,
    "link": LINES[0],
    "quiet": LINES[5],
    "good": OUTCOMES["pass"],
    "bad": OUTCOMES["fail"],
    "open": OPEN,
}
"""The pictures' colours, each for light and for dark."""


@functools.cache
def _environment() -> Environment:
    made = environment("hil.review")
    made.globals["colours"] = COLOURS
    made.filters["day"] = lambda at: time.strftime("%Y-%m-%d %H:%M", time.localtime(at))
    made.filters |= {
        "lasted": lasted,
        "shown": shown,
        "arrows": lambda text: text.replace(" -> ", " \N{RIGHTWARDS ARROW} "),
    }
    return made


def write(path: Path, template: str, **facts: Any) -> Path:
    """Write the page to `path`, whole or not at all. Raises `InfrastructureError` where that fails."""
    text = _environment().get_template(template).render(**facts)
    with disk_errors(f"write the page {path}", hint="free disk space, or name another directory"):
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write(path, text.encode("utf-8", "replace"))
    return path


def name_of(*parts: str) -> str:
    """Return a unique name for a file or an anchor, of small letters, digits and dashes only.

    A digest stands for the characters that this loses, and for the end of a long text.
    """
    text = "\n".join(parts)
    plain = "-".join(re.sub(r"[^a-z0-9]+", "-", part.lower()).strip("-") for part in parts)
    if plain and len(plain) <= 60 and text == plain.replace("-", " ") and len(parts) == 1:
        return plain
    digest = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:8]
    return f"{plain[:60].strip('-')}-{digest}".lstrip("-")
