"""The labgrid driver of a replayed machine: it plays the recording of an earlier run."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import attr
from attr.validators import ge, instance_of, lt
from labgrid.driver import Driver
from labgrid.factory import target_factory

from hil.board.machine import MachineDriver
from hil.board.protocol import Transport
from hil.console import Console, Transcript
from hil.console.recording import Recording
from hil.console.replay import Player
from hil.image.manifest import Manifest
from hil.image.store import Image, digest_of, sha256


@target_factory.reg_driver
@attr.s(eq=False)
class HilReplayDriver(MachineDriver):
    """Power and console of a recorded machine: each power-on plays the transcript from its start.

    `transcript` is a path, relative to the environment file. `speed` 1 is real time; 0, the default, is without pauses.
    Playing waits for the input that the recording has, see `Player`; other input ends the line with `LineClosed`.
    """

    transcript: str = attr.ib(validator=instance_of(str))
    speed: float = attr.ib(default=0.0, validator=[instance_of((int, float)), ge(0), lt(math.inf)])

    _player: Player | None = None

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
        facts: dict[str, Any] = {"sha256": sha256(path), "size": path.stat().st_size}
        digest = digest_of({"transcript": facts["sha256"]})
        record = {"files": {"transcript": facts}, "digest": digest}
        return Image(manifest, path.parent, {"transcript": path}, digest, record)

    def start(self, transcript: Transcript) -> Console:
        self._player = Player(self.recording, self.speed)
        return Console(self.tapped(self._player.port), transcript, explain_end=self._player.explain_end)

    def stop(self) -> None:
        if self._player is not None:
            self._player.close()
        self._player = None

    @Driver.check_active
    def get(self) -> bool:
        """Return whether it plays."""
        return self._player is not None and self._player.playing
