"""A command in the foreground of the guest's shell, whose result is awaited later."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hil.console import LineTimeout
from hil.guest.result import CommandTimeout, Result, Typed
from hil.guest.shell import Shell

if TYPE_CHECKING:
    from hil.board.board import Board


@contextmanager
def noting_damage(board: Board) -> Iterator[None]:
    """Mark the board dirty if its shell does not respond, or takes no typed bytes."""
    try:
        yield
    except CommandTimeout as error:
        if not error.recovered:
            board.dirty = "the guest's shell does not respond"
        raise
    except LineTimeout:
        board.dirty = "the guest does not take typed bytes"
        raise


class Foreground:
    """A command that occupies the guest's shell until it ends. `Guest.start` starts it.

    All methods raise `LineClosed` if the line ends.
    """

    def __init__(self, board: Board, shell: Shell, typed: Typed) -> None:
        self.console = shell.console
        self._board, self._shell, self._typed = board, shell, typed

    @property
    def start(self) -> int:
        """The offset of the command's output in the transcript."""
        return self._typed.start

    @property
    def text(self) -> bytearray:
        """The complete lines that have been read since the start, without those of other writers."""
        return self._typed.stream.text

    @property
    def left(self) -> float:
        """The seconds until the command is overdue, by the console's clock."""
        return self._typed.deadline - self.console.now

    def poll(self) -> Result | None:
        """Return the result if it has arrived; lets no virtual time pass."""
        return self._shell.poll(self._typed)

    def more(self, timeout: float) -> bool:
        """Wait for output, `timeout` seconds at most; return whether any came."""
        return self._typed.stream.take(timeout)

    def received(self) -> bytes:
        """Return all bytes of the line since the start that have been read."""
        return self.console.transcript.read(self.start, self._typed.stream.next)

    def wait(self, timeout: float) -> Result | None:
        """Wait for the result, `timeout` seconds at most; return None if it does not come."""
        with noting_damage(self._board):
            return self._shell.wait(self._typed, timeout)

    def result(self) -> Result:
        """Wait for the result until the command is overdue, then interrupt it; otherwise as `Shell.run`."""
        with noting_damage(self._board):
            return self._shell.result(self._typed)

    def interrupt(self) -> Result:
        """Type ^C and return the result.

        Raises `CommandTimeout` if the command does not end, or ends without its frame.
        """
        with noting_damage(self._board):
            return self._shell.interrupt(self._typed)
