"""The fixtures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from hil import slow
from hil.errors import ConfigurationError, HilError
from hil.history.identity import stable_test
from hil.host import project
from hil.plugin.origins import refuse
from hil.plugin.record import record_of
from hil.plugin.repetitions import repetition_of
from hil.plugin.selection import BoardSelection
from hil.plugin.session import SESSION, Session


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "hil_session_board" in metafunc.fixturenames:
        selected = metafunc.config.stash[SESSION].selections.selected
        metafunc.parametrize("hil_session_board", selected, indirect=True, scope="session", ids=map(str, selected))


@pytest.fixture(scope="session")
def hil_session_board(request: pytest.FixtureRequest) -> Iterator[BoardSelection]:
    """The selection of a board for the whole session, which may open several for it; tests use `board`."""
    session = request.config.stash[SESSION]
    try:
        selection = request.param if hasattr(request, "param") else session.selections.only()
    except ConfigurationError as error:
        refuse(error)
    yield selection
    for incarnation in session.selections.incarnations(selection):
        session.close(incarnation)


@pytest.fixture
def board(request: pytest.FixtureRequest, hil_session_board: BoardSelection) -> Iterator[slow.Board]:
    """The board, booted to a shell and as fresh as --fresh requests."""
    session: Session = request.config.stash[SESSION]
    item: Any = request.node
    record = record_of(item)
    record.selection = hil_session_board
    selection = session.selections.in_clock(hil_session_board, item)
    item.user_properties.append(("clock", "real time" if selection.seed is None else "virtual time"))

    def note(board: slow.Board) -> None:
        record.where = board.where, board.incarnation
        if session.labels is not None:
            session.labels.set_board(item, selection, board)

    session.hooks.begin(item)
    try:
        board = session.board(selection)
        note(board)
        _check_markers(item, board)
        board = session.make_ready(selection, item)
    except HilError as error:
        refuse(error)
    if board.where != record.where[0]:  # it did not come up at its former place
        note(board)
    board.console.skip()
    record.begin_on(board)
    session.hooks.use(board)
    facts = {
        **({"place": board.place.name} if board.place else {}),
        "board": board.name,
        "image": board.manifest.name,
        "image_sha256": session.facts.digests[board],
        "transcript": str(board.console.transcript.path),
    }
    item.user_properties += facts.items()
    session.start_spares(selection, item)
    with slow.recorded(session.measurements.record):  # also of checks without `measure`, of pins for example
        yield board
    if item.get_closest_marker("destructive"):
        board.dirty = f"{item.name} is destructive"
    try:
        session.hooks.raise_failures(board)
    except HilError as error:
        refuse(error)


def _check_markers(item: pytest.Item, board: slow.Board) -> None:
    """Raise `ConfigurationError` for a marker that excludes the board."""
    kind, excluding = ("an emulated", "hardware") if board.emulated else ("a real", "emulator")
    if item.get_closest_marker(excluding):
        raise ConfigurationError(
            f"{board.name} is {kind} board, which the test's marker {excluding} excludes",
            hint="select another one with --board",
        )


@pytest.fixture
def boot(board: slow.Board) -> slow.BootReport:
    """The report of the board's last boot, with the time of each stage."""
    assert board.report is not None, "the fixture `board` boots"
    return board.report


@pytest.fixture
def console(board: slow.Board) -> slow.Console:
    """The serial line: bytes with time stamps."""
    board.touch()  # the test holds the console of this boot
    return board.console


@pytest.fixture
def power(board: slow.Board) -> Iterator[Any]:
    """labgrid's power driver of the board; the next test gets a fresh board."""
    yield board.power
    board.dirty = "a test has used its power"


@pytest.fixture
def guest(request: pytest.FixtureRequest, board: slow.Board) -> slow.Guest:
    """The guest Linux: its shell and its files."""
    return request.config.stash[SESSION].guest(board)


