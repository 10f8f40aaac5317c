"""Captures of a logic analyser, through labgrid's sigrok resources and sigrok-cli, as VCD files."""

from __future__ import annotations

import math
import os
import re
import select
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import attr
from labgrid.driver import Driver
from labgrid.factory import target_factory
from labgrid.resource import SigrokDevice, SigrokUSBDevice, SigrokUSBSerialDevice
from labgrid.resource.remote import NetworkSigrokUSBDevice, NetworkSigrokUSBSerialDevice
from labgrid.step import step

from hil.errors import ConfigurationError, InfrastructureError
from hil.host import tools
from hil.host.hints import did_you_mean
from hil.host.processes import end_group

SCAN_LIMIT = 20.0  # seconds to find a device; some take their firmware first
GRACE = 20.0  # seconds that a capture may take beyond its length
TAIL = 512  # bytes
_RATE = re.compile(r"channels at (\d+(?:\.\d+)?) ([kMG]?)Hz")
_PREFIXES = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}
_CHANNELS = re.compile(r"^\S+ - .* with \d+ channels?: (.+)$", re.M)
_STARTED = re.compile(rb"^sr: \[(\d+):(\d+\.\d+)\] hwdriver: .*Starting acquisition")
_SAMPLES = re.compile(rb"^cli: Received SR_DF_LOGIC \((\d+) bytes, unitsize = (\d+)\)")
_LOG = re.compile(r"^(sr|srd|cli): (\[|Received)")


@dataclass(frozen=True)
class Instant:
    """An instant on the host's monotonic clock: `ns`, give or take `uncertainty` seconds."""

    ns: int
    uncertainty: float


@dataclass(frozen=True)
class Capture:
    """What was captured: a VCD file of at least the `channels`, `samplerate` (Hz), samples, and its start."""

    path: Path
    channels: tuple[str, ...]
    samplerate: int
    samples: int
    began: Instant


def stated_rate(comment: str) -> float | None:
    """The sample rate in Hz that sigrok states in the comment of a VCD file; None where it does not."""
    stated = _RATE.search(comment)
    return float(stated[1]) * _PREFIXES[stated[2]] if stated else None


def capture(
    device: str,
    channels: Sequence[str],
    samplerate: float,
    seconds: float,
    path: Path,
    *,
    options: Sequence[str] = (),
    wrap: Callable[[list[str]], list[str]] = list,
    tool: str = "sigrok-cli",
) -> Capture:
    """Sample `channels` of `device`, sigrok's name of it as `"fx2lafw:conn=1.5"`, into the VCD file `path`.

    A channel is named as the device does, or as `"D0=CLK"`, renamed. `samplerate` is in Hz; `options` are
    more arguments for sigrok-cli, and `wrap` makes of a command one that runs where the device is.

    Raises `ConfigurationError` for a driver, channel or sample rate that is not there, and
    `InfrastructureError` without sigrok or the device, for one that hangs, and for too few samples.
    """
    count = _samples(samplerate, seconds)
    base = [tool, "-d", device, *options]
    # The VCD writer of libsigrok takes the first bits for the enabled channels, whichever these are, as some
    # drivers do and others do not; with all channels up to the last that is wanted both are right.
    run = _run_up_to(channels, _device_channels(wrap([*base, "--show"]), device))
    sampling = ["-C", ",".join(run), "--config", f"samplerate={samplerate:.0f}", "--samples", str(count)]
    command = wrap([*base, "-l", "4", *sampling, "-O", "vcd"])
    began = _Start(samplerate)
    try:
        with path.open("wb") as file:
            said = _stamped(command, file.fileno(), seconds + GRACE, began)
    except OSError as error:
        raise InfrastructureError(f"cannot write the capture {path}: {error.strerror}") from error
    whole = _whole(path)
    if not began.samples:
        raise InfrastructureError(f"the device {device} gave no samples{said}", hint="does it wait for a trigger?")
    if began.samples < count or not whole:
        raise InfrastructureError(
            f"{path} holds not all of the {count} samples, {began.samples} came from {device}{said}",
            hint="capture slower or fewer channels, and look whether the disk is full",
        )
    with path.open("rb") as file:
        rate = stated_rate(file.read(TAIL).decode("utf-8", "replace"))
    if rate is not None and round(rate) != round(samplerate):
        raise ConfigurationError(
            f"{device} samples at {rate:g} Hz, not at {samplerate:g}",
            hint=f"`{tool} -d {device} --show` lists its rates",
        )
    names = tuple(channel.rpartition("=")[2] for channel in channels)
    return Capture(path, names, round(samplerate), count, began.instant())


class _Start:
    """Bounds of the instant at which sampling started, from what sigrok-cli logs and when that arrives.

    It cannot be before sigrok-cli was started plus the time after which, by its log's own clock, it started
    the device; and no sample arrives before it is taken.
    """

    def __init__(self, samplerate: float) -> None:
        self.samples = 0
        self._period_ns = 1e9 / samplerate
        self._earliest = float(time.monotonic_ns())
        self._latest = math.inf

    def line(self, line: bytes, stamp: int) -> None:
        if match := _STARTED.match(line):
            self._earliest += (int(match[1]) * 60 + float(match[2])) * 1e9
        elif match := _SAMPLES.match(line):
            self.samples += int(match[1]) // int(match[2])
            self._latest = min(self._latest, stamp - (self.samples - 1) * self._period_ns)

    def instant(self) -> Instant:
        earliest, latest = sorted((self._earliest, self._latest))
        return Instant(round((earliest + latest) / 2), (latest - earliest) / 2e9)


