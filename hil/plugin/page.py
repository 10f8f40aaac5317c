"""What is on a test's page in the report: gathered here when a test ends, made in `hil.report`."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hil.errors import Evidence, HilError
from hil.history.identity import stable_test
from hil.plugin import flakes
from hil.plugin.options import selection
from hil.plugin.session import BoardSelection, Session, choice

if TYPE_CHECKING:  # at run time only where a board is used: a collection must stay quick
    from hil.board.board import Board
    from hil.console import Console, Transcript
    from hil.measure import Measure
    from hil.report.console import Span
    from hil.report.repeat import Ran
    from hil.wasm import Execution

PATHS = ("--image", "--bounds", "--baselines")  # may be named by a path
AS_GIVEN = {  # options that change what a test does, by their name in pytest's configuration
    "--image": "image",
    "--fresh": "fresh",
    "--bounds": "bounds",
    "--baselines": "baselines",
    "--lg-coordinator": "lg_coordinator",
    "--soak-hours": "soak_hours",
}
UNLESS = {  # the same, with what they are unless somebody gives them
    "--fault-seed": ("fault_seed", 1),
    "--soak-deployments": ("soak_deployments", 200),
    "--soak-boots": ("soak_boots", 3),
}


@dataclass
class Seen:
    """What a test saw: its console from `start` on, the consoles of boots within the test, its executions."""

    board: Board
    console: Console
    start: int
    executions: list[Execution] = field(default_factory=list)
    measure: Measure | None = None
    began_ns: int = field(default_factory=time.monotonic_ns)

    def spans(self) -> Iterator[tuple[Transcript, int]]:
        """The transcripts of the test, each with the offset where its part of it begins."""
        yield self.console.transcript, self.start
        if self.board.report is not None and self.board.console is not self.console:
            yield self.board.console.transcript, 0


SEEN = pytest.StashKey[Seen]()


class Pages:
    """Puts on the page of each test of a board what a reviewer needs, the first things first."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._shown: set[Evidence] = set()  # each test that a dead board fails tells of the same

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        chosen = choice(item)
        if chosen is None:
            return report
        try:
            self._attach_all(item, call, chosen, report.failed)
        except Exception as error:  # the tests and what is known of them must outlive a page that cannot be made
            told = f"its page in the report is not complete: {type(error).__name__}: {error}"
            report.sections.append(("report", told))
            item.warn(pytest.PytestWarning(f"{item.nodeid}: {told}"))
        return report

    def _attach_all(self, item: pytest.Item, call: pytest.CallInfo[None], chosen: BoardSelection, failed: bool) -> None:
        seen = item.stash.get(SEEN, None)
        if call.when == "call" and seen is not None:
            self._attach(item, call, chosen, seen, failed)
        elif call.when == "setup" and failed:
            self._attach_setup(item, call, chosen)
        elif call.when == "teardown":
            self._attach_figures()

    def _attach(
        self, item: pytest.Item, call: pytest.CallInfo[None], chosen: BoardSelection, seen: Seen, failed: bool
    ) -> None:
        from hil.report import evidence

        ran = self._ran(item, chosen, seen.board, seen.executions)
        evidence.attach_repeat(ran)
        parts = [self._span(seen, transcript, start) for transcript, start in seen.spans()]
        if failed and call.excinfo is not None:
            parts = _with_failure(parts, call.excinfo.value, seen.executions)
        for number, part in enumerate(parts, 1):
            name = "console" if number == 1 else f"console {number}"
            evidence.attach_console(part, seen.board.manifest, failed=failed, name=name, title=item.nodeid)
        self._attach_figures()
        evidence.attach_executions(seen.executions)

    def _attach_setup(self, item: pytest.Item, call: pytest.CallInfo[None], chosen: BoardSelection) -> None:
        """Of a test whose board did not come up: how to try again, and the console of that boot where there is one."""
        from hil.report import evidence

        board = self._session.opened(chosen)
        evidence.attach_repeat(self._ran(item, chosen, board, ()))
        error = call.excinfo and flakes.known(call.excinfo.value)
        told = error.evidence if error else None
        if board is None or error is None or told is None or told.transcript is None or told in self._shown:
            return
        self._shown.add(told)
        try:
            part = boot_span(told, board, error)
        except HilError:  # deleted since: the failure's text has the last lines
            return
        evidence.attach_console(part, board.manifest, failed=True, title=item.nodeid)
        part.transcript.close()

    def _attach_figures(self) -> None:
        from hil.report import evidence

        taken, compared = self._session.take_figures()
        if taken:
            from hil.compare.baseline import Baselines

            baselines = Baselines(self._session.config.option.baselines)
            evidence.attach_figures(taken, self._session.results_file, baselines)
        for several in compared:
            evidence.attach_comparison(several)

    def _span(self, seen: Seen, transcript: Transcript, start: int) -> Span:
        from hil.report.console import Mark, Span

        transcript.refresh()
        marks = [Mark(run.end, "verdict", _became(run)) for run in seen.executions if run.transcript == transcript.path]
        boot, power_on = seen.board.report, None
        if start == 0 and boot is not None and boot.transcript == transcript.path:
            power_on = boot.power_on_ns
            marks += [
                Mark(one.offset, "stage", f"stage {one.name}, {one.seconds:.3f} s after power-on")
                for one in boot.stages
                if one.offset > 0
            ]
        return Span(transcript, start, transcript.size, seen.began_ns, power_on, tuple(marks))

    def _ran(
        self, item: pytest.Item, chosen: BoardSelection, board: Board | None, executions: Sequence[Execution]
    ) -> Ran:
        from hil.report.repeat import Deployed, Ran

        session, root = self._session, item.config.rootpath
        name = f"place:{board.place.name}" if board and board.place else chosen.name
        again = BoardSelection(name if chosen.place else _path(item.config, name), chosen.seed)
        facts: dict[str, str] = {}
        if board is not None:
            facts = {"board": board.name, **({"place": board.place.name} if board.place else {})}
            if session.facts.get("board") == board.name:  # they are those of the board that came up last
                facts |= {key: fact for key, fact in session.facts.items() if key in ("QEMU", "snapshots")}
                facts["clock"] = board.clock
            modules = {(one.module.name, one.arguments, one.module.sha256): one.module for one in executions}
            deployed = tuple(Deployed(key[0], key[2], module.source, key[1]) for key, module in modules.items())
        return Ran(
            test=stable_test(item.nodeid, str(chosen), str(again), flakes.repetition_of(item)),
            options=tuple(options(item.config, again)),
            root=root,
            board=again.name,
            image=board.manifest.name if board else "",
            image_sha256=session.digests.get(board, "") if board else "",
            seed=chosen.seed,
            deployed=deployed if board else (),
            facts=facts,
        )


