"""pytest: options, fixtures and markers. What they do is done elsewhere."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Generator, Iterator
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hil.board.selection import available
from hil.errors import ConfigurationError, HilError
from hil.history.identity import stable_test
from hil.plugin import faults, flakes, journal, labels, neighbours, options
from hil.plugin.page import SEEN, Pages, Seen
from hil.plugin.session import SESSION, BoardSelection, Session, choice, is_one
from hil.text import printable, printable_line, storable, storable_data

if TYPE_CHECKING:  # at run time only where a board is used: a collection must stay quick
    from hil.board.board import Board
    from hil.board.stages import BootReport
    from hil.console import Console
    from hil.guest import Guest
    from hil.measure import Measure
    from hil.measure.soak_result import Soak
    from hil.wasm import Module, Runner, Samples

MARKERS = {
    "board": "runs on whatever board was chosen with --board",
    "hardware": "needs a real board; an error on an emulated one",
    "emulator": "needs QEMU's powers; an error on a real board",
    "timing": "judges times, in virtual time where the board can (see --clock); its figures are in the report",
    "soak": "runs long",
    "destructive": "may leave the board unusable; the next test gets a fresh one",
}


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    if pluginmanager.is_blocked("terminal"):  # then its options are missing, and labgrid's plugin reads this one
        parser.addoption("--verbose", action="count", default=0, help=argparse.SUPPRESS)
    group = parser.getgroup("hil", "hardware in the loop")
    group.addoption(
        "--board",
        action="append",
        metavar="NAME",
        help="board to test on: a name in boards/, a path, place:NAME of a lab, or +TAG=VALUE (repeatable)",
    )
    group.addoption(
        "--place-wait",
        type=float,
        default=600.0,
        metavar="SECONDS",
        help="how long to wait for a place of a lab; 0 for not at all (600)",
    )
    group.addoption("--image", metavar="NAME", help="image to boot instead of the board's own: a name in images/")
    group.addoption(
        "--fresh",
        choices=("test", "module", "session"),
        help="a fresh board for each test, each module, or once: restored from a snapshot where it can be, else "
        "booted; by default for each test where it is restored, else once (a spoilt board is always made fresh)",
    )
    group.addoption("--no-snapshots", action="store_true", help="boot emulated boards instead of restoring them")
    group.addoption(
        "--clock",
        choices=("auto", "real", "virtual"),
        default="auto",
        help="auto (the default): on emulated boards tests that judge time (marker `timing`, fixture `measure`) run in "
        "virtual time, in which figures repeat to the bit, and all others in real time; virtual: all in virtual time",
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
    group.addoption(
        "--transcripts", type=Path, metavar="DIR", help="where transcripts go instead of reports/transcripts"
    )
    group.addoption(
        "--baselines",
        type=Path,
        metavar="DIR",
        help="where the report's figures find their baselines, see `hil baseline`",
    )
    group.addoption("--bounds", type=Path, metavar="FILE", help="bounds file instead of boards/NAME.bounds.toml")
    group.addoption(
        "--keep-going-on-dead-board",
        action="store_true",
        help="try to boot a dead board again for every test instead of failing the rest at once",
    )
    flakes.add_options(group)
    faults.add_options(group)
    journal.add_options(group)
    group.addoption(
        "--soak-deployments", type=int, default=200, metavar="N", help="deployments of a soak, at least 20 (200)"
    )
    group.addoption("--soak-hours", type=float, metavar="H", help="length of a soak instead of its deployments")
    group.addoption("--soak-boots", type=int, default=3, metavar="N", help="cold boots of the soak of boots (3)")
    group.addoption("--hil-boards", action="store_true", help="list boards and images, and exit")
    labels.add_options(parser)
    parser.addini("hil_board", "the board to test on when --board is not given", default="")


@pytest.hookimpl(tryfirst=True)  # before other plugins read and make what is checked here
def pytest_configure(config: pytest.Config) -> None:
    option = config.option
    options.make_paths_absolute(config)
    if not option.place_wait >= 0:
        raise pytest.UsageError(f"--place-wait {option.place_wait:g}: give 0 or more")
    if option.seeds is not None and option.clock != "virtual":
        raise pytest.UsageError("--seeds is for tests in virtual time: add --clock virtual")
    if option.seed != 1 and option.clock == "real":
        raise pytest.UsageError("--seed is for tests in virtual time: leave --clock real out")
    if (
        option.soak_deployments < 20
        or option.soak_boots < 1
        or (option.soak_hours is not None and option.soak_hours <= 0)
    ):
        raise pytest.UsageError("a soak has at least 20 deployments, or more than 0 hours, or at least 1 boot")
    if option.seeds is not None and option.seeds < 1:
        raise pytest.UsageError(f"--seeds {option.seeds}: give at least 1")
    if option.seeds is not None and option.seed != 1:
        raise pytest.UsageError("--seeds runs the seeds from 1 on: leave --seed out")
    if not hasattr(config, "workerinput"):
        chosen = options.selection(config)
        options.check(config, chosen)
        options.check_labgrid_environment(config, chosen)
        _forget_results(option.results)
        if option.seeds:
            _share_out(config)
    for name, text in MARKERS.items():
        config.addinivalue_line("markers", f"{name}: {text}")
    session = config.stash[SESSION] = Session(config)
    labels.register(config, session.run)
    flakes.register(config, session.directory)
    faults.register(config, session)
    journal.register(config, session)
    neighbours.resolve(config)
    if session.results:
        config.pluginmanager.register(Pages(session), "hil-pages")


def _forget_results(path: Path | None) -> None:
    """One run a file; what is no results file is nobody's to remove."""
    if path is None or not path.exists():
        return
    from hil.measure import results

    if not results.is_ours(path):
        raise pytest.UsageError(f"--results {path}: it is there and no results file; choose another name")
    path.unlink()


