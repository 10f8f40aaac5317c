"""What a session's transfers have found out about the line to the guest's shell, and the sizes of their parts.

A direction of the line is clean if it passes all 256 byte values unchanged. Files go over a clean one as they are, else
as base64. All figures come from the guest's clock, in the bytes that it sends: a recording can be replayed, because the
same choices follow from the same bytes. In virtual time nothing is measured, and all choices are fixed.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

_log = logging.getLogger(__name__)

BLOCK = 256  # bytes; parts are whole blocks
FIRST, LARGEST = 64 << 10, 256 << 10  # bytes of the first part and of the largest one over a clean line
LARGEST_TYPED = 32 << 10  # bytes of the largest part that is sent as base64
PART_SECONDS = 4.0  # of the line, for a part: what an interrupted or damaged one may cost
MEASURED = 4 << 10  # bytes; the guest's clock is too coarse for fewer
TICK = 0.01  # seconds, of the guest's clock
GOOD_IN_A_ROW = 4  # parts before larger ones, on a line that has damaged some
BAD, GOOD_FOR_BAD = 2, 8  # damaged parts that make a line unclean, unless so many others arrived for each


@dataclass
class Direction:
    """One direction of the line.

    - `clean`: whether files go over it as they are.
    - `fixed`: whether nothing that is measured may decide, as in virtual time.
    - `rate`: bytes per second; None if unknown.
    """

    clean: bool
    fixed: bool = False
    rate: float | None = None
    _size: int = FIRST
    _good: int = 0
    _bad: int = 0
    _in_a_row: int = 0

    def __post_init__(self) -> None:
        if self.fixed:
            self._size = LARGEST

    @property
    def size(self) -> int:
        """The bytes of the next part over a clean line."""
        return self._size

    @property
    def typed_size(self) -> int:
        """The bytes of the next part as base64."""
        return min(self._size, LARGEST_TYPED)

    def took(self, size: int, seconds: float) -> None:
        """Note how long the guest took for `size` bytes."""
        if size >= MEASURED and not self.fixed:
            self.rate = size / max(TICK, seconds)
            self._size = min(self._size, self._limit)

    def passed(self) -> None:
        """Note that a part arrived: larger ones may follow."""
        self._good += 1
        self._in_a_row += 1
        if not self._bad:
            self._size = min(4 * self._size, self._limit)
        elif self._in_a_row >= GOOD_IN_A_ROW:
            self._in_a_row = 0
            self._size = min(2 * self._size, self._limit)

    def damaged(self, size: int) -> None:
        """Note that a part of `size` bytes did not arrive: smaller ones follow, as base64 if the line is not clean."""
        self._bad += 1
        self._in_a_row = 0
        self._size = max(BLOCK, size // 2 // BLOCK * BLOCK)
        if self.clean and self._bad >= BAD and self._bad * GOOD_FOR_BAD > self._good:
            self.clean = False
            _log.info("the line damages files that are sent as they are: they are sent as base64 from now on")

    @property
    def _limit(self) -> int:
        """The bytes of the largest sensible part."""
        if self.rate is None:
            return LARGEST
        return max(LARGEST_TYPED, min(LARGEST, int(self.rate * PART_SECONDS) // BLOCK * BLOCK))


@dataclass(frozen=True)
class Channel:
    """The line of a session: the directions to the guest and back, and whether the guest unpacks xz."""

    there: Direction
    back: Direction
    xz: bool