@pytest.fixture
def hil_runner(request: pytest.FixtureRequest, guest: slow.Guest) -> Iterator[slow.Runner]:
    """The runner, also of an image that has no agent for it; tests use `runner`."""
    hooks, executions = request.config.stash[SESSION].hooks, record_of(request.node).executions

    def record(execution: slow.Execution) -> None:
        executions.append(execution)
        hooks.execution(execution)

    runner = slow.Runner(guest, record=record)
    yield runner
    runner.close()


@pytest.fixture
def runner(hil_runner: slow.Runner) -> slow.Runner:
    """The runner in the partition: `runner.run(module, *arguments)`, `with runner.start(module, *arguments):`."""
    try:
        _ = hil_runner.facts
    except ConfigurationError as error:
        refuse(error)
    return hil_runner


@pytest.fixture
def pins(request: pytest.FixtureRequest, guest: slow.Guest, hil_runner: slow.Runner) -> Iterator[slow.Pins]:
    """The pins of the partition: `pins.drive("BUTTON", 1)`, `pins["LED"].rising`; back at 0 after the test."""
    try:
        wiring = slow.wiring_of(guest)
        pins = slow.Pins(wiring, evidence=lambda: guest.board.console.evidence())  # noqa: PLW0108  each boot has its own
    except HilError as error:
        refuse(error)
    record_of(request.node).pins = pins
    hil_runner.let_pass.append(pins.let_pass)
    try:
        yield pins
        if guest.board.up or not guest.board.emulated:  # a bench must not power a board that is off through its pins
            wiring.reset()
    finally:
        wiring.close()


@pytest.fixture
def can(request: pytest.FixtureRequest, guest: slow.Guest, hil_runner: slow.Runner) -> Iterator[slow.CanBus]:
    """The CAN bus of the partition: `can.send(0x123, b"data")`, `can.wait(0x124, timeout=1 * s)`; quiet afterwards."""
    try:
        port = slow.can_port(guest.board)
        bus = slow.CanBus(port, facts=lambda: slow.provenance(guest))
    except HilError as error:
        refuse(error)
    record_of(request.node).traced.append(bus)
    hil_runner.let_pass.append(bus.let_pass)
    yield bus
    bus.close(quiet=guest.board.up)


@pytest.fixture(scope="session")
def sample() -> slow.Samples:
    """The modules of the project and the package: `sample("hello.wasm")`."""
    return slow.Samples(own=project.current().own("samples"))


@pytest.fixture
def measure(request: pytest.FixtureRequest, board: slow.Board) -> Iterator[slow.Measure]:
    """Measures series and checks them against the board's bounds."""
    session: Session = request.config.stash[SESSION]
    node: Any = request.node
    measure = session.measure(board)
    measure.test = stable_test(node.nodeid, str(session.selections.of(node)), board.name, repetition_of(node))
    record_of(node).measure = measure
    with slow.recorded(measure.checked):
        yield measure
    measure.flush()


@pytest.fixture
def loop(request: pytest.FixtureRequest, pins: slow.Pins, measure: slow.Measure) -> slow.Loop:
    """Steps a plant beside the partition and connects both by the wires: `loop.run(plant, step=1 * ms, ...)`."""
    loop = slow.Loop(pins.wiring, own=pins.owned, facts={"test": measure.test})
    record_of(request.node).loops = loop.results
    return loop


@pytest.fixture
def soak(request: pytest.FixtureRequest, guest: slow.Guest, measure: slow.Measure) -> Callable[..., slow.Soak]:
    """Deploys a module repeatedly on one boot, for --hil-soak-deployments or --hil-soak-hours."""
    option, executions = request.config.option, record_of(request.node).executions
    hooks = request.config.stash[SESSION].hooks

    def record(execution: slow.Execution) -> None:
        if not execution.good:  # good ones are in the series; thousands of records would hide the rest
            executions.append(execution)
        hooks.execution(execution)

    def deploy(module: slow.Loadable, *arguments: str | bytes, **options: Any) -> slow.Soak:
        runner = slow.Runner(guest, record=record)
        if not {"deployments", "hours"} & set(options):
            hours = option.hil_soak_hours
            options |= {"hours": hours, "deployments": option.hil_soak_deployments if hours is None else None}
        return slow.soak(runner, module, *arguments, test=measure.test, **options)

    return deploy
