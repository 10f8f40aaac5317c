"""The templates of all pages: escaped text in our own markup, complete in one file."""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

DIRECTORY = Path(__file__).with_name("templates")


def environment(package: str) -> Environment:
    """Return an environment for the templates of a package, which escapes whatever it inserts."""
    return Environment(
        loader=PackageLoader(package),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@functools.cache
def _environment() -> Environment:
    made = environment("hil.report")
    made.globals["asset"] = asset
    made.globals["digest"] = digest
    return made


def render(
    template: str, *, styles: Sequence[str] = (), scripted: bool = False, allowed: Sequence[str] = (), **facts: Any
) -> str:
    """Return a page to be attached to a test. It can load nothing, and only its own script can run in it.

    The script of a `scripted` page is `NAME.js` by its fact `name`; `allowed` are more sources for its security policy.
    """
    facts |= {"styles": styles, "scripted": scripted, "allowed": allowed}
    return _environment().get_template(template).render(**facts)


@functools.cache
def asset(name: str) -> str:
    """Return a style sheet or script of ours, without its indentation and its whole-line comments."""
    lines = (line.strip() for line in (DIRECTORY / name).read_text("utf-8").splitlines())
    return "\n".join(line for line in lines if line and not line.startswith(("// ", "/* ")))


def digest(script: str) -> str:
    """Return the source expression that allows a script in a content security policy."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