def options(config: pytest.Config, chosen: BoardSelection) -> Iterator[str]:
    """The options with which a test of `config` runs again on the board `chosen`, alone."""
    option = config.option
    by_labgrid = selection(config).source in ("--lg-env", "LG_ENV") and config.pluginmanager.hasplugin("labgrid")
    yield from ("--lg-env" if by_labgrid else "--board", chosen.name)
    if chosen.seed is not None:
        yield from ("--clock", "virtual", "--seed", str(chosen.seed))
    elif option.clock == "real":
        yield from ("--clock", "real")
    for name, place in AS_GIVEN.items():
        if (given := getattr(option, place, None)) is not None:
            yield from (name, _path(config, str(given)) if name in PATHS else str(given))
    if option.no_snapshots:
        yield "--no-snapshots"
    for name, (place, usual) in UNLESS.items():
        if (given := getattr(option, place)) != usual:
            yield from (name, str(given))


def _path(config: pytest.Config, given: str) -> str:
    """A path as it is from the root directory; a name stays one."""
    path = config.invocation_params.dir / given
    if not (path.exists() and ("/" in given or Path(given).suffix in (".yaml", ".yml", ".toml"))):
        return given
    return str(path.relative_to(config.rootpath)) if path.is_relative_to(config.rootpath) else str(path)


def _became(run: Execution) -> str:
    state = {True: "output proven", None: "output not provable", False: "output GARBLED"}[run.intact]
    return f"{run.call}: {run.verdict}, {len(run.output)} bytes, {state}"


def _with_failure(parts: list[Span], error: BaseException, executions: Sequence[Execution]) -> list[Span]:
    """The parts with the failure where the error saw it, else behind the last deployment that went wrong, else last."""
    from dataclasses import replace

    from hil.report.console import Mark

    known = flakes.known(error)
    told = known.evidence if known else None
    path, offset = (told.transcript, told.position) if told else (None, None)
    bad = next((run for run in reversed(executions) if not run.good), None)
    if offset is None and bad is not None:
        path, offset = bad.transcript, bad.end
    place = next((number for number, part in enumerate(parts) if part.transcript.path == path), None)
    if place is None or offset is None:
        place, offset = len(parts) - 1, parts[-1].end
    mark = Mark(offset, "fail", flakes.cause_of(error))
    return [replace(part, marks=(*part.marks, mark)) if number == place else part for number, part in enumerate(parts)]


def boot_span(told: Evidence, board: Board, error: HilError) -> Span:
    """The console of a boot that failed, with the stages that it reached. Raises `ConfigurationError`."""
    from hil.console import Transcript
    from hil.report.console import Mark, Span, stages_of

    assert told.transcript is not None
    transcript = Transcript(told.transcript)
    transcript.refresh()
    zero = transcript.time_at(0) if transcript.size else 0
    marks = [*stages_of(transcript.read(0, transcript.size), 0, board.manifest.stages)]
    end = transcript.size if told.position is None else min(told.position, transcript.size)
    marks.append(Mark(end, "fail", flakes.cause_of(error)))
    return Span(transcript, 0, transcript.size, zero, None, tuple(marks))
