"""The guest of a board: its shell and files, across boots."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hil.board.board import Board
from hil.console import Console
from hil.errors import ConfigurationError, GuestError
from hil.guest import load, transfer
from hil.guest.foreground import Foreground, noting_damage
from hil.guest.result import Result
from hil.guest.shell import Shell
from hil.guest.typed import described, text_of
from hil.host.progress import Progress


class Guest:
    """The guest Linux of `board`, across its boots. `progress` shows transfers."""

    def __init__(self, board: Board, *, progress: Progress | None = None) -> None:
        self.board = board
        self._progress = progress
        self._shell: Shell | None = None
        self._modules: dict[str, str] = {}

    @property
    def shell(self) -> Shell:
        """The session of the current boot. Raises `InfrastructureError` if the board is off."""
        console: Console = self.board.console
        if self._shell is None or self._shell.console is not console:
            report = self.board.report
            idle = report is not None and report.restored is not None
            self._modules = {}
            self._shell = Shell(console, self.board.manifest.console, idle=idle)
        return self._shell

    def take_over(self, other: Guest) -> None:
        """Continue the session of `other`, whose console the board continues with."""
        self._shell, self._modules = other._shell, other._modules

    @property
    def modules(self) -> dict[str, str]:
        """The paths of the modules in the guest of the current boot, by digest. Raises as `shell`."""
        _ = self.shell
        return self._modules

    @property
    def open(self) -> bool:
        """Whether a session of the current boot exists."""
        return self._shell is not None and self._shell.console is self.board.console

    def run(self, command: str | bytes, *, timeout: float = 30.0, check: bool = False) -> Result:
        """Run a shell command (any number of lines, any bytes but NUL) and return its result; see `Shell.run`.

        Marks the board dirty if the shell does not respond after an interrupt.
        """
        with noting_damage(self.board):
            return self.shell.run(command, timeout=timeout, check=check)

    def start(self, command: str | bytes, *, timeout: float, subject: str) -> Foreground:
        """Start a shell command that occupies the shell until it ends, overdue after `timeout` seconds.

        Meanwhile all that needs the shell raises `ConfigurationError`, which names the `subject`. Otherwise as `run`.
        """
        with noting_damage(self.board):
            shell = self.shell
            return Foreground(self.board, shell, shell.start(command, timeout=timeout, subject=subject))

    @contextmanager
    def load(self, kind: str) -> Iterator[None]:
        """Keep the guest under the load `cpu`, `memory`, `fork` or `console`, or a distress of `hil.guest.load`.

        Raises `ConfigurationError` for an unknown kind, `GuestError` if the load does not start or ends early: then
        nothing was measured under it.
        """
        start, end = load.commands(kind)
        self.run(start, check=True)
        try:
            yield
        finally:
            ended = self.run(end)
        if ended.status:
            raise GuestError(f"the load {kind} in the guest ended early", evidence=self.shell.console.evidence())

    def put(self, source: Path | bytes, path: str | bytes) -> bool:
        """Copy a file, or bytes, to `path` in the guest; return false if it was there already.

        Raises `ConfigurationError` for a file that cannot be read, and for text: it could be a path or contents.
        """
        if not isinstance(source, (Path, bytes)):
            hint = "Give a pathlib.Path for a file, bytes for contents."
            raise ConfigurationError(f"{described(source)} is neither a file nor contents", hint=hint)
        try:
            data = source.read_bytes() if isinstance(source, Path) else source
        except OSError as error:
            raise ConfigurationError(f"cannot read {source!s}: {error.strerror}") from error
        return transfer.put(self.shell, data, text_of(path), progress=self._progress)

    def get(self, path: str | bytes, *, limit: int = transfer.FILE_MAX) -> bytes:
        """Return the bytes of the file `path` in the guest. Raises `GuestError` for one of more than `limit` bytes."""
        return transfer.get(self.shell, text_of(path), limit=limit, progress=self._progress)
