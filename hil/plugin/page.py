"""The page of a test in Allure's report: its data, collected when the test ends; `hil.report` renders them."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hil import slow
from hil.errors import Evidence, HilError
from hil.history.identity import stable_test
from hil.plugin import checks
from hil.plugin.origins import cause_of, hil_error
from hil.plugin.record import TestRecord, record_of
from hil.plugin.repetitions import repetition_of
from hil.plugin.selection import BoardSelection
from hil.plugin.session import Session

if TYPE_CHECKING:
    from hil.plugin.measurements import Checked

OPTIONS = {  # those that change a test, by their name in pytest's configuration: the option, its default
    "image": ("--image", None),
    "fresh": ("--fresh", None),
    "hil_bounds": ("--hil-bounds", None),
    "hil_baselines": ("--hil-baselines", None),
    "lg_coordinator": ("--lg-coordinator", None),
    "hil_soak_hours": ("--hil-soak-hours", None),
    "hil_fault_seed": ("--hil-fault-seed", 1),
    "hil_soak_deployments": ("--hil-soak-deployments", 200),
    "hil_soak_boots": ("--hil-soak-boots", 3),
}
PATHS = ("--image", "--hil-bounds", "--hil-baselines")  # their values may be paths


class Pages:
    """Attaches the data of a test to its page, the most important first."""

    def __init__(self, config: pytest.Config, session: Session) -> None:
        self._config = config
        self._session = session
        self._shown: set[Evidence] = set()  # every test that a dead board fails has the same

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        selection = self._session.selections.of(item)
        if selection is None:
            return report
        try:
            self._attach_all(item, call, selection, report.failed)
        except Exception as error:  # an incomplete page must not fail the test
            text = f"the page in the report is incomplete: {type(error).__name__}: {error}"
            report.sections.append(("report", text))
            item.warn(pytest.PytestWarning(f"{item.nodeid}: {text}"))
        return report

    def _attach_all(
        self, item: pytest.Item, call: pytest.CallInfo[None], selection: BoardSelection, failed: bool
    ) -> None:
        record = record_of(item)
        board = record.board
        if call.when == "setup" and failed:
            self._attach_setup(item, call, selection)
        elif call.when == "teardown":
            self._attach_figures()
        if call.when != "call" or board is None:
            return
        slow.evidence.attach_repeat(self._ran(item, selection, board, record.executions))
        parts = [_span(record, board, transcript, start) for transcript, start in record.spans()]
        if failed and call.excinfo is not None:
            parts = _mark_failure(parts, call.excinfo.value, record.executions)
        for number, part in enumerate(parts, 1):
            name = "console" if number == 1 else f"console {number}"
            slow.evidence.attach_console(part, board.manifest, failed=failed, name=name, title=item.nodeid)
        checked = self._attach_figures()
        slow.evidence.attach_executions(record.executions)
        if record.pins is not None or record.traced or record.loops:
            _attach_signals(item.nodeid, record, board, checked)

    def _attach_setup(self, item: pytest.Item, call: pytest.CallInfo[None], selection: BoardSelection) -> None:
        """Attach the command that repeats a test whose board did not come up, and the console of that boot."""
        board = self._session.opened(selection)
        slow.evidence.attach_repeat(self._ran(item, selection, board, ()))
        error = call.excinfo and hil_error(call.excinfo.value)
        seen = error.evidence if error else None
        if board is None or error is None or seen is None or seen.transcript is None or seen in self._shown:
            return
        self._shown.add(seen)
        try:
            part = boot_span(seen, board, error)
        except HilError:  # deleted since; the failure's text has its last lines
            return
        slow.evidence.attach_console(part, board.manifest, failed=True, title=item.nodeid)
        part.transcript.close()

    def _attach_figures(self) -> Sequence[Checked]:
        """Attach the series that were recorded since the last call, and return them with their checks."""
        pending, compared = self._session.measurements.take_pending()
        if pending:
            baselines = slow.Baselines(self._config.option.hil_baselines)
            slow.evidence.attach_figures(pending, self._session.facts.results_file, baselines)
        for several in compared:
            slow.evidence.attach_comparison(several)
        return pending

    def _ran(
        self,
        item: pytest.Item,
        selection: BoardSelection,
        board: slow.Board | None,
        executions: Sequence[slow.Execution],
    ) -> slow.Ran:
        run = self._session.facts
        name = f"place:{board.place.name}" if board and board.place else selection.name
        again = BoardSelection(name if selection.place else _path(self._config, name), selection.seed)
        facts: dict[str, str] = {}
        if board is not None:
            facts = {"board": board.name, **({"place": board.place.name} if board.place else {})}
            if run.facts.get("board") == board.name:  # they are those of the board that came up last
                facts |= {key: fact for key, fact in run.facts.items() if key in ("QEMU", "snapshots")}
                facts["clock"] = board.clock
        different = {
            (done.module.name, done.arguments, done.module.sha256, done.pins, done.env, done.directories): done
            for done in executions
        }
        return slow.Ran(
            test=stable_test(item.nodeid, str(selection), str(again), repetition_of(item)),
            options=tuple(repeat_options(self._config, again)),
            root=self._config.rootpath,
            board=again.name,
            image=board.manifest.name if board else "",
            image_sha256=run.digests.get(board, "") if board else "",
            seed=selection.seed,
            deployed=tuple(
                slow.Deployed(
                    done.module.name,
                    done.module.compiled_from or done.module.sha256,
                    done.module.source,
                    done.arguments,
                    done.pins,
                    done.env,
                    done.directories,
                    aot=bool(done.module.compiled_from),
                )
                for done in different.values()
            ),
            facts=facts,
        )


def repeat_options(config: pytest.Config, selection: BoardSelection) -> Iterator[str]:
    """Yield the options with which a test of `config` runs again, alone, on the board of `selection`."""
    option = config.option
    by_labgrid = checks.selection(config).source in ("--lg-env", "LG_ENV") and config.pluginmanager.hasplugin("labgrid")
    yield from ("--lg-env" if by_labgrid else "--board", selection.name)
    if selection.seed is not None:
        yield from ("--clock", "virtual", "--hil-seed", str(selection.seed))
    elif option.clock == "real":
        yield from ("--clock", "real")
    if option.hil_no_snapshots:
        yield "--hil-no-snapshots"
    for key, (name, default) in OPTIONS.items():
        if (value := getattr(option, key, default)) != default:
            yield from (name, _path(config, str(value)) if name in PATHS else str(value))


def _path(config: pytest.Config, value: str) -> str:
    """Return the path `value` relative to the root directory; a name stays as it is."""
    path = config.invocation_params.dir / value
    if not (path.exists() and ("/" in value or Path(value).suffix in (".yaml", ".yml", ".toml"))):
        return value
    return str(path.relative_to(config.rootpath)) if path.is_relative_to(config.rootpath) else str(path)


def _span(record: TestRecord, board: slow.Board, transcript: slow.Transcript, start: int) -> slow.Span:
    """Return the part of `transcript` from `start` on, with marks for verdicts and the stages of a boot."""
    transcript.refresh()
    marks = [
        slow.Mark(run.end, "verdict", _outcome(run)) for run in record.executions if run.transcript == transcript.path
    ]
    boot, power_on = board.report, None
    if start == 0 and boot is not None and boot.transcript == transcript.path:
        power_on = boot.power_on_ns
        marks += [
            slow.Mark(stage.offset, "stage", f"stage {stage.name}, {stage.seconds:.3f} s after power-on")
            for stage in boot.stages
            if stage.offset > 0
        ]
    return slow.Span(transcript, start, transcript.size, record.began_ns, power_on, tuple(marks))


def _attach_signals(title: str, record: TestRecord, board: slow.Board, checked: Sequence[Checked]) -> None:
    """Attach the signals of the test, from its last boot on."""
    booted_within = board.console is not record.console
    evidence = slow.signal_report.SignalEvidence(
        board.console,
        0 if booted_within else record.start,
        board.report,
        record.executions,
        record.injections,
        checked,
        record.pins,
        record.traced,
        record.loops,
        follows_host=board.virtual is None,
    )
    slow.signal_report.attach_signals(evidence, title)


def _outcome(run: slow.Execution) -> str:
    state = {True: "output proven", None: "output not provable", False: "output GARBLED"}[run.intact]
    return f"{run.shown}: {run.verdict}, {len(run.output)} bytes, {state}"


def _mark_failure(
    parts: list[slow.Span], error: BaseException, executions: Sequence[slow.Execution]
) -> list[slow.Span]:
    """Mark the failure at the position in its evidence, else behind the last bad deployment, else at the end."""
    known = hil_error(error)
    seen = known.evidence if known else None
    path, offset = (seen.transcript, seen.position) if seen else (None, None)
    bad = next((run for run in reversed(executions) if not run.good and not run.stopped), None)
    if offset is None and bad is not None:
        path, offset = bad.transcript, bad.end
    place = next((number for number, part in enumerate(parts) if part.transcript.path == path), None)
    if place is None or offset is None:
        place, offset = len(parts) - 1, parts[-1].end
    mark = slow.Mark(offset, "fail", cause_of(error))
    return [replace(part, marks=(*part.marks, mark)) if number == place else part for number, part in enumerate(parts)]


def boot_span(seen: Evidence, board: slow.Board, error: HilError) -> slow.Span:
    """Return the console of a failed boot, with the stages that it reached. Raises `ConfigurationError`."""
    assert seen.transcript is not None
    transcript = slow.Transcript(seen.transcript)
    transcript.refresh()
    zero = transcript.time_at(0) if transcript.size else 0
    marks = [*slow.stages_of(transcript.read(0, transcript.size), 0, board.manifest.stages)]
    end = transcript.size if seen.position is None else min(seen.position, transcript.size)
    marks.append(slow.Mark(end, "fail", cause_of(error)))
    return slow.Span(transcript, 0, transcript.size, zero, None, tuple(marks))
