"""The base of objects that are closed at the end of a `with` block."""

from __future__ import annotations

import abc
from typing import Self


class Closing(abc.ABC):
    """A context manager of itself: leaving the block calls `close`."""

    @abc.abstractmethod
    def close(self) -> None:
        """Release everything; harmless when repeated."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
