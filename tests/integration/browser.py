"""A browser for the pages that reviewers open: the system's Chromium, cut off from every network."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, Page, Route, sync_playwright

from hil.report import generator

CHROMIUM = Path("/usr/bin/chromium")
AXE = generator.directory() / "node_modules" / "axe-core" / "axe.min.js"
LIMIT = 60_000.0  # milliseconds for whatever is waited for
LOCAL = ("file:", "data:", "blob:", "about:")
LOUD = ("serious", "critical")  # impacts that keep somebody from reading a page
AXE_LIMIT = 300_000.0  # milliseconds for a page
RUN_AXE = """limit => Promise.race([
  axe.run(document, { resultTypes: ["violations"] }).then(done => JSON.stringify(done.violations)),
  new Promise((_, refuse) => setTimeout(() => refuse(Error("axe has not ended in time")), limit)),
])"""
Scheme = Literal["light", "dark"]


@dataclass
class Visit:
    """A page with what it said and whom it asked: what no page of ours may do."""

    page: Page
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def open(self, file: Path, fragment: str = "") -> Page:
        """Open a file as a reviewer does, by its file:// address."""
        assert file.is_file(), f"{file} is not there"
        self.page.goto(file.resolve().as_uri() + fragment, wait_until="load")
        return self.page

    def check(self) -> None:
        """Raise `AssertionError` for requests and errors, once the page has come to rest."""
        self.page.wait_for_load_state("networkidle")
        assert not self.requests, f"{self.page.url} asked for what is elsewhere:\n" + "\n".join(self.requests)
        assert not self.errors, f"{self.page.url} has errors:\n" + "\n".join(self.errors)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start the browser. While it runs asyncio cannot be used in this thread."""
    assert CHROMIUM.exists(), f"{CHROMIUM} is missing: run ./bootstrap setup"
    with sync_playwright() as playwright:
        # the pages are our own files, and a container's root has no sandbox
        browser = playwright.chromium.launch(executable_path=CHROMIUM, chromium_sandbox=False)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def visit(browser: Browser, scheme: Scheme = "light", *, scripts: bool = True) -> Iterator[Visit]:
    """A window of its own, without a network; who enters it has to call `check`."""
    context = browser.new_context(color_scheme=scheme, java_script_enabled=scripts, offline=True)
    try:
        context.set_default_timeout(LIMIT)
        visit = Visit(context.new_page())

        def asked(url: str) -> None:
            if not url.startswith(LOCAL):
                visit.requests.append(url)

        def refuse(route: Route) -> None:
            if route.request.url.startswith(LOCAL):
                route.fallback()
            else:
                route.abort()

        context.route("**/*", refuse)
        context.on("request", lambda request: asked(request.url))
        context.on("console", lambda said: visit.errors.append(said.text) if said.type == "error" else None)
        context.on("weberror", lambda thrown: visit.errors.append(f"uncaught: {thrown.error}"))
        visit.page.on("websocket", lambda socket: asked(socket.url))
        yield visit
    finally:
        context.close()


def accessibility(page: Page) -> list[str]:
    """What axe-core finds on a page as it is shown now, as "IMPACT RULE: help; where", all impacts."""
    page.evaluate(AXE.read_text("utf-8"))
    found = page.evaluate(RUN_AXE, AXE_LIMIT)
    return [
        f"{one['impact']} {one['id']}: {one['help']}; " + "; ".join(str(node["target"]) for node in one["nodes"][:3])
        for one in json.loads(found)
    ]


def barriers(page: Page) -> list[str]:
    """Those findings of `accessibility` that keep somebody from reading the page."""
    return [one for one in accessibility(page) if one.startswith(LOUD)]
