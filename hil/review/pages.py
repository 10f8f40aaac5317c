"""Pages out of templates: one file each, whole or not at all, that opens from a disk and asks nobody for anything."""

from __future__ import annotations

import functools
import hashlib
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hil.errors import InfrastructureError
from hil.measure.units import lasted
from hil.plots.picture import FAINT, INK, LINES, OPEN, OUTCOMES, PAPER

if TYPE_CHECKING:
    from jinja2 import Environment

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
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("hil.review"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals["colours"] = COLOURS
    made.filters["day"] = lambda at: time.strftime("%Y-%m-%d %H:%M", time.localtime(at))
    made.filters["lasted"] = lasted
    return made


def write(path: Path, template: str, **facts: Any) -> Path:
    """Make the page at `path`. Raises `InfrastructureError` where it cannot be written."""
    text = _environment().get_template(template).render(**facts)
    with writable(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_name(f".{path.name}.{os.getpid()}.new")
        try:
            new.write_text(text, "utf-8", "replace")
            new.replace(path)
        finally:
            new.unlink(missing_ok=True)
    return path


@contextmanager
def writable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InfrastructureError(
            f"cannot write the page {path}: {error.strerror}", hint="look at the disk, or name another directory"
        ) from error


def name_of(*parts: str) -> str:
    """A name for a file or an anchor out of any text, of small letters, digits and dashes, and no text's but its own.

    What that loses, or what is long, is stood for by a digest.
    """
    text = "\n".join(parts)
    plain = "-".join(re.sub(r"[^a-z0-9]+", "-", part.lower()).strip("-") for part in parts)
    if plain and len(plain) <= 60 and text == plain.replace("-", " ") and len(parts) == 1:
        return plain
    digest = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:8]
    return f"{plain[:60].strip('-')}-{digest}".lstrip("-")
