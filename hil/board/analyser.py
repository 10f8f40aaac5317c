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

from hil.board.sigrok import GRACE, Capture, capture


@target_factory.reg_driver
@attr.s(eq=False)
class HilAnalyserDriver(Driver):  # type: ignore[misc]
    """Captures of the logic analyser of a labgrid sigrok resource, local or at an exporter.

    The resource's `channels` name the wired channels, as `D0=CLK,D1=DATA`. The tool is `sigrok-cli`, or the
    environment's entry of that name in `tools:`.
    """

    bindings = {
        "sigrok": {
            SigrokDevice,
            SigrokUSBDevice,
            SigrokUSBSerialDevice,
            NetworkSigrokUSBDevice,
            NetworkSigrokUSBSerialDevice,
        }
    }

    @Driver.check_active
    @step(args=["channels", "samplerate", "seconds"])
    def capture(self, path: Path, samplerate: float, seconds: float, channels: Sequence[str] = ()) -> Capture:
        """Sample `channels`, by default all that the resource names, as `hil.board.sigrok.capture` does."""
        resource = self.sigrok
        named = {channel.rpartition("=")[2]: channel for channel in (resource.channels or "").split(",") if channel}
        limit = f"{seconds + GRACE:.0f}"

        def wrap(command: list[str]) -> list[str]:
            # if ssh is killed here, the tool goes on at the other end
            return list(resource.wrap_command(["timeout", limit, *command]) if resource.command_prefix else command)

        return capture(
            self._device(),
            [named.get(channel, channel) for channel in channels or named],
            samplerate,
            seconds,
            path,
            options=["-g", resource.channel_group] if resource.channel_group else [],
            wrap=wrap,
            tool=self.target.env.config.get_tool("sigrok-cli") if self.target.env else "sigrok-cli",
        )

    def _device(self) -> str:
        resource = self.sigrok
        if isinstance(resource, SigrokUSBDevice | NetworkSigrokUSBDevice):
            return f"{resource.driver}:conn={resource.busnum}.{resource.devnum}"
        if isinstance(resource, SigrokUSBSerialDevice | NetworkSigrokUSBSerialDevice):
            return f"{resource.driver}:conn={resource.path}"
        return str(resource.driver)
