"""The boards of a test run: opened when first used, booted as fresh as asked, and what was measured on them."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from hil.board.selection import bounds_file, find, is_place, name_of
from hil.errors import ConfigurationError, HilError, InfrastructureError
from hil.plugin import options
from hil.plugin.flakes import BOOTS, CHOICE
from hil.plugin.labels import FILING
from hil.text import printable_line

if TYPE_CHECKING:  # at run time only where a board is used: a collection must stay quick
    from hil.board.board import Board
    from hil.guest import Guest
    from hil.image.store import Image
    from hil.measure import Check, Measure, Series


SESSION = pytest.StashKey["Session"]()


@dataclass(frozen=True)
class BoardSelection:
    """A board to test on, by name or path, and its seed where it runs in virtual time."""

    name: str
    seed: int | None = None
    one_of: int = 1

    @property
    def place(self) -> bool:
        """Whether it is a place of a lab, `place:NAME` or `+TAG=VALUE`."""
        return is_place(self.name)

    @property
    def any(self) -> bool:
        """Whether one place is as good as another: a worker may have one of its own, and a test another one."""
        return self.name.startswith("+")

    def __str__(self) -> str:
        return self.called(self.name if self.place else name_of(self.name))

    def called(self, board: str) -> str:
        """What stands for it among the parameters of a test, where its board has that name."""
        return (board or "no-board") + (f"-seed{self.seed}" if self.one_of > 1 else "")

    @property
    def expected(self) -> str:
        """The same with its board's own name; empty for a place, whose board is not known before it is had."""
        return "" if self.place else str(self)


def judges_time(item: pytest.Item) -> bool:
    """Check whether `--clock auto` runs `item` in virtual time, where its board can.

    It does for tests with the marker `timing` and tests that use the fixture `measure`, themselves or through another
    fixture; not for those that use `soak`, which judge wear. Tests that use `faults` stay in real time in any case: a
    line in lock step cannot go through the fault proxy.
    """
    fixtures = getattr(item, "fixturenames", ())
    measures = "measure" in fixtures and "soak" not in fixtures
    return "faults" not in fixtures and (measures or item.get_closest_marker("timing") is not None)


def choice(item: pytest.Item) -> BoardSelection | None:
    """Return the board that `item` runs on, in the clock that it runs in.

    None for a test without a board, and for one that requests its board at run time and has not done so yet.
    """
    callspec = getattr(item, "callspec", None)
    chosen = callspec.params.get("hil_session_board") if callspec else None
    if not isinstance(chosen, BoardSelection):
        chosen = item.stash.get(CHOICE, None)
    return None if chosen is None else item.config.stash[SESSION].in_clock(chosen, item)


def is_one(config: pytest.Config, names: list[str]) -> bool:
    """Whether each board is for one worker: real ones are, and in virtual time those whose state outlives a test."""
    from hil.board import boardfile

    option = config.option
    if option.clock == "virtual" and (option.seeds or option.no_snapshots or option.fresh in ("module", "session")):
        return True
    try:
        return not all(boardfile.emulated(find(name)) for name in names)
    except HilError:  # the tests will tell
        return False