def _share_out(config: pytest.Config) -> None:
    """Give each processor seeds of its own, by xdist where it is installed, unless -n says how many."""
    option = config.option
    if getattr(option, "numprocesses", 0) is None and not (option.collectonly or options.of_others(config, "usepdb")):
        workers = min(os.cpu_count() or 1, option.seeds)
        option.numprocesses, option.tx, option.dist = workers, ["popen"] * workers, "load"


def pytest_cmdline_main(config: pytest.Config) -> int | None:
    if not config.option.hil_boards:
        journal.spare_others(config)  # before Allure's plugin cleans
        return None
    from hil.image import manifest

    default = options.selection(config).names
    for name in available():
        print(f"board  {name}{'  (default)' if name in default else ''}")
    for name in manifest.available():
        try:
            title = manifest.find(name).title
        except HilError as error:
            title = error.message
        print(f"image  {name}  {title}")
    return 0


def pytest_report_header(config: pytest.Config) -> list[str]:
    image, session = config.option.image, config.stash[SESSION]
    told = f"hil: board {', '.join(session.selection.names) or 'none'}" + (f", image {image}" if image else "")
    if any(chosen.place for chosen in session.chosen):
        told += f", coordinator {session.coordinator}"
    if session.selection.names:
        told += f", chosen by {session.selection.source}"
    return [told, *neighbours.report_header(config)]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "hil_session_board" in metafunc.fixturenames:
        chosen = metafunc.config.stash[SESSION].chosen
        metafunc.parametrize("hil_session_board", chosen, indirect=True, scope="session", ids=map(str, chosen))


@pytest.fixture(scope="session")
def hil_session_board(request: pytest.FixtureRequest) -> Iterator[BoardSelection]:
    """The choice of a board for the whole session, which may need several for it; tests use `board`."""
    session = request.config.stash[SESSION]
    try:
        chosen = request.param if hasattr(request, "param") else session.only()
    except ConfigurationError as error:
        flakes.refuse(error)
    yield chosen
    for incarnation in session.incarnations(chosen):
        session.close(incarnation)


