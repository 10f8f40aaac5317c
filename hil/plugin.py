"""pytest: options, fixtures and markers. What they do is done elsewhere."""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hil.errors import ConfigurationError, HilError, InfrastructureError

if TYPE_CHECKING:  # at run time only where a board is used: a collection must stay quick
    from hil.board.board import Board
    from hil.board.stages import BootReport
    from hil.console import Console, Transcript
    from hil.guest import Guest
    from hil.image.store import Image
    from hil.timing import Check, Measure, Series
    from hil.wasm import Execution, Runner, Samples

MARKERS = {
    "board": "runs on whatever board was chosen with --board",
    "hardware": "needs a real board; an error on an emulated one",
    "emulator": "needs QEMU's powers; an error on a real board",
    "timing": "judges times; its figures are in the report",
    "soak": "runs long",
    "destructive": "may leave the board unusable; it is booted afresh afterwards",
}
BOOT_TRIES = 2  # of which the second only after a failure of the infrastructure
SESSION = pytest.StashKey["Session"]()
SEEN = pytest.StashKey["Seen"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("hil", "hardware in the loop")
    group.addoption(
        "--board", action="append", metavar="NAME", help="board to test on: a name in boards/ or a path (repeatable)"
    )
    group.addoption("--image", metavar="NAME", help="image to boot instead of the board's own: a name in images/")
    group.addoption(
        "--fresh",
        choices=("test", "module", "session"),
        default="session",
        help="boot the board afresh for each test, each module, or once (default; a spoilt board is always rebooted)",
    )
    group.addoption(
        "--clock",
        choices=("real", "virtual"),
        default="real",
        help="virtual: emulated boards run in virtual time, in which figures repeat to the bit",
    )
    group.addoption("--seed", type=int, default=1, metavar="K", help="seed of a board in virtual time (1)")
    group.addoption(
        "--seeds",
        type=int,
        metavar="N",
        help="run every test with the seeds 1 to N, on as many processors as there are, and pool the figures",
    )
    group.addoption(
        "--results",
        type=Path,
        metavar="FILE",
        help="results file instead of results.jsonl beside the transcripts; one that is there is replaced",
    )
    group.addoption("--bounds", type=Path, metavar="FILE", help="bounds file instead of boards/NAME.bounds.toml")
    group.addoption(
        "--keep-going-on-dead-board",
        action="store_true",
        help="try to boot a dead board again for every test instead of failing the rest at once",
    )
    group.addoption("--hil-boards", action="store_true", help="list boards and images, and exit")
    parser.addini("hil_board", "the board to test on when --board is not given", default="")


def pytest_configure(config: pytest.Config) -> None:
    option = config.option
    if option.clock != "virtual" and (option.seeds is not None or option.seed != 1):
        raise pytest.UsageError("--seed and --seeds are for boards in virtual time: add --clock virtual")
    if option.seeds is not None and option.seeds < 1:
        raise pytest.UsageError(f"--seeds {option.seeds}: give at least 1")
    if option.seeds is not None and option.seed != 1:
        raise pytest.UsageError("--seeds runs the seeds from 1 on: leave --seed out")
    if not hasattr(config, "workerinput"):
        _forget_results(option.results)
        if option.seeds:
            _share_out(config)
    for name, text in MARKERS.items():
        config.addinivalue_line("markers", f"{name}: {text}")
    config.stash[SESSION] = Session(config)


def _forget_results(path: Path | None) -> None:
    """One run a file; what is no results file is nobody's to remove."""
    if path is None or not path.exists():
        return
    from hil.timing import results

    with path.open("rb") as file:
        ours = file.read(len(results.START)) == results.START
    if not ours:
        raise pytest.UsageError(f"--results {path}: it is there and no results file; choose another name")
    path.unlink()


def _share_out(config: pytest.Config) -> None:
    """Give each processor seeds of its own, by xdist where it is installed, unless -n says how many."""
    option = config.option
    if getattr(option, "numprocesses", 0) is None and not (option.collectonly or option.usepdb):
        workers = min(os.cpu_count() or 1, option.seeds)
        option.numprocesses, option.tx, option.dist = workers, ["popen"] * workers, "load"


def pytest_cmdline_main(config: pytest.Config) -> int | None:
    if not config.option.hil_boards:
        return None
    from hil.board import boardfile
    from hil.image import manifest

    default = chosen_boards(config)
    for name in boardfile.available():
        print(f"board  {name}{'  (default)' if name in default else ''}")
    for name in manifest.available():
        try:
            title = manifest.find(name).title
        except HilError as error:
            title = error.message
        print(f"image  {name}  {title}")
    return 0


def pytest_report_header(config: pytest.Config) -> list[str]:
    image = config.option.image
    return [f"hil: board {', '.join(config.stash[SESSION].names) or 'none'}" + (f", image {image}" if image else "")]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "hil_session_board" in metafunc.fixturenames:
        chosen = metafunc.config.stash[SESSION].chosen
        metafunc.parametrize("hil_session_board", chosen, indirect=True, scope="session", ids=map(str, chosen))


@dataclass
class Seen:
    """What a test saw: its console from `start` on, the consoles of boots within the test, its executions."""

    board: Board
    console: Console
    start: int
    executions: list[Execution] = field(default_factory=list)

    def spans(self) -> Iterator[tuple[Transcript, int]]:
        """The transcripts of the test, each with the offset where its part of it begins."""
        yield self.console.transcript, self.start
        if self.board.report is not None and self.board.console is not self.console:
            yield self.board.console.transcript, 0


@dataclass(frozen=True)
class Chosen:
    """A board to test on, by name or path, and its seed where it runs in virtual time."""

    name: str
    seed: int | None = None
    one_of: int = 1

    def __str__(self) -> str:
        return (Path(self.name).stem or "no-board") + (f"-seed{self.seed}" if self.one_of > 1 else "")


def chosen_boards(config: pytest.Config) -> list[str]:
    """The names or paths of the boards to test on: by --board, else --lg-env, else the ini file's."""
    lg_env = getattr(config.option, "lg_env", None)
    ini = config.getini("hil_board")
    return config.option.board or ([lg_env] if lg_env else [ini] if ini else [])


class Session:
    """The boards of a test run, opened when first used."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.names = chosen_boards(config)
        option = config.option
        seeds = range(1, option.seeds + 1) if option.seeds else [option.seed]
        self.chosen = [
            Chosen(name, seed if option.clock == "virtual" else None, len(seeds))
            for name in self.names or [""]
            for seed in seeds
        ]
        worker = os.environ.get("PYTEST_XDIST_WORKER", "")
        self.directory = config.rootpath / "reports" / "transcripts" / time.strftime(f"%Y%m%d-%H%M%S{worker}")
        self.results_file: Path = option.results or self.directory / "results.jsonl"
        self.result_files: list[Path] = []  # of the workers, where there are some
        self.pooled: list[tuple[Series, tuple[Check, ...]]] = []
        self.not_pooled = ""
        self.facts: dict[str, str] = {}
        self._guests: dict[Board, Guest] = {}
        self._measures: dict[Board, Measure] = {}
        self._dead: dict[Board, HilError] = {}
        self._module: dict[Board, object] = {}

    @property
    def results(self) -> Path | None:
        """Allure's directory, where it was asked for."""
        directory = getattr(self.config.option, "allure_report_dir", None)
        return Path(directory) if directory else None

    def open(self, chosen: Chosen) -> Board:
        from hil.board.board import Board

        if not chosen.name:
            raise ConfigurationError("no board was chosen", hint="pass --board NAME; `pytest --hil-boards` lists them")
        return Board(chosen.name, image=self.config.option.image, transcripts=self.directory, seed=chosen.seed)

    def guest(self, board: Board) -> Guest:
        """The guest of `board`; one for all tests, so that a shell is opened once a boot."""
        from hil.guest import Guest

        if board not in self._guests:
            self._guests[board] = Guest(board)
        return self._guests[board]

    def measure(self, board: Board) -> Measure:
        """What takes series on `board`; one for all tests, so that clocks and probe are made ready once a boot."""
        from hil.timing import Measure

        if board not in self._measures:
            bounds = self.config.option.bounds or board.path.with_suffix(".bounds.toml")
            self._measures[board] = Measure(bounds, self._record, self._compared)
        return self._measures[board]

    def _record(self, series: Series, checks: tuple[Check, ...]) -> None:
        from hil.timing import results

        results.write(self.results_file, series, checks, facts=self.facts)
        if self.results_file not in self.result_files:
            self.result_files.append(self.results_file)
        if self.results:
            from hil.report import evidence

            evidence.attach_series(series, checks)

    def make_ready(self, board: Board, item: pytest.Item) -> None:
        """Bring `board` up as fresh as --fresh asks. Raises what a boot raises."""
        fresh = self.config.option.fresh
        module = item.getparent(pytest.Module)
        stale = fresh == "test" or (fresh == "module" and self._module.get(board) is not module)
        self._module[board] = module
        if board.up and not stale:
            return
        dead = self._dead.get(board)
        if dead and not self.config.option.keep_going_on_dead_board:
            raise type(dead)(
                f"board {board.name} is dead since an earlier test: {dead.message}",
                hint=dead.hint or "see that test; --keep-going-on-dead-board tries again for each",
                stage=dead.stage,
                evidence=dead.evidence,
            )
        for attempt in range(1, BOOT_TRIES + 1):
            try:
                with self._uncaptured():  # the first use builds the image: let the progress be seen
                    image = board.image()
                board.boot()
            except HilError as error:
                if attempt < BOOT_TRIES and isinstance(error, InfrastructureError):
                    continue
                self._dead[board] = error
                raise
            self._dead.pop(board, None)
            self._note(board, image)
            return

    def _compared(self, several: Sequence[Series]) -> None:
        if self.results:
            from hil.report import evidence

            evidence.attach_comparison(several)

    def judge_pooled(self) -> None:
        """Hold the figures of all seeds together against the bounds, where there are some for them."""
        from hil.board import boardfile
        from hil.timing import Bounds, results
        from hil.timing.seeds import pool

        places = {Path(name).stem: name for name in self.names}
        every = [one for path in self.result_files for one in results.read(path)]
        for series in pool(every):
            board = boardfile.find(places.get(name := series.provenance["board"], name))
            path = self.config.option.bounds or board.with_suffix(".bounds.toml")
            bounds = Bounds(path).of(series) if path.exists() else ()
            self.pooled.append((series, tuple(bound.decide(series, series.confidence) for bound in bounds)))

    @property
    def pooled_failed(self) -> bool:
        """Whether a bound that each seed kept does not hold for all together; too few samples are told, no more."""
        return bool(self.not_pooled) or any(check.outcome == "fail" for _, checks in self.pooled for check in checks)

    def told(self) -> Iterator[str]:
        """What was measured and what became of it, for a terminal."""
        from hil.timing import results

        loaded = [results.load(path) for path in self.result_files]
        for record in (record for one in loaded for record in one.records if record.checks):
            yield str(record.series)
            yield from (f"  {check.text}" for check in record.checks)
        for series, checks in self.pooled:
            yield f"all seeds: {series}"
            yield from (f"  {check}" for check in checks)
        if self.not_pooled:
            yield f"all seeds: not judged: {self.not_pooled}"
        every = [series for one in loaded for series in one.series]
        yield from sorted({one.provenance["exactness"] for one in every if "exactness" in one.provenance})
        names = " ".join(os.path.relpath(path) for path in self.result_files)
        yield f"results: {names}, {len(every)} series, digest {results.digest(every)}"

    def _uncaptured(self) -> AbstractContextManager[None]:
        capture: Any = self.config.pluginmanager.getplugin("capturemanager")
        return capture.global_and_fixture_disabled() if capture else nullcontext()

    def _note(self, board: Board, image: Image) -> None:
        self.facts |= {
            "board": board.name,
            "image": board.manifest.title,
            "image sha256": image.digest,
            "hypervisor": board.manifest.hypervisor,
        }
        self.facts["clock"] = "real time" if board.virtual is None else str(board.virtual)
        if board.emulated:
            self.facts |= {"QEMU": board.qemu.version, "QEMU command": " ".join(board.qemu.command)}
        if self.results:
            from hil.report import evidence

            evidence.write_environment(self.results, self.facts)
            report = board.report
            assert report is not None
            evidence.attach_boot(report)


def _fail(error: HilError) -> None:
    pytest.fail(f"{type(error).__name__} ({error.fault}): {error}", pytrace=False)


@pytest.fixture(scope="session")
def hil_session_board(request: pytest.FixtureRequest) -> Iterator[Board | HilError]:
    """The board of the whole session; tests use `board`."""
    try:
        board = request.config.stash[SESSION].open(request.param)
    except HilError as error:
        yield error
        return
    with board:
        yield board


@pytest.fixture
def board(request: pytest.FixtureRequest, hil_session_board: Board | HilError) -> Iterator[Board]:
    """The board, booted to a shell and as fresh as --fresh asks."""
    if isinstance(hil_session_board, HilError):
        _fail(hil_session_board)
    board: Any = hil_session_board
    item: Any = request.node
    if item.get_closest_marker("hardware") and board.emulated:
        pytest.fail(f"this test needs a real board, {board.name} is emulated: choose another with --board", False)
    if item.get_closest_marker("emulator") and not board.emulated:
        pytest.fail(f"this test needs an emulated board, {board.name} is real: choose one with --board", False)
    try:
        request.config.stash[SESSION].make_ready(board, item)
    except HilError as error:
        _fail(error)
    board.console.skip()
    item.stash[SEEN] = Seen(board, board.console, board.console.position)
    if request.config.stash[SESSION].results:
        from hil.report import evidence

        evidence.label(item.path.parent.name, board.name)
    item.user_properties.append(("board", board.name))
    item.user_properties.append(("image", board.manifest.name))
    yield board
    if item.get_closest_marker("destructive"):
        board.dirty = f"{item.name} is destructive"


@pytest.fixture
def boot(board: Board) -> BootReport:
    """What the board's last boot went through."""
    report = board.report
    assert report is not None, "the board fixture boots"
    return report


@pytest.fixture
def console(board: Board) -> Console:
    """The serial line: bytes with times."""
    return board.console


@pytest.fixture
def power(board: Board) -> Iterator[Any]:
    """labgrid's power driver of the board; the board is booted afresh for the next test."""
    yield board.power
    board.dirty = "a test had its hand on the power"


@pytest.fixture
def guest(request: pytest.FixtureRequest, board: Board) -> Guest:
    """The guest Linux: its shell and files."""
    return request.config.stash[SESSION].guest(board)


@pytest.fixture
def runner(request: pytest.FixtureRequest, guest: Guest) -> Runner:
    """The runner in the partition: `runner.run(module, *arguments)`."""
    from hil.wasm import Runner

    return Runner(guest, record=request.node.stash[SEEN].executions.append)


@pytest.fixture(scope="session")
def sample() -> Samples:
    """The sample modules: `sample("hello.wasm")`."""
    from hil.wasm import Samples

    return Samples()


@pytest.fixture
def measure(request: pytest.FixtureRequest, board: Board) -> Iterator[Measure]:
    """Takes series and checks them against the board's bounds."""
    measure = request.config.stash[SESSION].measure(board)
    node: Any = request.node
    measure.test = node.nodeid.replace(str(node.callspec.params["hil_session_board"]), board.name)
    yield measure
    measure.flush()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """In virtual time keep the tests of one board and seed in one worker: figures hang on what was done before."""
    if config.option.clock != "virtual":
        return None
    names = [str(chosen) for chosen in config.stash[SESSION].chosen]

    def machine(nodeid: str) -> str:
        return max((name for name in names if name in nodeid.rpartition("[")[2]), key=len, default=nodeid)

    scheduler = import_module("xdist.scheduler").LoadScopeScheduling(config, log)
    scheduler._split_scope = machine  # its own `loadgroup` does nothing with pytest 9
    return scheduler


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    seen = item.stash.get(SEEN, None)
    if seen is None or call.when != "call":
        return report
    results = item.config.stash[SESSION].results
    for transcript, start in seen.spans():
        transcript.refresh()
        end = transcript.size
        if report.failed:
            where = f"{transcript.path}:{transcript.line_number(start)} to line {transcript.line_number(end)}"
            lines = transcript.tail(20, start=start) or ("(nothing came during this test)",)
            report.sections.append((f"console, {where}", "\n".join(lines)))
        if results:
            from hil.report import evidence

            evidence.attach_console(transcript, start, end)
    if results:
        from hil.report import evidence

        evidence.attach_executions(seen.executions)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    if not session.config.stash[SESSION].results or session.config.option.collectonly:
        return (yield)
    from hil.report.evidence import Steps

    with Steps():
        return (yield)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Take over what a worker of xdist has measured."""
    ours, told = node.config.stash[SESSION], getattr(node, "workeroutput", {}).get("hil_results", [])
    ours.result_files = list(dict.fromkeys([*ours.result_files, *map(Path, told)]))  # --results is one file for all


def pytest_sessionfinish(session: pytest.Session) -> None:
    ours = session.config.stash[SESSION]
    output: Any = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["hil_results"] = [str(path.absolute()) for path in ours.result_files]
        return
    if session.config.option.seeds and ours.result_files:
        try:
            ours.judge_pooled()
        except HilError as error:
            ours.not_pooled = str(error)
        if session.exitstatus == pytest.ExitCode.OK and ours.pooled_failed:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    session = config.stash[SESSION]
    if session.result_files:
        terminalreporter.section("timing")
        for line in session.told():
            terminalreporter.write_line(line)
    if session.directory.is_dir():
        terminalreporter.write_line(f"transcripts: {os.path.relpath(session.directory)}")