class Session:
    """The boards of a test run, opened when first used."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.selection = options.selection(config)
        self.names = options.absolute_boards(config, self.selection.names)
        option = config.option
        seeds = range(1, option.seeds + 1) if option.seeds else [option.seed]
        self.chosen = [
            BoardSelection(name, seed if option.clock == "virtual" else None, len(seeds))
            for name in self.names or [""]
            for seed in seeds
        ]
        given: dict[str, str] = getattr(config, "workerinput", {})  # by the controller of xdist, in its workers
        self.run = given.get("hil_run") or uuid4().hex
        worker = os.environ.get("PYTEST_XDIST_WORKER", "")
        own = time.strftime(f"%Y%m%d-%H%M%S{worker}-{os.getpid()}")  # others may have begun in the same second
        self.directory: Path = (option.transcripts or config.rootpath / "reports" / "transcripts") / own
        self.results_file: Path = option.results or Path(given.get("hil_results") or self.directory / "results.jsonl")
        self.result_files: list[Path] = []  # of the workers, where there are some
        self.pooled: list[tuple[Series, tuple[Check, ...]]] = []
        self.not_pooled = ""
        self.facts: dict[str, str] = {}
        self._figures: list[tuple[Series, tuple[Check, ...]]] = []  # that wait for their test's page in the report
        self._side_by_side: list[Sequence[Series]] = []
        self.digests: dict[Board, str] = {}  # of the images that boards have booted
        self.links: list[str] = []  # as measured, for a terminal; of the workers, where there are some
        self.places: list[str] = []  # that were used, for a report; of the workers, where there are some
        self.clocks: dict[str, str] = {}  # of the boards that came up, in the order in which they did
        self._virtual: dict[str, bool] = {}
        self.unwritten: list[str] = []  # what the disk did not take, for a terminal
        self._boards: dict[BoardSelection, Board] = {}
        self._given_up: dict[BoardSelection, HilError] = {}
        self._avoid: dict[str, str] = {}  # places that have failed, and why
        self._guests: dict[Board, Guest] = {}
        self._measures: dict[Board, Measure] = {}
        self._dead: dict[str, HilError] = {}  # by `Board.incarnation`
        self._module: dict[Board, object] = {}

    @property
    def results(self) -> Path | None:
        """Allure's directory, where it was asked for."""
        directory = getattr(self.config.option, "allure_report_dir", None)
        return Path(directory) if directory else None

    def shown(self, path: Path) -> str:
        """Return `path` for a terminal: relative to where pytest was started, wherever a test may have gone."""
        return os.path.relpath(path, self.config.invocation_params.dir)

    @property
    def coordinator(self) -> str:
        """The address of labgrid's coordinator, for boards that do not name another."""
        from hil.places.selector import address

        return address(getattr(self.config.option, "lg_coordinator", None))

    def in_clock(self, chosen: BoardSelection, item: pytest.Item) -> BoardSelection:
        """Return `chosen` in the clock that `item` runs in, as `--clock` says."""
        option = self.config.option
        if option.clock != "auto" or not judges_time(item) or not self._can_be_virtual(chosen, item):
            return chosen
        return replace(chosen, seed=option.seed)

    def _can_be_virtual(self, chosen: BoardSelection, item: pytest.Item) -> bool:
        """Check whether the board can run in virtual time: it is emulated, and this host has the compiler for it."""
        if chosen.name not in self._virtual:
            from hil.board import boardfile
            from hil.qemu import virtual_time as exact

            try:
                emulated = not chosen.place and boardfile.emulated(boardfile.find(chosen.name))
            except HilError:  # the first test on the board raises it
                emulated = False
            self._virtual[chosen.name] = emulated and exact.compiler() is not None
            if emulated and not self._virtual[chosen.name]:
                told = f"tests that judge time run in real time on {chosen}: there is no C compiler"
                item.warn(pytest.PytestWarning(f"{told} (apt-get install gcc libc6-dev)"))
        return self._virtual[chosen.name]

    def incarnations(self, chosen: BoardSelection) -> list[BoardSelection]:
        """Return what `in_clock` makes of `chosen`: with `--clock auto` the board in real and in virtual time."""
        if self.config.option.clock != "auto":
            return [chosen]
        return [replace(chosen, seed=None), replace(chosen, seed=self.config.option.seed)]

    def board(self, chosen: BoardSelection) -> Board:
        """The board of `chosen`: opened when first asked for, and at another place where it has lost its own.

        Raises what opening it raises, then and for each test that comes after.
        """
        board = self._boards.get(chosen)
        if board is not None and board.place is not None and board.lost:
            self._leave(chosen, board.place.error())
            board = None
        elif board is not None and board.place is not None and board.cut_off and not board.place.borrowed:
            # who acquires the place anew gets a new serial server of the exporter's
            self._avoid_place(board.where, f"its serial line has ended in {board.name}")
            self.close(chosen)
            board = None
        if chosen in self._given_up and not self.config.option.keep_going_on_dead_board:
            raise self._given_up[chosen]
        if board is None:
            try:
                with self.uncaptured():  # there may be something to wait for
                    board = self._boards[chosen] = self._open(chosen)
            except HilError as error:
                self._given_up[chosen] = error
                self.config.stash[BOOTS].give_up(str(chosen))
                raise
            if board.place is not None:
                self.places = list(dict.fromkeys([*self.places, str(board.place)]))
        return board

    def only(self) -> BoardSelection:
        """Return the one board that is chosen, for a test that requests it at run time, in a `unittest.TestCase` too.

        Raises `ConfigurationError` where such a test cannot run on all boards, or cannot have the board for itself.
        """
        if len(self.chosen) > 1:
            names = ", ".join(map(str, self.chosen))
            raise ConfigurationError(
                f"the test requests its board at run time and can run on one only; chosen are {names}",
                hint="name a fixture of the board among the arguments of a test function, or choose one board",
            )
        if hasattr(self.config, "workerinput") and is_one(self.config, self.names):
            raise ConfigurationError(
                "the test requests its board at run time, and the board is for one worker of pytest-xdist alone",
                hint="name a fixture of the board among the arguments of a test function, or leave -n out",
            )
        return self.chosen[0]

    def opened(self, chosen: BoardSelection) -> Board | None:
        """The board of `chosen` where it is open."""
        return self._boards.get(chosen)

    def _avoid_place(self, name: str, why: str) -> None:
        """Note that a place has failed, after those that failed before."""
        self._avoid.pop(name, None)
        self._avoid[name] = why

    def _leave(self, chosen: BoardSelection, error: HilError) -> None:
        """Give up a place that has failed with `error`: for another one, where any will do."""
        board = self._boards[chosen]
        self._avoid_place(board.where, error.message)
        if chosen.any:
            self._tell(f"place {board.where} is left: {error.brief}")
        else:
            self._given_up[chosen] = error
            self.config.stash[BOOTS].give_up(board.where)
        self.close(chosen)

    def close(self, chosen: BoardSelection) -> None:
        """Close the board of `chosen`, where it is open."""
        board = self._boards.pop(chosen, None)
        if board is not None:
            self._guests.pop(board, None)
            self._measures.pop(board, None)
            self._module.pop(board, None)
            board.close()

    def _open(self, chosen: BoardSelection) -> Board:
        """Open the board of `chosen`; where any place will do, at the first one whose resources can be used."""
        from hil.places.selector import PlaceFailed

        failed: dict[str, InfrastructureError] = {}
        while True:
            try:
                return self._open_board(chosen)
            except PlaceFailed as error:
                if not chosen.any:
                    raise
                if error.place in failed:
                    raise _all_failed(chosen, failed) from error
                failed[error.place] = error
                self._avoid_place(error.place, error.message)

    def _open_board(self, chosen: BoardSelection) -> Board:
        from hil.board.board import Board
        from hil.places.selector import Terms

        if not chosen.name:
            raise ConfigurationError("no board was chosen", hint="pass --board NAME; `pytest --hil-boards` lists them")
        option, boots = self.config.option, self.config.stash[BOOTS]
        terms = Terms(
            wait=option.place_wait,
            coordinator=getattr(option, "lg_coordinator", None),
            tell=self._tell,
            avoid=self._avoid,
        )

        def account(kind: str, error: HilError | None) -> None:
            if error:
                boots.failed(board.where, error, kind, incarnation=board.incarnation)
            else:
                boots.good(board.where, kind, incarnation=board.incarnation)

        board = Board(
            chosen.name,
            image=option.image,
            transcripts=self.directory,
            seed=chosen.seed,
            snapshots=not option.no_snapshots,
            health_check=self._check_health,
            account=account,
            terms=terms,
        )
        return board

    def _tell(self, message: str) -> None:
        """Say on standard error what is waited for, in a worker of xdist who says it."""
        worker = os.environ.get("PYTEST_XDIST_WORKER")
        text = printable_line(message)
        print(f"hil{f' {worker}' if worker else ''}: {text}", file=sys.stderr, flush=True)

    def _check_health(self, board: Board) -> None:
        from hil.wasm.health_check import check_health

        check_health(self.guest(board))

    def guest(self, board: Board) -> Guest:
        """The guest of `board`; one for all tests, so that a shell is opened once a boot."""
        from hil.guest import Guest

        if board not in self._guests:
            self._guests[board] = Guest(board)
        return self._guests[board]

    def measure(self, board: Board) -> Measure:
        """What takes series on `board`; one for all tests, so that clocks and probe are made ready once a boot."""
        from hil.measure import Measure

        if board not in self._measures:
            bounds = self.config.option.bounds or bounds_file(board.path)
            self._measures[board] = Measure(bounds, self._record, self._compared)
        return self._measures[board]

    def _record(self, series: Series, checks: tuple[Check, ...]) -> None:
        from hil.measure import results

        results.write(self.results_file, series, checks, facts={"run": self.run, **self.facts})
        if self.results_file not in self.result_files:
            self.result_files.append(self.results_file)
        if self.results:
            self._figures.append((series, checks))
        if (filing := self.config.stash.get(FILING, None)) is not None:
            filing.judged(checks)

    def make_ready(self, chosen: BoardSelection, item: pytest.Item) -> Board:
        """Bring the board of `chosen` up as fresh as --fresh asks, and check its health. Raises what a boot raises.

        Where any place will do, one that the infrastructure fails is left for another one, until each usable place
        has failed: then the error says so of each.
        """
        failed: dict[str, InfrastructureError] = {}  # by place
        while True:
            board = self.board(chosen)
            if board.where in failed:
                raise _all_failed(chosen, failed)
            if self._is_ready(board, item):
                return board
            if self.board(chosen) is not board:  # the check has shown that its line has ended
                continue
            self._switch_off_others(chosen)
            try:
                self._bring_up(board, item)
                return board
            except InfrastructureError as error:
                if not chosen.any:
                    raise
                failed[board.where] = error
                self._leave(chosen, error)

    def _switch_off_others(self, chosen: BoardSelection) -> None:
        """Switch off the board in its other clock, where its next test gets a fresh one anyway."""
        for other in self.incarnations(chosen):
            board = self._boards.get(other)
            if other != chosen and board is not None and self._fresh(board) == "test" and board.report is not None:
                board.off()

    def _fresh(self, board: Board) -> str:
        return self.config.option.fresh or ("session" if board.unsaved else "test")

    def _is_ready(self, board: Board, item: pytest.Item) -> bool:
        """Check that the board is up, as fresh as --fresh asks, and answers."""
        fresh = self._fresh(board)
        module = item.getparent(pytest.Module)
        stale = fresh == "test" or (fresh == "module" and self._module.get(board) is not module)
        self._module[board] = module
        return board.up and not stale and self._healthy(board)

    def _bring_up(self, board: Board, item: pytest.Item) -> None:
        option, boots = self.config.option, self.config.stash[BOOTS]
        dead = self._dead.get(board.incarnation)
        if dead and boots.dead(board.where, incarnation=board.incarnation) and not option.keep_going_on_dead_board:
            raise type(dead)(
                f"board {board.where} is dead since an earlier test: {dead.message}",
                hint=dead.hint or "see that test; --keep-going-on-dead-board tries again for each",
                stage=dead.stage,
                evidence=dead.evidence,
                cause=dead.cause,
            )
        told = board.unsaved
        try:
            with self.uncaptured():  # the first use builds the image: let the progress be seen
                image = board.image()
            board.fresh()
        except HilError as error:
            self._dead[board.incarnation] = error
            raise
        self._dead.pop(board.incarnation, None)
        if board.unsaved != told:
            item.warn(pytest.PytestWarning(f"{board.name} is booted, not restored: no snapshot: {board.unsaved}"))
        self._note(board, image)

    def _note_link(self, board: Board) -> None:
        """Measure the link to a board that has a shell: once for each line, see `hil.measure.link`."""
        from hil.measure import link

        if board.virtual is not None:  # no line delays it; what is known of the same board in real time stays
            return
        guest = self.guest(board)
        found = link.of(guest) if guest.open and board.line.tap is None else None
        self.facts = {name: fact for name, fact in self.facts.items() if not name.startswith("link")}
        if found is None:
            return
        self.facts |= found.facts
        told = [f"link of {board.where}: {found}", *(f"  hint: {hint}" for hint in found.hints)]
        if told[0] not in self.links:
            self.links += told

    def _healthy(self, board: Board) -> bool:
        try:
            board.check_health()
        except HilError as error:
            board.dirty = f"it does not answer as it should: {error.message}"
        return board.up

    def _compared(self, several: Sequence[Series]) -> None:
        if self.results:
            self._side_by_side.append(several)

    def note_unwritten(self, error: OSError) -> None:
        """Keep for the summary that a file was not written: no reason for a test to fail."""
        text = f"not written: {error.filename or 'the report'}: {error.strerror}"
        if text not in self.unwritten:
            self.unwritten.append(text)

    def take_figures(self) -> tuple[list[tuple[Series, tuple[Check, ...]]], list[Sequence[Series]]]:
        """What was recorded since the last call with what became of its bounds, and what belongs side by side."""
        taken, compared = self._figures, self._side_by_side
        self._figures, self._side_by_side = [], []
        return taken, compared

    def judge_pooled(self) -> None:
        """Hold the figures of all seeds together against the bounds, where there are some for them."""
        from hil.measure import Bounds, results
        from hil.measure.decision import decide
        from hil.measure.seeds import pool

        every = [one for path in self.result_files for one in results.read(path)]
        for series in pool(every):
            path = self._bounds_file(series.provenance["board"])
            bounds = Bounds(path).of(series) if path.exists() else ()
            self.pooled.append((series, tuple(decide(bound, series, series.confidence) for bound in bounds)))

    def _bounds_file(self, board: str) -> Path:
        """Return the bounds file of the board of that name. Raises `ConfigurationError` where there is no board."""
        if given := self.config.option.bounds:
            return Path(given)
        named = {name_of(name): name for name in self.names}
        return bounds_file(find(named.get(board, board)))

    def _unmatched(self, measured: Sequence[Series]) -> Iterator[str]:
        """Yield the rows of bounds files that look as if they were for what was measured, but match nothing."""
        from hil.measure import Bounds
        from hil.measure.unmatched import unmatched

        for board in sorted({one.provenance.get("board", "") for one in measured} - {""}):
            try:
                if (path := self._bounds_file(board)).exists():
                    series = [one for one in measured if one.provenance.get("board") == board]
                    yield from map(str, unmatched(Bounds(path), series))
            except HilError:  # of a file that is wrong: the tests that needed it have failed of it
                continue

    @property
    def pooled_failed(self) -> bool:
        """Whether a bound that each seed kept does not hold for all together; too few samples are told, no more."""
        return bool(self.not_pooled) or any(check.outcome == "fail" for _, checks in self.pooled for check in checks)

    def told(self) -> Iterator[str]:
        """What was measured and what became of it, for a terminal."""
        from hil.measure import results

        loaded = []
        for path in self.result_files:
            try:
                loaded.append(results.load(path))
            except HilError as error:  # the summary is still to name the tests that failed
                yield f"results: {error.message}"
        for record in (record for one in loaded for record in one.records if record.checks):
            yield str(record.series)
            yield from (f"  {check.text}" for check in record.checks)
        for series, checks in self.pooled:
            yield f"all seeds: {series}"
            yield from (f"  {check}" for check in checks)
        if self.not_pooled:
            yield f"all seeds: not judged: {self.not_pooled}"
        every = [series for one in loaded for series in one.series]
        if rows := list(self._unmatched(every)):
            yield "bounds that match nothing (`hil bounds check BOARD` finds more):"
            yield from (f"  {row}" for row in rows)
        states: dict[object, str] = {}  # of several exact boards of one seed the last one's
        for one in every:
            if state := one.provenance.get("exactness"):
                states[(one.provenance["board"], one.provenance.get("seed")) if one.clock.exact else state] = state
        yield from states.values()
        names = " ".join(self.shown(path) for path in self.result_files)
        yield f"results: {names}, {len(every)} series, digest {results.digest(every)}"

    def uncaptured(self) -> AbstractContextManager[None]:
        capture: Any = self.config.pluginmanager.getplugin("capturemanager")
        return capture.global_and_fixture_disabled() if capture else nullcontext()

    def _note(self, board: Board, image: Image) -> None:
        self.digests[board] = image.digest
        self.facts |= {
            "board": board.name,
            "image": board.manifest.title,
            "image sha256": image.digest,
            "hypervisor": board.manifest.hypervisor,
        }
        self.facts["snapshots"] = f"none: {board.unsaved}" if board.unsaved else "restored from a snapshot"
        self.clocks[board.incarnation] = board.clock
        self.facts["clock"] = "; ".join(dict.fromkeys(self.clocks.values()))
        self._note_link(board)
        if board.emulated:
            self.facts |= {"QEMU": board.qemu.version, "QEMU command": " ".join(board.qemu.command)}
        if self.results:
            from hil.report import evidence

            try:
                evidence.write_environment(self.results, self.facts)
            except OSError as error:
                self.note_unwritten(error)
            report = board.report
            assert report is not None
            evidence.attach_boot(report)


def _all_failed(chosen: BoardSelection, failed: Mapping[str, InfrastructureError]) -> InfrastructureError:
    """Return the error for a test of which each usable place has failed."""
    *_, last = failed.values()
    if len(failed) == 1:
        return last
    reasons = "; ".join(f"place {name}: {error.message}" for name, error in failed.items())
    return InfrastructureError(
        f"each place for {chosen.name} has failed: {reasons}", hint=last.hint, stage=last.stage, evidence=last.evidence
    )