@pytest.fixture
def board(request: pytest.FixtureRequest, hil_session_board: BoardSelection) -> Iterator[Board]:
    """The board, booted to a shell and as fresh as --fresh asks."""
    session: Session = request.config.stash[SESSION]
    item: Any = request.node
    item.stash[flakes.CHOICE] = hil_session_board
    chosen = session.in_clock(hil_session_board, item)
    try:
        board = session.board(chosen)
    except HilError as error:
        flakes.refuse(error)
    item.stash[flakes.WHERE] = board.where, board.incarnation
    filing = request.config.stash.get(labels.FILING, None)
    if filing is not None:
        filing.on(item, chosen, board)
    if item.get_closest_marker("hardware") and board.emulated:
        told = f"this test needs a real board, {board.name} is emulated"
        flakes.refuse(ConfigurationError(told, hint="choose another with --board"))
    if item.get_closest_marker("emulator") and not board.emulated:
        told = f"this test needs an emulated board, {board.name} is real"
        flakes.refuse(ConfigurationError(told, hint="choose one with --board"))
    try:
        board = session.make_ready(chosen, item)
    except HilError as error:
        flakes.refuse(error)
    from hil.measure.checking import recorded

    if board.where != item.stash[flakes.WHERE][0]:  # at the place of before it did not come up
        item.stash[flakes.WHERE] = board.where, board.incarnation
        if filing is not None:
            filing.on(item, chosen, board)
    board.console.skip()
    item.stash[flakes.BOARD] = board
    seen = item.stash[SEEN] = Seen(board, board.console, board.console.position)
    item.stash[flakes.START] = seen.start
    if filing is not None:
        filing.ran(seen.executions)
    if board.place is not None:
        item.user_properties.append(("place", board.place.name))
    item.user_properties.append(("board", board.name))
    item.user_properties.append(("image", board.manifest.name))
    item.user_properties.append(("image_sha256", session.digests[board]))
    item.user_properties.append(("transcript", str(board.console.transcript.path)))
    with recorded(session._record):  # also what a test without `measure` checks, of pins for example
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
    """labgrid's power driver of the board; the next test gets a fresh one."""
    yield board.power
    board.dirty = "a test had its hand on the power"


@pytest.fixture
def guest(request: pytest.FixtureRequest, board: Board) -> Guest:
    """The guest Linux: its shell and files."""
    return request.config.stash[SESSION].guest(board)


@pytest.fixture
def hil_runner(request: pytest.FixtureRequest, guest: Guest) -> Runner:
    """The runner, also of an image that has no agent for it; tests use `runner`."""
    from hil.wasm import Runner

    return Runner(guest, record=request.node.stash[SEEN].executions.append)


@pytest.fixture
def runner(hil_runner: Runner) -> Runner:
    """The runner in the partition: `runner.run(module, *arguments)`."""
    try:
        _ = hil_runner.facts
    except ConfigurationError as error:
        flakes.refuse(error)
    return hil_runner


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
    chosen = choice(node)
    measure.test = stable_test(node.nodeid, str(chosen), board.name, flakes.repetition_of(node))
    node.stash[SEEN].measure = measure
    from hil.measure.checking import recorded

    with recorded(measure.checked):
        yield measure
    measure.flush()


@pytest.fixture
def soak(request: pytest.FixtureRequest, guest: Guest, measure: Measure) -> Callable[..., Soak]:
    """Deploys a module over and over on one boot, as long as --soak-deployments or --soak-hours say."""
    option, executions = request.config.option, request.node.stash[SEEN].executions

    def deploy(module: Module, *arguments: str, **options: Any) -> Soak:
        from hil.measure.soak import soak as begin
        from hil.wasm import Runner

        # what went well is in the series; thousands of records would bury the rest
        runner = Runner(guest, record=lambda run: None if run.good else executions.append(run))
        if not {"deployments", "hours"} & set(options):
            hours = option.soak_hours
            options |= {"hours": hours, "deployments": option.soak_deployments if hours is None else None}
        return begin(runner, module, *arguments, test=measure.test, **options)

    return deploy


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep the tests of a board in one worker where it cannot be shared out: see `is_one`."""
    session = config.stash[SESSION]
    if any(chosen.any for chosen in session.chosen) and config.getvalue("dist") == "load":
        # a worker that waits for a place leaves its tests to those that have one
        return import_module("xdist.scheduler").WorkStealingScheduling(config, log)
    if not is_one(config, session.names):
        return None
    names = [str(chosen) for chosen in session.chosen]

    def machine(nodeid: str) -> str:
        return max((name for name in names if name in nodeid.rpartition("[")[2]), key=len, default=nodeid)

    scheduler = import_module("xdist.scheduler").LoadScopeScheduling(config, log)
    scheduler._split_scope = machine  # its own `loadgroup` does nothing with pytest 9
    return scheduler


@pytest.hookimpl(tryfirst=True)
def pytest_itemcollected(item: pytest.Item) -> None:
    """Give an item what other plugins count on: a node id that can be stored, and names of fixtures."""
    if (nodeid := storable(item.nodeid)) != item.nodeid:  # of a directory whose name is not UTF-8
        _set_nodeid(item, nodeid)
        path, line, name = item.location
        vars(item)["location"] = (storable(path), line, storable(name))
    if not hasattr(item, "fixturenames"):  # labgrid's plugin looks there
        vars(item)["fixturenames"] = []


def _set_nodeid(item: Any, nodeid: str) -> None:
    """Replace a node id, for which pytest has no public way; since 9.1 it is not a string."""
    if hasattr(item, "_id"):
        item._id = type(item.id).parse(nodeid)
    else:
        item._nodeid = nodeid


@pytest.hookimpl(tryfirst=True)
def pytest_warning_recorded(warning_message: Any) -> None:
    """Let a warning with text that is not UTF-8 go from a worker of xdist to the controller."""
    message = warning_message.message
    if isinstance(message, Warning) and str(message) != storable(str(message)):
        message.args = storable_data(message.args)


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable(report: object) -> Generator[None, Any, Any]:
    """Let a report with text that is not UTF-8 go from a worker of xdist to the controller."""
    return storable_data((yield))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Have what a test has measured recorded with the test, not with its clean-up."""
    try:
        return (yield)
    finally:
        seen = item.stash.get(SEEN, None)
        if seen is not None and seen.measure is not None:
            seen.measure.flush()


