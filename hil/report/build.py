"""Make the Allure report, one HTML file with a quality gate, from directories of results."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hil.errors import ConfigurationError, InfrastructureError
from hil.host import tools
from hil.report import generator
from hil.report.allure_history import AllureHistory
from hil.report.generator import REPORTS_DIR
from hil.report.merge import EXECUTOR, Issue, Merged, Part, merge
from hil.text import storable

SCRIPTS = BASE, GENERATE = ("allurerc.mjs", "report.mjs")
HISTORY = "allure-history.jsonl"
LIMIT = 300.0  # seconds
# the generator's page reports each opening to an analytics server
ANALYTICS = re.compile(rb'<script async src="[^"]*googletagmanager.*?</script>\s*<script>.*?</script>', re.S)
HEAD = (
    b'<meta name="viewport" content="width=device-width, initial-scale=1">'
    # opened as a file the page cannot measure a preview, and shows only the 150 px of a bare frame
    b'<style>iframe[title="HTML attachment"]{min-height:min(720px,75vh)}</style>'
    # on a busy host the page's program runs before its data is read: with an empty table it waits
    b"<script>window.allureReportData = {}</script>"
    # the generator's page scrolls to the first failed test: stay at the top until the reader acts
    b'<script>(()=>{let acted=false;for(const kind of["pointerdown","keydown","wheel","touchstart"])'
    b"addEventListener(kind,()=>{acted=true},true);"
    b'addEventListener("scroll",event=>{if(!acted&&!location.hash)'
    b"(event.target.scrollingElement||event.target).scrollTop=0},true)})()</script>"
)
SETTINGS = """\
import {{ pathToFileURL }} from "node:url";
const base = (await import(pathToFileURL({base}))).default;
export default {{ ...base, ...{more} }};
"""


# by the environment variable of a CI system: name, type, job, number, URL
EXECUTORS = {
    "GITLAB_CI": ("GitLab", "gitlab", "{CI_JOB_NAME}", "{CI_PIPELINE_IID}", "{CI_JOB_URL}"),
    "GITHUB_ACTIONS": (
        *("GitHub Actions", "github", "{GITHUB_WORKFLOW}", "{GITHUB_RUN_NUMBER}"),
        "{GITHUB_SERVER_URL}/{GITHUB_REPOSITORY}/actions/runs/{GITHUB_RUN_ID}",
    ),
    "JENKINS_URL": ("Jenkins", "jenkins", "{JOB_NAME}", "{BUILD_NUMBER}", "{BUILD_URL}"),
    "BUILDKITE": (
        *("Buildkite", "buildkite"),
        *("{BUILDKITE_PIPELINE_SLUG}", "{BUILDKITE_BUILD_NUMBER}", "{BUILDKITE_BUILD_URL}"),
    ),
}


@dataclass(frozen=True)
class Rule:
    """One rule of the quality gate in `reports/allurerc.mjs`, and its result."""

    name: str
    kept: bool
    message: str

    def __str__(self) -> str:
        return f"{'kept' if self.kept else 'NOT kept'}: {self.message} ({self.name})"


@dataclass(frozen=True)
class Built:
    """A report: its HTML file, the number of its results, its quality gate, and messages about its runs."""

    path: Path
    count: int
    gate: tuple[Rule, ...]
    notes: tuple[str, ...] = ()

    @property
    def gate_kept(self) -> bool:
        """Whether all rules of the gate are kept, and there are some."""
        return bool(self.gate) and all(rule.kept for rule in self.gate)


def build(parts: Sequence[Part], output: Path, *, title: str, history: Path | None = None, night: str = "") -> Built:
    """Make `output`, a self-contained HTML file, from the Allure results of `parts`.

    `history` is the file of earlier reports, by default allure-history.jsonl beside `output`; this report is added to
    it. `night` is the name of the night. Raises `ConfigurationError` for directories without results or a missing
    generator, `InfrastructureError` when the generator fails, or a file cannot be written.
    """
    program, modules = generator.node(), generator.modules()
    try:
        return _build(parts, output, title, history or output.with_name(HISTORY), night, (program, modules))
    except OSError as error:
        raise InfrastructureError(f"cannot make the report {output}: {error}", hint="check the disk") from error


def _build(
    parts: Sequence[Part], output: Path, title: str, history: Path, night: str, tools: tuple[Path, Path]
) -> Built:
    output.parent.mkdir(parents=True, exist_ok=True)
    earlier = AllureHistory.read(history)
    with tempfile.TemporaryDirectory(prefix=".report-", dir=_beside(output)) as name:
        work = Path(name).absolute()
        results, past, html = work / "results", work / "history.jsonl", work / "html"
        results.mkdir()
        merged = merge(parts, results)
        if not merged.count:
            where = str(parts[0].directory) if parts else "no directory"
            where += f" and {len(parts) - 1} more" if parts[1:] else ""
            raise ConfigurationError(f"no Allure results in {where}", hint="run: pytest suites --alluredir DIRECTORY")
        facts = executor(os.environ, night)
        if facts is not None and not (results / EXECUTOR).exists():
            (results / EXECUTOR).write_text(json.dumps(facts), "utf-8")
        earlier.before(merged.ids, merged.ended, merged.count, past)
        (work / "settings.mjs").write_text(_settings(merged, past, work), "utf-8")
        html.mkdir()
        program, modules = tools
        (work / "node_modules").symlink_to(modules)  # Node.js searches packages beside and above the script
        for script in SCRIPTS:
            shutil.copyfile(REPORTS_DIR / script, work / script)
        gate = _generate([str(program), str(work / GENERATE)], work / "settings.mjs", html, storable(title), results)
        page = html / "index.html"
        if not page.exists():
            raise InfrastructureError(f"the Allure command line made no page:\n{gate}")
        text = ANALYTICS.sub(b"", page.read_bytes(), count=1)
        page.write_bytes(text.replace(b"</head>", HEAD + b"</head>", 1))
        shutil.move(page, output)
        earlier.add(past, merged.ids, merged.ended)
    return Built(output, merged.count, rules(gate), tuple(merged.notes))


def _beside(output: Path) -> Path | None:
    """Return where to work: beside the report, or among the temporary files where Node.js cannot read that name."""
    directory = output.parent.absolute()
    return directory if storable(str(directory)) == str(directory) else None


def _settings(merged: Merged, past: Path, work: Path) -> str:
    """Return the settings of this report, as an extension of the common ones."""
    more: dict[str, Any] = {"historyPath": str(past)}
    if merged.issues:
        more["resolutions"] = resolutions(merged.issues)
    return SETTINGS.format(base=json.dumps(str(work / BASE)), more=json.dumps(more))


def resolutions(issues: Sequence[Issue]) -> dict[str, Any]:
    """Return Allure's rules for known issues: links to a tracker, or accepted failures."""
    links: dict[str, str] = {}  # kinds of issues by URL template
    found: list[dict[str, Any]] = []
    for issue in issues:
        rule: dict[str, Any] = {"comment": f"{issue.number}: {issue.text}", "testCaseId": list(issue.cases)}
        if issue.url.count(issue.number) == 1:
            template = issue.url.replace(issue.number, "%s")
            kind = links.setdefault(template, f"issue {len(links) + 1}" if links else "issue")
            found.append({"resolution": "issue", "issue": {"id": issue.number, "type": kind}, **rule})
        else:
            found.append({"resolution": "accepted", **rule})
    return {"links": {kind: {"urlTemplate": template} for template, kind in links.items()}, "rules": found}


