"""The labgrid driver of a replayed machine: it plays the recording of an earlier run."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import attr
from labgrid.driver import Driver
from labgrid.factory import target_factory

from hil.board.machine import Connection, MachineDriver
from hil.board.protocol import Transport
from hil.console.recording import Recording
from hil.console.replay import Player
from hil.image.manifest import Manifest
from hil.image.store import Image, digest_of, sha256


def _speed(instance: object, field: attr.Attribute[float], value: Any) -> None:
    if not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise TypeError(f"speed is a number from 0 (no pauses) on, 1 for real time, not {value!r}")


@target_factory.reg_driver
@attr.s(eq=False)
class HilReplayDriver(MachineDriver):
    """Power and console of a recorded machine: each power-on plays the transcript from its start.

    `transcript` is a path, relative to the environment file. `speed` 1 is real time; 0, the default, is without pauses.
    Playing waits for the input that the recording has, see `Player`; other input ends the line with `LineClosed`.
    """

    transcript: str = attr.ib(validator=attr.validators.instance_of(str))
    speed: float = attr.ib(default=0.0, validator=_speed)

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self._player: Player | None = None

    @property
    def recording(self) -> Recording:
        """The recording. Raises `ConfigurationError` if it does not exist."""
        config = self.target.env.config
        return Recording(Path(config.resolve_path(self.transcript)))

    @property
    def transport(self) -> Transport:
        return Transport("recording", self.transcript)

    def image(self, manifest: Manifest) -> Image:
        """Return the recording in the place of the image, which need not exist."""
        path = self.recording.path
        digest = sha256(path)
        facts = {"sha256": digest, "size": path.stat().st_size}
        digest = digest_of({"transcript": digest})
        record = {"files": {"transcript": facts}, "digest": digest}
        return Image(manifest, path.parent, {"transcript": path}, digest, record)

    def start(self, transcript: Path) -> Connection:
        self._player = Player(self.recording, self.speed)
        return Connection(self._player.port, self._player.explain_end)

    def stop(self) -> None:
        if self._player is not None:
            self._player.close()
        self._player = None

    @Driver.check_active
    def get(self) -> bool:
        """Return whether it plays."""
        return self._player is not None and self._player.playing
