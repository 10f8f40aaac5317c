"""The boards that a run is for, and the board and the clock of each test."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hil import slow
from hil.board.selection import find
from hil.errors import ConfigurationError, HilError
from hil.host import packages, tools
from hil.plugin import checks
from hil.plugin.record import record_of
from hil.plugin.selection import BoardSelection

JUDGING = frozenset(("measure", "pins", "can", "loop"))  # the fixtures of tests that judge time


def uses_virtual_time(item: pytest.Item) -> bool:
    """Return whether `--clock auto` runs `item` in virtual time, on boards that support it.

    It does for tests with the marker `timing` and for tests that use one of the fixtures in `JUDGING`, directly or
    through another fixture; not with `soak`, which judges wear. Tests that use `faults` always run in real time: a
    line in lock step cannot go through the fault proxy.
    """
    fixtures = getattr(item, "fixturenames", ())
    measures = not JUDGING.isdisjoint(fixtures) and "soak" not in fixtures
    return "faults" not in fixtures and (measures or item.get_closest_marker("timing") is not None)


class BoardSelections:
    """The boards that a run is for: `names` as given, with absolute paths, `selected` with each name and seed."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        option = config.option
        given = checks.selection(config)
        self.source = given.source
        self.given = given.names
        self.names = checks.absolute_boards(config, given.names)
        seeds = range(1, option.hil_seeds + 1) if option.hil_seeds else [option.hil_seed]
        self.selected = [
            BoardSelection(name, seed if option.clock == "virtual" else None, len(seeds))
            for name in self.names or [""]
            for seed in seeds
        ]
        self._virtual: dict[str, bool] = {}

    def of(self, item: pytest.Item) -> BoardSelection | None:
        """Return the board that `item` requests, in the clock in which it runs.

        None for a test without a board, and for one that has not yet requested its board at run time.
        """
        callspec = getattr(item, "callspec", None)
        selection = callspec.params.get("hil_session_board") if callspec else None
        if not isinstance(selection, BoardSelection):
            selection = record_of(item).selection
        return None if selection is None else self.in_clock(selection, item)

    def in_clock(self, selection: BoardSelection, item: pytest.Item) -> BoardSelection:
        """Return `selection` in the clock that `--clock` gives to `item`."""
        option = self._config.option
        if option.clock != "auto" or not uses_virtual_time(item) or not self._can_be_virtual(selection, item):
            return selection
        return replace(selection, seed=option.hil_seed)

    def _can_be_virtual(self, selection: BoardSelection, item: pytest.Item) -> bool:
        """Return whether the board can run in virtual time: it is emulated, and this host has the preload library."""
        if selection.name not in self._virtual:
            try:
                emulated = not selection.place and slow.boardfile.emulated(find(selection.name))
            except HilError:  # the first test on the board raises it
                emulated = False
            self._virtual[selection.name] = emulated and slow.lockstep.available()
            if emulated and not self._virtual[selection.name]:
                text = f"tests that judge time run in real time on {selection}: there is no C compiler"
                item.warn(pytest.PytestWarning(f"{text} ({tools.install_hint(*packages.COMPILING)})"))
        return self._virtual[selection.name]

    def incarnations(self, selection: BoardSelection) -> list[BoardSelection]:
        """Return all results of `in_clock`: with `--clock auto` the board in real and in virtual time."""
        if self._config.option.clock != "auto":
            return [selection]
        return [replace(selection, seed=None), replace(selection, seed=self._config.option.hil_seed)]

    def only(self) -> BoardSelection:
        """Return the one selected board, for a test that requests it at run time, such as a `unittest.TestCase`.

        Raises `ConfigurationError` where several are selected, and where a worker cannot have the board to itself.
        """
        if len(self.selected) > 1:
            names = ", ".join(map(str, self.selected))
            raise ConfigurationError(
                f"the test requests its board at run time and can run on one only; selected are {names}",
                hint="name a fixture of the board among the arguments of a test function, or select one board",
            )
        if hasattr(self._config, "workerinput") and self.exclusive:
            raise ConfigurationError(
                "the test requests its board at run time, but only one worker of pytest-xdist can use the board",
                hint="name a fixture of the board among the arguments of a test function, or leave -n out",
            )
        return self.selected[0]

    @property
    def exclusive(self) -> bool:
        """Whether only one worker can use a board: real ones, and in virtual time those whose state outlives a test."""
        option = self._config.option
        if option.clock == "virtual" and (
            option.hil_seeds or option.hil_no_snapshots or option.fresh in ("module", "session")
        ):
            return True
        try:
            return not all(slow.boardfile.emulated(find(name)) for name in self.names)
        except HilError:  # the tests on the board raise it
            return False
