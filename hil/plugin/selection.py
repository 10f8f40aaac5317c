"""The selection of a board by name and seed, and the error for one that has failed at each place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hil.board.selection import is_place, name_of
from hil.errors import InfrastructureError


@dataclass(frozen=True)
class BoardSelection:
    """A board to test on, by name or path, with the seed of its virtual time; `seed` is None in real time.

    `one_of` is the number of seeds that each test runs with.
    """

    name: str
    seed: int | None = None
    one_of: int = 1

    @property
    def place(self) -> bool:
        """Whether it is a place of a lab, `place:NAME` or `+TAG=VALUE`."""
        return is_place(self.name)

    @property
    def any(self) -> bool:
        """Whether any place with the tags will do: each worker may acquire its own, each test another one."""
        return self.name.startswith("+")

    def __str__(self) -> str:
        return self.parameter(self.name if self.place else name_of(self.name))

    def parameter(self, board: str) -> str:
        """Return the parameter of a test that stands for this selection when the board's name is `board`."""
        return (board or "no-board") + (f"-seed{self.seed}" if self.one_of > 1 else "")

    @property
    def expected(self) -> str:
        """The parameter with the board's name; empty for a place: its board is unknown until the place is acquired."""
        return "" if self.place else str(self)


def all_failed(selection: BoardSelection, failed: Mapping[str, InfrastructureError]) -> InfrastructureError:
    """Return the error for a test that has failed at each usable place."""
    *_, last = failed.values()
    if len(failed) == 1:
        return last
    reasons = "; ".join(f"place {name}: {error.message}" for name, error in failed.items())
    return InfrastructureError(
        f"each place for {selection.name} has failed: {reasons}",
        hint=last.hint,
        stage=last.stage,
        evidence=last.evidence,
    )