def _escape(report: pytest.TestReport) -> None:
    """Let nothing that a board sent act on a terminal out of the message of a failure."""
    for trace, crash, _ in getattr(report.longrepr, "chain", ()):
        for entry in trace.reprentries:
            entry.lines = [printable(line) for line in entry.lines]
        if crash is not None:
            crash.message = printable(crash.message)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _escape(report)
    seen = item.stash.get(SEEN, None)
    if seen is None or call.when != "call":
        return report
    for transcript, start in seen.spans() if report.failed else ():
        transcript.refresh()
        place = f"{transcript.path}:{transcript.line_number(start)}"
        where = f"{place} to line {transcript.line_number(transcript.size)}"
        report.user_properties.append(("transcript", place))
        lines = transcript.tail(20, start=start) or ("(nothing came during this test)",)
        report.sections.append((printable_line(f"console, {where}"), "\n".join(map(printable_line, lines))))
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    if not session.config.stash[SESSION].results or session.config.option.collectonly:
        return (yield)
    from hil.report.evidence import Steps

    with Steps():
        return (yield)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Let a worker of xdist be one run with its controller, with one results file."""
    session = node.config.stash[SESSION]
    node.workerinput["hil_run"], node.workerinput["hil_results"] = session.run, str(session.results_file.absolute())


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Take over what a worker of xdist has measured."""
    output = getattr(node, "workeroutput", {})
    ours, told = node.config.stash[SESSION], output.get("hil_results", [])
    ours.links += output.get("hil_links", [])
    ours.places = list(dict.fromkeys([*ours.places, *output.get("hil_places", [])]))
    ours.result_files = list(dict.fromkeys([*ours.result_files, *map(Path, told)]))  # --results is one file for all


def pytest_sessionfinish(session: pytest.Session) -> None:
    ours = session.config.stash[SESSION]
    output: Any = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["hil_results"] = [str(path.absolute()) for path in ours.result_files]
        output["hil_links"] = ours.links
        output["hil_places"] = ours.places
        return
    for name, told in (("places", ours.places), ("links", ours.links)):
        if told and ours.results and ours.results.is_dir():
            from hil.report import evidence

            try:
                evidence.add_environment(ours.results, name, "; ".join(map(str.strip, told)))
            except OSError as error:
                ours.note_unwritten(error)
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
            terminalreporter.write_line(printable_line(line))
    for line in session.unwritten:
        terminalreporter.write_line(printable_line(line), red=True)
    for place in session.places:
        terminalreporter.write_line(printable_line(f"place: {place}"))
    for line in session.links:
        terminalreporter.write_line(printable_line(line))
    if session.directory.is_dir():
        terminalreporter.write_line(f"transcripts: {session.shown(session.directory)}")
