"""Consoles to be shown in reports, and a reader of the pages made of them."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

from hil.console import Transcript
from hil.image import manifest
from hil.report.console import Mark, Patterns, Span

REFERENCE = manifest.find("reference")
PATTERNS = Patterns.of(REFERENCE)
MS = 1_000_000


def recorded(directory: Path, *events: tuple[str, bytes], name: str = "line") -> Transcript:
    """A transcript in which something comes (`<`) or is sent (`>`) each millisecond."""
    directory.mkdir(exist_ok=True)
    raw = directory / f"{name}.raw"
    raw.write_bytes(b"".join(data for kind, data in events if kind == "<"))
    lines = [f"{MS}\t@\t1700000000.000"]
    for number, (kind, data) in enumerate(events, 2):
        lines.append(f"{number * MS}\t{kind}\t{len(data) if kind == '<' else json.dumps(data.decode('latin-1'))}")
    raw.with_suffix(".tsv").write_text("\n".join(lines) + "\n")
    transcript = Transcript(raw)
    transcript.refresh()
    return transcript


def whole(transcript: Transcript, *marks: Mark, start: int = 0, power_on_ns: int | None = None) -> Span:
    return Span(transcript, start, transcript.size, MS, power_on_ns, marks)


class Page(HTMLParser):
    """Elements of a page by name, with their attributes and text; lines as rows of cells."""

    VOID = ("meta", "input")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.rows: list[list[str]] = []
        self._open: list[str] = []
        self._in_row = False
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "tr":
            self._in_row = True
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag in ("script", "style"):
            self.texts.setdefault(tag, []).append("")
        self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        self._open.append("")
        self._in_row = self._in_row and tag != "tr"

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] in ("script", "style"):
            self.texts[self._open[-1]][-1] += data
        elif self._in_row and self.rows[-1]:
            self.rows[-1][-1] += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


HOSTILE = (
    b"<script>alert(1)</script>\n</table></div></body><img src=x onerror=alert(1)>\n"
    b"\" onmouseover=alert(1) '\n<!-- \n]]>\n&lt;b&gt;\n<style>*{display:none}</style>\n\x00\x1b]0;t\x07\xff\xfe\x80\n"
    b"{title} {0} %s\n<svg onload=alert(1)>\n</script><script>alert(2)</script>\n\xe2\x80\xae\xf0\x9f\x92\xa9\n"
)


def is_closed(page: str, *scripts: str) -> None:
    """No markup but ours, no script but ours, nothing from elsewhere; and the policy holds a browser to that."""
    found = Page(page)
    allowed = {
        *[
            "html",
            "head",
            "meta",
            "title",
            "style",
            "body",
            "p",
            "a",
            "div",
            "input",
            "button",
            "label",
            "span",
            "table",
            "thead",
            "tbody",
            "tr",
            "th",
            "td",
            "b",
            "i",
            "h2",
            "pre",
        ],
        "script",
    }
    assert {tag for tag, _ in found.elements} <= allowed
    assert found.texts.get("script", []) == list(scripts)
    assert len(found.texts["style"]) == 1
    assert "<" not in found.texts["style"][0], "Allure drops a style with markup in it"
    names = {name for _, attributes in found.elements for name in attributes}
    assert not {name for name in names if name.startswith("on") or name in ("src", "style")}
    assert all((one.get("href") or "#").startswith("#") for one in found.named("a"))
    policy = next(one["content"] for one in found.named("meta") if one.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert "unsafe-inline' " not in policy.partition("script-src")[2]
