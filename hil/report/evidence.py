"""Attach evidence to Allure's results: labgrid's steps, consoles, figures, and the environment."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import allure
from allure_commons import plugin_manager
from labgrid.step import StepEvent, steps

from hil.board.boot_report import BootReport
from hil.errors import HilError
from hil.host.extras import MissingExtraError
from hil.host.locks import lock
from hil.measure.units import shown
from hil.report import environment, player
from hil.report.console_page import console_page
from hil.text import printable_line
from hil.wasm import Execution

if TYPE_CHECKING:  # numpy and scipy take a second to import, and most tests do not measure
    from hil.compare.baseline import Baselines
    from hil.image.manifest import Manifest
    from hil.measure.decision import Check
    from hil.measure.series import Series
    from hil.report.console import Span
    from hil.report.figures import MeasuredSeries
    from hil.report.repeat import Ran

SAMPLES = 20_000  # the samples of a longer series are only in the results file
PLAYERS = 25  # pages with a player, in a process: each takes 150 kB of a report
played = itertools.count()


@contextmanager
def mirrored_steps() -> Iterator[None]:
    """Mirror labgrid's steps as Allure steps within the block."""
    running: dict[int, str] = {}

    def notify(event: StepEvent) -> None:
        step, state = event.step, event.data.get("state")
        if state == "start":
            uuid = running[id(step)] = str(uuid4())
            params = {key: repr(value) for key, value in (step.args or {}).items()}
            plugin_manager.hook.start_step(uuid=uuid, title=step.title, params=params)
        elif state == "stop" and (uuid := running.pop(id(step), "")):
            error = step.exception
            plugin_manager.hook.stop_step(
                uuid=uuid, exc_type=type(error) if error else None, exc_val=error, exc_tb=None
            )

    steps.subscribe(notify)
    try:
        yield
    finally:
        steps.unsubscribe(notify)


def attach_rates(table: str, facts: str) -> None:
    """Attach pass rates and boots of the whole run, as text and as JSON."""
    allure.global_attach(table, "pass rates and boots", allure.attachment_type.TEXT)
    allure.global_attach(facts, "rates.json", allure.attachment_type.JSON)


def attach_finding(fault: str, text: str) -> None:
    """Attach the finding of an injected fault."""
    allure.attach(text, f"fault: {fault}", allure.attachment_type.TEXT)


def attach_robustness(report: str, lines: str) -> None:
    """Attach the findings of all injected faults, as text and as JSON lines."""
    allure.global_attach(report, "robustness.md", allure.attachment_type.TEXT)
    allure.global_attach(lines, "robustness.jsonl", allure.attachment_type.TEXT)


def attach_repeat(ran: Ran) -> None:
    """Attach the command that repeats the test, and the digests and versions that must match."""
    allure.attach(str(ran), "repeat this test", allure.attachment_type.TEXT)


def attach_console(part: Span, manifest: Manifest, *, failed: bool, title: str, name: str = "console") -> None:
    """Attach a test's console as a page and as an asciicast; for a `failed` test with a player."""
    found = console_page(part, manifest, failed=failed)
    if found is None:
        return
    allure.attach(found, name, allure.attachment_type.HTML)
    cast = player.cast(part, title)
    if cast is None:
        return
    if failed and next(played) < PLAYERS:
        page = player.player_page(cast, title)
        kind = allure.attachment_type.HTML if page else allure.attachment_type.TEXT
        allure.attach(page or player.NO_PLAYER, f"{name}, played", kind)
    allure.attach(cast, f"{name}.cast", "application/x-asciicast", "cast")


def attach_boot(boot: BootReport) -> None:
    """Attach the stages of a boot with their times."""
    rows = "\n".join(f"{stage.seconds:9.3f} s  {stage.name}" for stage in boot.stages)
    text = f"board {boot.board}, image {boot.image}\nclock: {boot.clock}\ntranscript: {boot.transcript}\n\n{rows}\n"
    if boot.restored is not None:
        text = f"restored and checked in {boot.restored:.3f} s, from a snapshot of this boot:\n{text}"
    allure.attach(text, "boot stages", allure.attachment_type.TEXT)


