"""A board that is a recording: power and console of a machine that has run before."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, ClassVar

import attr
from labgrid.driver import Driver
from labgrid.factory import target_factory
from labgrid.protocol import ConsoleProtocol, PowerProtocol
from labgrid.step import step

from hil.board.protocol import HilConsoleProtocol
from hil.console import Console, Transcript
from hil.console.recording import Recording
from hil.console.replay import Player
from hil.console.transcript import default_directory
from hil.errors import InfrastructureError
from hil.image.manifest import Manifest
from hil.image.store import Image, digest_of, sha256


def _speed(instance: object, field: attr.Attribute[float], value: Any) -> None:
    if not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise TypeError(f"speed is a number: 1 real time, 0 at once, not {value!r}")


@target_factory.reg_driver
@attr.s(eq=False)
class HilReplayDriver(Driver, HilConsoleProtocol, PowerProtocol):  # type: ignore[misc]
    """Power and console of a recorded machine: each switching on plays the transcript from its start.

    `transcript` is a path, relative to the environment file; `speed` 1 is real time, 0, the default,
    as fast as it is read. What is played waits for what is sent, and that must be what the recording
    has, see `Player`; else the line ends with `LineClosed` naming both.
    """

    bindings: ClassVar[dict[str, object]] = {}
    priorities = {ConsoleProtocol: 10}

    transcript: str = attr.ib(validator=attr.validators.instance_of(str))
    speed: float = attr.ib(default=0.0, validator=_speed)

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self.transcripts: Path | None = None
        self._player: Player | None = None
        self._console: Console | None = None

    def on_deactivate(self) -> None:
        self._end()

    @property
    def console(self) -> Console:
        if self._console is None:
            raise InfrastructureError("the replay is off: no console", hint="switch it on first")
        return self._console

    @property
    def recording(self) -> Recording:
        """What is played. Raises `ConfigurationError` where there is none."""
        config = self.target.env.config
        return Recording(Path(config.resolve_path(self.transcript)))

    def image(self, manifest: Manifest) -> Image:
        """What stands for the image, which need not be there: the recording."""
        path = self.recording.path
        digest = sha256(path)
        facts = {"sha256": digest, "size": path.stat().st_size}
        digest = digest_of({"transcript": digest})
        record = {"files": {"transcript": facts}, "digest": digest}
        return Image(manifest, path.parent, {"transcript": path}, digest, record)

    @Driver.check_active
    @step()
    def on(self) -> None:
        """Play from the start, unless it plays."""
        if self.get():
            return
        self._end()
        recording = self.recording
        name = Path(str(self.target.env.config.filename)).stem
        transcript = Transcript.create(self.transcripts or default_directory(), name)
        self._player = Player(recording, self.speed)
        try:
            port = self.tapped(self._player.port)
        except BaseException:
            transcript.close()
            self._end()
            raise
        self._console = Console(port, transcript, explain_end=self._player.explain_end)

    @Driver.check_active
    @step()
    def off(self) -> None:
        """End the replay."""
        self._end()

    @Driver.check_active
    @step()
    def cycle(self) -> None:
        self._end()
        self.on()

    @Driver.check_active
    def get(self) -> bool:
        """Whether it plays."""
        return self._player is not None and self._player.playing

    def _end(self) -> None:
        if self._console is not None:
            self._console.close()
        if self._player is not None:
            self._player.close()
        self._player = self._console = None
