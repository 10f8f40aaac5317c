"""Evidence as Allure wants it: steps from labgrid's bus, attachments, the environment."""

from __future__ import annotations

import fcntl
import itertools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import allure
from allure_commons import plugin_manager
from labgrid.step import StepEvent, steps

from hil.board.stages import BootReport
from hil.errors import HilError
from hil.measure.units import shown
from hil.report import console, player
from hil.text import printable_line
from hil.wasm import Execution

if TYPE_CHECKING:  # numpy and scipy cost each start a second, and most tests do not measure
    from hil.compare.baseline import Baselines
    from hil.image.manifest import Manifest
    from hil.measure.decision import Check
    from hil.measure.series import Series
    from hil.report.console import Span
    from hil.report.figures import MeasuredSeries
    from hil.report.repeat import Ran

SAMPLES = 20_000  # of a longer series the samples are in the results file alone
PLAYERS = 25  # pages with a player of their own, in a process: each weighs 150 kB in a report
played = itertools.count()


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


def attach_repeat(ran: Ran) -> None:
    """Attach the command that runs the test again, and what has to be the same for it."""
    allure.attach(str(ran), "repeat this test", allure.attachment_type.TEXT)


def attach_console(part: Span, manifest: Manifest, *, failed: bool, title: str, name: str = "console") -> None:
    """Attach a test's console as a page and as an asciicast; of a test that `failed` with a player, see `player`."""
    found = console.render(part, manifest, failed=failed)
    if found is None:
        return
    allure.attach(found, name, allure.attachment_type.HTML)
    cast = player.cast(part, title)
    if cast is None:
        return
    if failed and player.player() is not None and next(played) < PLAYERS:
        allure.attach(player.render(cast, title), f"{name}, played", allure.attachment_type.HTML)
    allure.attach(cast, f"{name}.cast", "application/x-asciicast", "cast")


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


def attach_figures(recorded: Sequence[tuple[Series, Sequence[Check]]], results: Path, baselines: Baselines) -> None:
    """Attach what a test measured: one table, pictures of what was judged, the samples of each series.

    `results` is the results file, which has all samples; each series is held against its own of the `baselines`.
    """
    if not recorded:
        return
    from hil.plots import series as plots
    from hil.report import figures

    taken = [_against(one, checks, baselines) for one, checks in recorded]
    allure.attach(figures.render(taken), "figures", allure.attachment_type.HTML)
    for one in taken:
        if one.checks:
            near = one.baseline
            pictures = {
                "histogram": plots.histogram(one.series, one.checks, near),
                "timeline": plots.timeline(one.series, one.checks, near),
                "percentiles": plots.percentiles(one.series, one.checks),
            }
            for kind, picture in pictures.items():
                allure.attach(picture, f"{kind}: {one.name}", allure.attachment_type.SVG)
    for one in taken:
        if len(one.series) > SAMPLES:
            text = f"{len(one.series)} samples, too many for a report; the results file has them:\n{results}\n"
            allure.attach(text, f"samples: {one.name}", allure.attachment_type.TEXT)
            continue
        rows = "\n".join(f"{number},{value!r}" for number, value in enumerate(one.series.samples.tolist(), 1))
        allure.attach(f"sample,{one.series.unit}\n{rows}\n", f"samples: {one.name}", allure.attachment_type.CSV)


def _against(series: Series, checks: Sequence[Check], baselines: Baselines) -> MeasuredSeries:
    from hil.report.figures import MeasuredSeries

    try:
        (compared,) = baselines.compare([series])
    except HilError as error:  # a broken one must not hide the figures
        return MeasuredSeries(series, tuple(checks), unread=error.message)
    return MeasuredSeries(series, tuple(checks), compared)


def attach_comparison(several: Sequence[Series]) -> None:
    """Attach series of one quantity in one picture."""
    from hil.plots import series as plots

    names = " | ".join(series.subject for series in several)
    allure.attach(plots.compare(several), f"compared: {names}", allure.attachment_type.SVG)


def add_environment(results: Path, name: str, fact: str) -> None:
    """Add one more fact to Allure's environment.properties, once all who write it have done so."""
    _write_environment(results, {name: fact}, keep=lambda _: True)


def write_environment(results: Path, facts: dict[str, str]) -> None:
    """Write what a reader must know of the whole run, as Allure's environment.properties."""
    _write_environment(results, facts, keep=lambda name: not name.startswith("link"))


def _write_environment(results: Path, facts: dict[str, str], keep: Callable[[str], bool]) -> None:
    """Write `facts`, and `keep` the others that are there: other runs may write to the same directory at once."""
    told = {key.replace(" ", "."): printable_line(value) for key, value in facts.items()}
    with (results / "environment.properties").open("a+", encoding="utf-8", errors="replace") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        there = dict(line.rstrip("\n").split(" = ", 1) for line in file if " = " in line)
        file.truncate(0)
        kept = {name: value for name, value in there.items() if keep(name)}
        file.writelines(f"{name} = {value}\n" for name, value in (kept | told).items())
