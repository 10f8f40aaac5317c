"""Repeated cold boots: the rate at which the image fails to boot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hil.errors import ConfigurationError, HilError, InfrastructureError
from hil.stats.rates import Rate, rate

if TYPE_CHECKING:
    from hil.board.board import Board


@dataclass(frozen=True)
class Boots:
    """Cold boots: the rate of failures by the image, the text of each, and failures of the infrastructure apart."""

    rate: Rate
    failures: tuple[str, ...]
    infrastructure: tuple[str, ...]
    seconds: tuple[float, ...]

    def __str__(self) -> str:
        took = f", {min(self.seconds):.1f} to {max(self.seconds):.1f} s to a shell" if self.seconds else ""
        lines = [f"{self.rate} cold boots failed{took}", *self.failures]
        return "\n  ".join([*lines, *(f"not counted, infrastructure: {text}" for text in self.infrastructure)])


def boots(board: Board, number: int) -> Boots:
    """Boot `board` cold, `number` times. A boot that fails by the infrastructure is repeated once and not counted.

    Raises `ConfigurationError` for fewer than one boot and as `Board.boot`, `InfrastructureError` if the infrastructure
    fails twice in a row.
    """
    if number < 1:
        raise ConfigurationError(f"cannot give a rate of {number} boots", hint="Give at least 1.")
    failures: list[str] = []
    infrastructure: list[str] = []
    seconds: list[float] = []
    for count in range(1, number + 1):
        for last in (False, True):
            try:
                seconds.append(board.boot().stages[-1].seconds)
            except InfrastructureError as error:
                infrastructure.append(_text(count, error))
                if last:
                    raise
                continue
            except ConfigurationError:
                raise
            except HilError as error:
                failures.append(_text(count, error))
            break
    return Boots(rate(len(failures), number), tuple(failures), tuple(infrastructure), tuple(seconds))


def _text(number: int, error: HilError) -> str:
    stage = f" at stage {error.stage!r}" if error.stage else ""
    place = error.evidence and error.evidence.transcript
    return f"boot {number}: {type(error).__name__}{stage}: {error.message}" + (f" ({place})" if place else "")