def _samples(samplerate: float, seconds: float) -> int:
    if not (1 <= samplerate < math.inf and float(samplerate).is_integer()):
        raise ConfigurationError(f"a sample rate is a whole number of Hz, not {samplerate!r}")
    if not 0 < seconds < math.inf or (count := round(samplerate * seconds)) < 2:
        raise ConfigurationError(f"{seconds!r} s at {samplerate:g} Hz is no capture: two samples are the least")
    return count


def _device_channels(command: list[str], device: str) -> list[str]:
    """The channels that the device has, in its order."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL, timeout=SCAN_LIMIT
        )
    except FileNotFoundError as error:
        raise _missing(command) from error
    except subprocess.TimeoutExpired:
        raise _hung(command, SCAN_LIMIT) from None
    if found := _CHANNELS.search(done.stdout):
        return found[1].split()
    raise _failure(command, device, done.returncode, done.stdout + done.stderr)


def _run_up_to(channels: Sequence[str], device: Sequence[str]) -> list[str]:
    """The device's channels up to the last of `channels`, these with the names that they shall have."""
    if not channels or isinstance(channels, str):
        raise ConfigurationError(f"a capture needs a list of channels, not {channels!r}", hint=_listed(device))
    names = {channel.partition("=")[0]: channel for channel in channels}
    for channel in names:
        if channel not in device:
            hint = did_you_mean(channel, device) + _listed(device)
            raise ConfigurationError(f"the logic analyser has no channel {channel!r}", hint=hint)
    last = max(device.index(channel) for channel in names)
    return [names.get(channel, channel) for channel in device[: last + 1]]


def _listed(device: Sequence[str]) -> str:
    return f"its channels are: {', '.join(device)}"


def _stamped(command: list[str], output: int, limit: float, start: _Start) -> str:
    """Run `command` with `output`, stamping the lines of its log; returns the last of them, as a text's end."""
    deadline = time.monotonic() + limit
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.PIPE, start_new_session=True
        )
    except FileNotFoundError as error:
        raise _missing(command) from error
    assert process.stderr is not None
    log = process.stderr.fileno()
    said, rest = "", b""
    try:
        while True:
            if not select.select([log], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise _hung(command, limit, said)
            data = os.read(log, 1 << 16)
            stamp = time.monotonic_ns()
            if not data:
                break
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                start.line(line, stamp)
            said = (said + data.decode("utf-8", "replace"))[-TAIL * 8 :]
        process.wait(max(0.1, deadline - time.monotonic()))
    except BaseException as error:
        end_group(process, 0.0)
        if isinstance(error, subprocess.TimeoutExpired):
            raise _hung(command, limit, said) from None
        raise
    finally:
        process.stderr.close()
    if process.returncode:
        raise _failure(command, command[command.index("-d") + 1], process.returncode, said)
    return _last(said)


def _whole(path: Path) -> bool:
    """Whether the file has its last line, the time at which the capture ended: sigrok-cli ignores a full disk."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL))
        return re.search(rb"\n#\d+\n$", file.read(TAIL)) is not None


def _last(said: str) -> str:
    lines = [line for line in said.splitlines() if line.strip() and not _LOG.match(line)][-3:]
    return f"; it said: {' / '.join(lines)}" if lines else ""


def _missing(command: Sequence[str]) -> InfrastructureError:
    return tools.missing(command[0])


def _hung(command: Sequence[str], limit: float, said: str = "") -> InfrastructureError:
    return InfrastructureError(
        f"`{' '.join(command)}` did not end within {limit:g} s{_last(said)}",
        hint="does the device wait for a trigger? Plug it in anew",
    )


def _failure(command: Sequence[str], device: str, status: int, said: str) -> ConfigurationError | InfrastructureError:
    text = f"`{' '.join(command)}` failed with status {status}{_last(said)}"
    if re.search(r"Driver \S+ not found", said):
        return ConfigurationError(text, hint="`sigrok-cli -L` lists the drivers")
    if re.search(r"option '|[Ii]nvalid", said):
        return ConfigurationError(text, hint=f"`sigrok-cli -d {device} --show` lists what the device can")
    if status == 127:
        return InfrastructureError(text, hint=f"{tools.install_hint('sigrok-cli')}, on the host of the device")
    return InfrastructureError(
        text, hint="is the device plugged in, may this user open it, has it its firmware, and does nobody else use it?"
    )


@target_factory.reg_driver
@attr.s(eq=False)
class HilAnalyserDriver(Driver):  # type: ignore[misc]
    """Captures of the logic analyser that one of labgrid's sigrok resources describes, here or at an exporter.

    The resource's `channels` name what is wired, as `D0=CLK,D1=DATA`; the tool is `sigrok-cli`, or what the
    environment's `tools:` has under that name.
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
        """Sample `channels`, all that the resource names where none are given; as `capture` of this module."""
        resource = self.sigrok
        named = {one.rpartition("=")[2]: one for one in (resource.channels or "").split(",") if one}
        limit = f"{seconds + GRACE:.0f}"

        def wrap(command: list[str]) -> list[str]:
            # ended by us, ssh would leave the tool running at the other end
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