def attach_executions(executions: Sequence[Execution]) -> None:
    """Attach module, verdict, output state and times of each execution."""
    if executions:
        text = json.dumps(list(map(_facts, executions)), indent=2)
        allure.attach(text, f"executions ({len(executions)})", allure.attachment_type.JSON)


def _facts(run: Execution) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "module": run.module.name,
        "sha256": run.module.sha256,
        "source": run.module.source,
        "aot": run.aot,
        "arguments": list(run.arguments),
        "verdict": str(run.verdict),
        "output bytes": len(run.output),
        "output proven": run.intact,
        "agent status": run.agent_status,
        "restored": run.restored,
        "stopped by the test": run.stopped,
        "diagnostics": list(run.diagnostics),
        "foreign lines": list(run.foreign),
        "transcript": f"{run.transcript} bytes {run.start} to {run.end}",
    }
    if run.seal:
        facts["transfer"] = shown(run.seal.transfer_ticks / run.seal.hz)
        facts["run"] = shown(run.seal.run_ticks / run.seal.hz)
    return facts


def attach_figures(recorded: Sequence[tuple[Series, Sequence[Check]]], results: Path, baselines: Baselines) -> None:
    """Attach a test's series: one table, pictures of those with bounds, and the samples.

    `results` is the results file, which has all samples; each series is compared to its baseline.
    """
    if not recorded:
        return
    from hil.plots import series as plots
    from hil.report.figures import figures_page

    measured = [_compared(series, checks, baselines) for series, checks in recorded]
    allure.attach(figures_page(measured), "figures", allure.attachment_type.HTML)
    with note_instead_of_pictures():
        for item in (item for item in measured if item.checks):
            pictures = {"timeline": plots.timeline(item.series, item.checks, item.baseline)}
            if item.series.response is None:  # of a response the order of the samples matters, not their distribution
                pictures = {
                    "histogram": plots.histogram(item.series, item.checks, item.baseline),
                    **pictures,
                    "percentiles": plots.percentiles(item.series, item.checks),
                }
            for kind, picture in pictures.items():
                allure.attach(picture, f"{kind}: {item.name}", allure.attachment_type.SVG)
    for item in measured:
        if len(item.series) > SAMPLES:
            text = f"{len(item.series)} samples, too many for a report; the results file has them:\n{results}\n"
            allure.attach(text, f"samples: {item.name}", allure.attachment_type.TEXT)
            continue
        rows = "\n".join(f"{number},{value!r}" for number, value in enumerate(item.series.samples.tolist(), 1))
        allure.attach(f"sample,{item.series.unit}\n{rows}\n", f"samples: {item.name}", allure.attachment_type.CSV)


def _compared(series: Series, checks: Sequence[Check], baselines: Baselines) -> MeasuredSeries:
    from hil.report.figures import MeasuredSeries

    try:
        (compared,) = baselines.compare([series])
    except HilError as error:  # a broken baseline must not hide the figures
        return MeasuredSeries(series, tuple(checks), unread=error.message)
    return MeasuredSeries(series, tuple(checks), compared)


def attach_comparison(several: Sequence[Series]) -> None:
    """Attach one picture of several series of a quantity."""
    from hil.plots import series as plots

    names = " | ".join(series.subject for series in several)
    with note_instead_of_pictures():
        allure.attach(plots.compare(several), f"compared: {names}", allure.attachment_type.SVG)


@contextmanager
def note_instead_of_pictures() -> Iterator[None]:
    """Attach a note if the pictures drawn in the block need a package that is not installed."""
    try:
        yield
    except MissingExtraError as error:
        allure.attach(str(error), "no pictures", allure.attachment_type.TEXT)


def add_environment(results: Path, facts: Mapping[str, str], replaced: str | None = None) -> None:
    """Add facts of the whole run to Allure's environment.properties, also of runs in parallel.

    Existing facts are kept but those whose names begin with `replaced`.
    """
    with (results / environment.NAME).open("a+", encoding="utf-8", errors="replace") as file:
        lock(file)
        file.seek(0)
        old = environment.parse(file.read())
        file.truncate(0)
        kept = {name: value for name, value in old.items() if replaced is None or not name.startswith(replaced)}
        file.write(environment.text(kept | {name: printable_line(fact) for name, fact in facts.items()}))
