"""The labgrid driver of a logic analyser."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import attr
from labgrid.driver import Driver
from labgrid.factory import target_factory
from labgrid.resource import SigrokDevice, SigrokUSBDevice, SigrokUSBSerialDevice
from labgrid.resource.remote import NetworkSigrokUSBDevice, NetworkSigrokUSBSerialDevice
from labgrid.step import step

from hil.board.live_capture import LiveCapture
from hil.board.sigrok import GRACE, SCAN_LIMIT, Capture, capture, endless
from hil.errors import ConfigurationError

MOST = 86400.0  # seconds of one capture


@target_factory.reg_driver
@attr.s(eq=False)
class HilAnalyserDriver(Driver):  # type: ignore[misc]
    """Captures of the logic analyser of a labgrid sigrok resource, local or at an exporter.

    The resource's `channels` name the wired channels, as `D0=CLK,D1=DATA`. The tool is `sigrok-cli`, or the
    environment's entry of that name in `tools:`.

    `samplerate` in Hz and `limit` in seconds are those of captures that run while a test acts, by `start`.
    """

    samplerate: float | None = attr.ib(default=None, converter=attr.converters.optional(float))
    limit: float = attr.ib(default=600.0, converter=float)

    bindings = {
        "sigrok": {
            SigrokDevice,
            SigrokUSBDevice,
            SigrokUSBSerialDevice,
            NetworkSigrokUSBDevice,
            NetworkSigrokUSBSerialDevice,
        }
    }

    @property
    def channels(self) -> dict[str, str]:
        """The wired channels: the device's own names by the given ones."""
        return {name: channel.partition("=")[0] for name, channel in self._named.items()}

    @Driver.check_active
    @step(args=["channels", "samplerate", "seconds"])
    def capture(self, path: Path, samplerate: float, seconds: float, channels: Sequence[str] = ()) -> Capture:
        """Sample `channels`, by default all that the resource names, as `hil.board.sigrok.capture` does."""
        return capture(
            self._device(),
            self._chosen(channels),
            samplerate,
            seconds,
            path,
            options=self._options,
            wrap=lambda command: self._limited(command, seconds + GRACE) if self.sigrok.command_prefix else command,
            tool=self._tool,
        )

    @Driver.check_active
    @step(args=["channels"])
    def start(self, path: Path, channels: Sequence[str] = ()) -> LiveCapture:
        """Start to sample `channels` into the VCD file `path`, by default all that the resource names.

        Sampling goes on until the returned capture is closed, for `limit` seconds at most. Raises as `capture`, and
        `ConfigurationError` without a sample rate and for a device that cannot sample continuously.
        """
        if self.samplerate is None:
            raise ConfigurationError(
                "the logic analyser has no sample rate for captures during a test",
                hint="set it in the board file, for example `HilAnalyserDriver: {samplerate: 4000000}`",
            )
        if not 1 <= self.limit <= MOST:
            raise ConfigurationError(
                f"the limit of captures during a test is {self.limit:g} s",
                hint=f"set `HilAnalyserDriver: {{limit: ...}}` to 1 to {MOST:g} s",
            )
        device, tool = self._device(), self._tool

        def wrap(command: list[str]) -> list[str]:
            return self._limited(command, self.limit if "--continuous" in command else SCAN_LIMIT)

        chosen = self._chosen(channels)
        command = endless(device, chosen, self.samplerate, options=self._options, wrap=wrap, tool=tool)
        names = tuple(channel.rpartition("=")[2] for channel in chosen)
        return LiveCapture(command, path, names, round(self.samplerate), device, self.limit)

    @property
    def _named(self) -> dict[str, str]:
        """The wired channels by name, as `D0=CLK`."""
        return {name.rpartition("=")[2]: name for name in (self.sigrok.channels or "").split(",") if name}

    @property
    def _options(self) -> list[str]:
        return ["-g", self.sigrok.channel_group] if self.sigrok.channel_group else []

    @property
    def _tool(self) -> str:
        return str(self.target.env.config.get_tool("sigrok-cli")) if self.target.env else "sigrok-cli"

    def _chosen(self, channels: Sequence[str]) -> list[str]:
        named = self._named
        return [named.get(channel, channel) for channel in channels or named]

    def _limited(self, command: list[str], seconds: float) -> list[str]:
        """Return the command at the host of the device, where it ends after `seconds` even if ssh is killed here."""
        return list(self.sigrok.wrap_command(["timeout", f"{seconds:.0f}", *command]))

    def _device(self) -> str:
        resource = self.sigrok
        if isinstance(resource, SigrokUSBDevice | NetworkSigrokUSBDevice):
            return f"{resource.driver}:conn={resource.busnum}.{resource.devnum}"
        if isinstance(resource, SigrokUSBSerialDevice | NetworkSigrokUSBSerialDevice):
            return f"{resource.driver}:conn={resource.path}"
        return str(resource.driver)
