"""Pages that are attached to a test: whole in one file, readable without scripts, and closed to what they quote."""

from __future__ import annotations

import base64
import functools
import hashlib
import html
from collections.abc import Iterable
from pathlib import Path

HERE = Path(__file__).parent
SKELETON = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
    '<meta http-equiv="Content-Security-Policy" content="{policy}"><style>{style}</style></head>'
    "<body>{body}{script}</body></html>"
)


def escaped(text: object) -> str:
    """Text for a page, be it hostile: within an element or a quoted attribute it stays text."""
    return html.escape(str(text))


@functools.cache
def asset(name: str) -> str:
    """A style sheet or script of ours, without its indentation and its whole-line comments."""
    lines = (line.strip() for line in (HERE / name).read_text("utf-8").splitlines())
    return "\n".join(line for line in lines if line and not line.startswith(("// ", "/* ")))


def digest(script: str) -> str:
    """What a content security policy knows a script by."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def page(title: str, body: str, *, styles: Iterable[str] = (), script: str = "", allowed: Iterable[str] = ()) -> str:
    """A page with the markup `body`; only `script`, and code with the sources `allowed`, can run in it.

    `styles` are further style sheets. Nothing can be loaded from anywhere.
    """
    style = "\n".join([asset("page.css"), *styles])
    sources = " ".join([*([digest(script)] if script else []), *allowed]) or "'none'"
    policy = f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:; script-src {sources}"
    return SKELETON.format(
        title=escaped(title),
        policy=escaped(policy).replace("&#x27;", "'"),
        style=style,
        body=body,
        script=f"<script>{script}</script>" if script else "",
    )