def _generate(program: Sequence[str], settings: Path, output: Path, title: str, results: Path) -> str:
    """Run the generator; return its output."""
    command = [*program, str(settings), str(output), title, str(results)]
    begin = time.monotonic()
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
        raise InfrastructureError(f"the Allure command line did not finish in {LIMIT:g} s") from None
    tools.log_command(command, begin)
    if done.returncode:
        output_end = "\n".join((done.stdout + done.stderr).strip().splitlines()[-10:])
        raise InfrastructureError(f"the Allure command line failed with status {done.returncode}:\n{output_end}")
    return done.stdout


def rules(text: str) -> tuple[Rule, ...]:
    """Parse the generator's output about the gate. Raises `InfrastructureError` for anything else."""
    try:
        if not isinstance(results := json.loads(text), list):
            raise TypeError("not a list")
        return tuple(Rule(str(rule["rule"]), rule["success"] is True, str(rule["message"])) for rule in results)
    except (ValueError, LookupError, TypeError):
        raise InfrastructureError(
            f"the report's generator did not return its quality gate, but {text[:200]!r}"
        ) from None


def executor(environment: Mapping[str, str], night: str = "") -> dict[str, Any] | None:
    """Return the data of Allure's executor.json: a job of a CI system, or a night; None for a run by hand."""
    by_night = ("hil nightly", "hil", "", "", "") if night else None
    found = next((facts for name, facts in EXECUTORS.items() if environment.get(name)), by_night)
    if found is None:
        return None
    values = defaultdict(str, environment)
    name, kind, job, number, url = (part.format_map(values) for part in found)
    facts: dict[str, Any] = {"name": name, "type": kind, "buildName": night or f"{job} #{number}".strip(" #")}
    if url.startswith(("https://", "http://")):
        facts |= {"buildUrl": url, "url": url}
    if number.isdecimal():
        facts["buildOrder"] = int(number)
    return facts
