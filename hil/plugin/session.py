"""The boards of a test run: opened on first use, brought up as fresh as requested, left when their place fails."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from hil import slow
from hil.errors import ConfigurationError, HilError, InfrastructureError
from hil.plugin import checks
from hil.plugin.accounts import DEAD_AFTER, BootCounts
from hil.plugin.hooks import Hooks
from hil.plugin.labels import AllureLabels
from hil.plugin.measurements import Measurements
from hil.plugin.run_facts import RunFacts
from hil.plugin.selection import BoardSelection, all_failed
from hil.plugin.selections import BoardSelections
from hil.plugin.spares import SparePlan, disturbed
from hil.plugin.status import BoardLine, report, uncaptured

SESSION = pytest.StashKey["Session"]()


class Session:
    """The boards of a test run, with its `selections`, `facts`, `measurements`, `hooks` and counts of `boots`."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.selections = BoardSelections(config)
        self.boots = BootCounts()
        self.facts = RunFacts(config)
        self.hooks = Hooks(config)
        self.measurements = Measurements(config, self.facts, self.selections.names, self.hooks.series)
        self.labels: AllureLabels | None = None
        self._status = BoardLine(config)
        self._boards: dict[BoardSelection, slow.Board] = {}
        self._given_up: dict[BoardSelection, HilError] = {}
        self._avoid: dict[str, str] = {}  # the reasons to avoid a place, by its name, the latest failure last
        self._guests: dict[slow.Board, slow.Guest] = {}
        self._measures: dict[slow.Board, slow.Measure] = {}
        self._dead: dict[str, HilError] = {}  # by `Board.incarnation`
        self._unready: Counter[str] = Counter()  # failed hooks in a row, by `Board.incarnation`
        self._module: dict[slow.Board, object] = {}
        self.spares = SparePlan(config, self.selections)

    @property
    def coordinator(self) -> str:
        """The address of labgrid's coordinator, for boards that do not name another."""
        return slow.selector.address(checks.of_others(self.config, "lg_coordinator"))

    # opened and closed

    def board(self, selection: BoardSelection) -> slow.Board:
        """Return the open board of `selection`: opened on first use, and at another place after it lost its own.

        Raises any error from opening it, now and for each later test.
        """
        board = self._boards.get(selection)
        if board is not None and board.place is not None:
            if board.lost:
                self._leave(selection, board.place.error())
            elif board.cut_off and not board.place.borrowed:
                # a new acquisition of the place starts a new serial server on the exporter
                self._avoid_place(board.where, f"its serial line has ended in {board.name}")
                self.close(selection)
        if selection in self._given_up and not self.config.option.hil_keep_going_on_dead_board:
            raise self._given_up[selection]
        if selection not in self._boards:
            try:
                with uncaptured(self.config):  # shows what the acquisition waits for
                    board = self._boards[selection] = self._open(selection)
            except HilError as error:
                self._given_up[selection] = error
                self.boots.give_up(str(selection))
                raise
            if board.place is not None:
                self.facts.note_place(board.place)
        return self._boards[selection]

    def opened(self, selection: BoardSelection) -> slow.Board | None:
        """Return the board of `selection` where it is open."""
        return self._boards.get(selection)

    def close(self, selection: BoardSelection) -> None:
        """Close the board of `selection` where it is open."""
        board = self._boards.pop(selection, None)
        if board is None:
            return
        try:
            board.close()
        finally:
            self._guests.pop(board, None)
            self._measures.pop(board, None)
            self._module.pop(board, None)

    def _avoid_place(self, name: str, reason: str) -> None:
        """Avoid a place that has failed, more than those that failed before."""
        self._avoid.pop(name, None)
        self._avoid[name] = reason

    def _leave(self, selection: BoardSelection, error: HilError) -> None:
        """Leave a place that has failed with `error`: for another one where any will do, else for good."""
        board = self._boards[selection]
        self._avoid_place(board.where, error.message)
        if selection.any:
            report(f"place {board.where} is left: {error.brief}")
        else:
            self._given_up[selection] = error
            self.boots.give_up(board.where)
        self.close(selection)

    def _open(self, selection: BoardSelection) -> slow.Board:
        """Open the board of `selection`; where any place will do, at the first one with usable resources."""
        failed: dict[str, InfrastructureError] = {}
        while True:
            try:
                return self._open_board(selection)
            except slow.selector.PlaceFailed as error:
                if not selection.any:
                    raise
                if error.place in failed:
                    raise all_failed(selection, failed) from error
                failed[error.place] = error
                self._avoid_place(error.place, error.message)

    def _open_board(self, selection: BoardSelection) -> slow.Board:
        if not selection.name:
            raise ConfigurationError("no board is selected", hint="pass --board NAME; `hil board list` lists the names")
        option = self.config.option
        terms = slow.selector.Terms(
            wait=option.hil_place_wait,
            coordinator=checks.of_others(self.config, "lg_coordinator"),
            report=report,
            avoid=self._avoid,
        )
        board: slow.Board = slow.Board(
            selection.name,
            image=option.image,
            transcripts=self.facts.directory,
            seed=selection.seed,
            snapshots=not option.hil_no_snapshots,
            health_check=self._check_health,
            on_attempt=lambda kind, error: self.boots.add(board.where, error, kind, incarnation=board.incarnation),
            lifecycle=slow.Lifecycle(
                lambda up: self.hooks.board_up(board, self.guest(board), up),
                lambda down: self.hooks.board_down(board, self.guest(board) if down.usable else None, down),
            ),
            terms=terms,
            spares=slow.Spares(self.spares.count, lambda spare: self._check_spare(board, spare)),
        )
        return board

    # brought up

    def make_ready(self, selection: BoardSelection, item: pytest.Item) -> slow.Board:
        """Bring the board of `selection` up as fresh as --fresh requests, and check its health.

        A place that fails by the infrastructure is left where any other will do, until all have failed; the error
        then names the failure of each. Raises any error from a boot.
        """
        failed: dict[str, InfrastructureError] = {}  # by place
        while True:
            board = self.board(selection)
            if board.where in failed:
                raise all_failed(selection, failed)
            if self._is_ready(board, item):
                return board
            if self.board(selection) is not board:  # the check has found that its line has ended
                continue
            self._switch_off_others(selection)
            try:
                self._bring_up(board, item)
                return board
            except InfrastructureError as error:
                if not selection.any:
                    raise
                failed[board.where] = error
                self._leave(selection, error)

    def _switch_off_others(self, selection: BoardSelection) -> None:
        """Switch off the board in its other clock, unless its next test needs it in its present state."""
        for other in self.selections.incarnations(selection):
            board = self._boards.get(other)
            if other != selection and board is not None and self._fresh(board) == "test" and board.report is not None:
                board.off()

    def _fresh(self, board: slow.Board) -> str:
        return self.config.option.fresh or ("session" if board.no_snapshot_reason else "test")

    def _is_ready(self, board: slow.Board, item: pytest.Item) -> bool:
        """Return whether the board is up, as fresh as --fresh requests, and healthy."""
        fresh = self._fresh(board)
        module = item.getparent(pytest.Module)
        stale = fresh == "test" or (fresh == "module" and self._module.get(board) is not module)
        self._module[board] = module
        return board.up and not stale and self._healthy(board)

    def _healthy(self, board: slow.Board) -> bool:
        try:
            board.check_health()
        except HilError as error:
            board.dirty = f"it does not answer as it should: {error.message}"
        return board.up

    def _bring_up(self, board: slow.Board, item: pytest.Item) -> None:
        self._refuse_dead(board)
        board.spares.wanted = 0  # until the link is measured
        reason = board.no_snapshot_reason
        try:
            with self._status.shown():
                with uncaptured(self.config):  # shows the progress of a build, which the first use of an image may need
                    image = board.image()
                board.fresh()
        except HilError as error:
            self._dead[board.incarnation] = error
            raise
        self._raise_failed_hooks(board)
        self._dead.pop(board.incarnation, None)
        if board.no_snapshot_reason != reason:
            item.warn(
                pytest.PytestWarning(f"{board.name} is booted, not restored: no snapshot: {board.no_snapshot_reason}")
            )
        self.facts.note_board(board, image, self.guest(board))

    def _raise_failed_hooks(self, board: slow.Board) -> None:
        """Raise the errors of hooks at the board's boot: no test runs on a board that they have not prepared."""
        try:
            self.hooks.raise_failures(board)
        except HilError as error:
            self._dead[board.incarnation] = error
            self._unready[board.incarnation] += 1
            raise
        self._unready[board.incarnation] = 0

    def _refuse_dead(self, board: slow.Board) -> None:
        """Raise the error of the last boot again where too many have failed in a row, or hooks at them."""
        dead = self._dead.get(board.incarnation)
        if dead is None or self.config.option.hil_keep_going_on_dead_board:
            return
        unready = self._unready[board.incarnation] >= DEAD_AFTER
        if unready or self.boots.dead(board.where, incarnation=board.incarnation):
            error = type(dead).__new__(type(dead))  # the classes differ in the arguments of `__init__`
            message = f"board {board.where} is dead since an earlier test: {dead.message}"
            hint = dead.hint or "see that test; --hil-keep-going-on-dead-board tries again for each"
            vars(error).update(vars(dead) | {"message": message, "hint": hint})
            raise error

    def _check_health(self, board: slow.Board) -> None:
        slow.check_health(self.guest(board))

    def start_spares(self, selection: BoardSelection, item: pytest.Item) -> None:
        """Restore the machines for the next tests while `item` runs on `selection`, unless that would disturb it."""
        board = self._boards[selection]
        board.spares.wanted = self.spares.wanted(selection, item) if self._fresh(board) == "test" else 0
        board.refill_spares()
        if disturbed(selection, item):
            for other in self._boards.values():
                other.spares.settle()

    def _check_spare(self, board: slow.Board, spare: slow.SpareBoard) -> Callable[[], None]:
        """Check the health of a spare of `board`; return what gives it the session of the guest's shell."""
        seen: Any = spare  # a guest uses it as a board
        guest = self.guest(seen)
        try:
            self._check_health(seen)
        finally:
            self._guests.pop(seen)
        return lambda: self.guest(board).take_over(guest)

    # shared by all tests of a board

    def guest(self, board: slow.Board) -> slow.Guest:
        """Return the guest of `board`: one for all tests, so that each boot opens one shell."""
        if board not in self._guests:
            self._guests[board] = slow.Guest(board)
        return self._guests[board]

    def measure(self, board: slow.Board) -> slow.Measure:
        """Return the `Measure` of `board`: one for all tests, so that each boot prepares clocks and probe once."""
        if board not in self._measures:
            self._measures[board] = self.measurements.measure(board)
        return self._measures[board]
