"""The identity of a figure from night to night."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FigureKey:
    """The identity of a figure from night to night."""

    run: str
    test: str
    board: str
    quantity: str
    subject: str
    unit: str
    clock: str
    seed: str
    name: str

    @property
    def series(self) -> tuple[str, ...]:
        """The part that all figures of one series share."""
        return (self.run, self.test, self.board, self.quantity, self.subject, self.unit, self.clock, self.seed)
