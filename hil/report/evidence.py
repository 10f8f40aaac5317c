"""Evidence as Allure wants it: steps from labgrid's bus, attachments, the environment."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import allure
from allure_commons import plugin_manager
from labgrid.step import StepEvent, steps

from hil.board.stages import BootReport
from hil.console import Transcript
from hil.timing.bounds import Check
from hil.timing.series import Series
from hil.timing.units import shown
from hil.wasm import Execution

CONSOLE_LINES = 2000  # the last so many lines of a test's console go into its page; the file has them all

PAGE = """<!doctype html><meta charset="utf-8"><title>{title}</title><style>
:root{{color-scheme:light dark}}body{{font:13px/1.45 ui-monospace,monospace;margin:8px}}
table{{border-collapse:collapse}}td{{padding:0 10px 0 0;vertical-align:top;white-space:pre-wrap}}
td:first-child,td:nth-child(2){{text-align:right;opacity:.65;user-select:none}}tr:target{{background:#fd08}}
</style><p>{title}</p><table>{rows}</table>"""


class Steps:
    """Mirrors labgrid's steps as Allure steps while it is entered."""

    def __init__(self) -> None:
        self._open: dict[int, str] = {}

    def __enter__(self) -> Steps:
        steps.subscribe(self._notify)
        return self

    def __exit__(self, *_: object) -> None:
        steps.unsubscribe(self._notify)

    def _notify(self, event: StepEvent) -> None:
        step = event.step
        state = event.data.get("state")
        if state == "start":
            uuid = self._open[id(step)] = str(uuid4())
            params = {key: repr(value) for key, value in (step.args or {}).items()}
            plugin_manager.hook.start_step(uuid=uuid, title=step.title, params=params)
        elif state == "stop" and (uuid := self._open.pop(id(step), "")):
            error = step.exception
            plugin_manager.hook.stop_step(
                uuid=uuid, exc_type=type(error) if error else None, exc_val=error, exc_tb=None
            )


def label(suite: str, board: str, place: str = "") -> None:
    """Name the suite and the board of the running test, by which a reviewer groups and filters, and its place."""
    plugin_manager.hook.add_label(label_type="feature", labels=(suite,))
    plugin_manager.hook.add_label(label_type="tag", labels=(board,))
    if place:
        plugin_manager.hook.add_label(label_type="tag", labels=(place,))


def label_fault(fault: str) -> None:
    """Say whose fault the running test's failure is, by which the report's categories are made."""
    plugin_manager.hook.add_label(label_type="fault", labels=(fault,))


def attach_rates(table: str, facts: str) -> None:
    """Attach pass rates and boots of the whole run, to be read and as JSON."""
    allure.global_attach(table, "pass rates and boots", allure.attachment_type.TEXT)
    allure.global_attach(facts, "rates.json", allure.attachment_type.JSON)


def attach_finding(fault: str, text: str) -> None:
    """Attach what was found after a fault that was made on purpose."""
    allure.attach(text, f"fault: {fault}", allure.attachment_type.TEXT)


def attach_robustness(report: str, lines: str) -> None:
    """Attach the findings of the whole run, to be read and as JSON lines."""
    allure.global_attach(report, "robustness.md", allure.attachment_type.TEXT)
    allure.global_attach(lines, "robustness.jsonl", allure.attachment_type.TEXT)


def attach_console(transcript: Transcript, start: int, end: int, *, name: str = "console") -> None:
    """Attach the lines between two offsets as a page with line numbers and seconds since the first."""
    lines = list(transcript.lines(start, end, first=transcript.line_number(start)))[-CONSOLE_LINES:]
    if not lines:
        return
    zero = lines[0].time_ns
    rows = "".join(
        f'<tr id="L{line.number}"><td>{line.number}<td>{(line.time_ns - zero) / 1e9:.6f}<td>{html.escape(line.text)}'
        for line in lines
    )
    title = f"{html.escape(str(transcript.path))}, lines {lines[0].number} to {lines[-1].number}"
    allure.attach(PAGE.format(title=title, rows=rows), name, allure.attachment_type.HTML, "html")


def attach_boot(boot: BootReport) -> None:
    """Attach the stages of a boot with their times."""
    rows = "\n".join(f"{stage.seconds:9.3f} s  {stage.name}" for stage in boot.stages)
    text = f"board {boot.board}, image {boot.image}\nclock: {boot.clock}\ntranscript: {boot.transcript}\n\n{rows}\n"
    if boot.restored is not None:
        text = f"restored and proven in {boot.restored:.3f} s, from a snapshot of this boot:\n{text}"
    allure.attach(text, "boot stages", allure.attachment_type.TEXT)


def attach_executions(runs: Sequence[Execution]) -> None:
    """Attach what a test deployed: module, verdict, output's state and times of each."""
    if runs:
        text = json.dumps([_facts(run) for run in runs], indent=2)
        allure.attach(text, f"executions ({len(runs)})", allure.attachment_type.JSON)


def _facts(run: Execution) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "module": run.module.name,
        "sha256": run.module.sha256,
        "source": run.module.source,
        "arguments": list(run.arguments),
        "verdict": str(run.verdict),
        "output bytes": len(run.output),
        "output proven": run.intact,
        "agent status": run.agent_status,
        "restored": run.restored,
        "diagnostics": list(run.diagnostics),
        "foreign lines": list(run.foreign),
        "transcript": f"{run.transcript} bytes {run.start} to {run.end}",
    }
    if run.seal:
        facts["transfer"] = shown(run.seal.transfer_ticks / run.seal.hz)
        facts["run"] = shown(run.seal.run_ticks / run.seal.hz)
    return facts


def attach_series(series: Series, checks: Sequence[Check]) -> None:
    """Attach a series: its clock, what became of its bounds, its samples, and pictures where it was judged."""
    from hil.timing import plots

    name = f"{series.quantity} of {series.subject}"
    origin = [f"{key}: {value}" for key, value in series.provenance.items()]
    allure.attach("\n".join([str(series), *map(str, checks), "", *origin]), name, allure.attachment_type.TEXT)
    for kind, draw in plots.ONE.items() if checks else ():
        allure.attach(draw(series, checks), f"{kind}: {name}", allure.attachment_type.SVG)
    rows = "\n".join(f"{number},{value!r}" for number, value in enumerate(series.samples.tolist(), 1))
    allure.attach(f"sample,{series.unit}\n{rows}\n", f"samples: {name}", allure.attachment_type.CSV)


def attach_comparison(several: Sequence[Series]) -> None:
    """Attach series of one quantity in one picture."""
    from hil.timing import plots

    names = " | ".join(series.subject for series in several)
    allure.attach(plots.compare(several), f"compared: {names}", allure.attachment_type.SVG)


def add_environment(results: Path, name: str, fact: str) -> None:
    """Add one more fact to Allure's environment.properties, once all who write it have done so."""
    with (results / "environment.properties").open("a", encoding="utf-8") as file:
        file.write(f"{name.replace(' ', '.')} = {fact}\n")


def write_environment(results: Path, facts: dict[str, str]) -> None:
    """Write what a reader must know of the whole run, as Allure's environment.properties."""
    lines = (f"{key.replace(' ', '.')} = {value}" for key, value in facts.items())
    (results / "environment.properties").write_text("\n".join(lines) + "\n", "utf-8")
