"""Captures of a logic analyser with sigrok-cli, as VCD files, with the time at which sampling started."""

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

from hil.errors import ConfigurationError, InfrastructureError
from hil.host import tools
from hil.host.disk import disk_errors
from hil.host.hints import did_you_mean
from hil.host.processes import end_group

SCAN_LIMIT = 20.0  # seconds to find a device; some load their firmware first
GRACE = 20.0  # seconds that a capture may take beyond its length
TAIL = 512  # bytes at the end of a VCD file that are examined
_RATE = re.compile(r"channels at (\d+(?:\.\d+)?) ([kMG]?)Hz")
_PREFIXES = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}
_CHANNELS = re.compile(r"^\S+ - .* with \d+ channels?: (.+)$", re.M)
_STARTED = re.compile(rb"^sr: \[(\d+):(\d+\.\d+)\] hwdriver: .*Starting acquisition")
_SAMPLES = re.compile(rb"^cli: Received SR_DF_LOGIC \((\d+) bytes, unitsize = (\d+)\)")
_LOG = re.compile(r"^(sr|srd|cli): (\[|Received)")


@dataclass(frozen=True)
class Instant:
    """An instant on the host's monotonic clock: `ns`, plus or minus `uncertainty` seconds."""

    ns: int
    uncertainty: float


@dataclass(frozen=True)
class Capture:
    """A capture: a VCD file with at least the `channels`, its `samplerate` (Hz), number of samples, and start."""

    path: Path
    channels: tuple[str, ...]
    samplerate: int
    samples: int
    began: Instant


def stated_rate(comment: str) -> float | None:
    """Return the sample rate in Hz from the comment of a VCD file by sigrok; None if it has none."""
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
    """Sample `channels` of `device`, sigrok's name like `"fx2lafw:conn=1.5"`, into the VCD file `path`.

    A channel is the device's own name, or renamed like `"D0=CLK"`. `samplerate` is in Hz. `options` are more arguments
    for sigrok-cli; `wrap` converts a command to one that runs on the host of the device.

    Raises `ConfigurationError` for an unknown driver, channel or sample rate, `InfrastructureError` without sigrok or
    the device, for a device that hangs, and for too few samples.
    """
    count = _samples(samplerate, seconds)
    base = [tool, "-d", device, *options]
    run = _run_up_to(channels, _device_channels(wrap([*base, "--show"]), device))
    command = wrap([*base, *_sampling(run, samplerate, "--samples", str(count))])
    began = Start(samplerate)
    with disk_errors(f"write the capture {path}"), path.open("wb") as file:
        output = _stamped(command, file.fileno(), seconds + GRACE, began)
    complete = _complete(path)
    if not began.samples:
        raise InfrastructureError(
            f"the device {device} gave no samples{output}", hint="check whether it waits for a trigger"
        )
    if began.samples < count or not complete:
        raise InfrastructureError(
            f"{path} does not hold all of the {count} samples, {began.samples} came from {device}{output}",
            hint="capture slower or fewer channels, and check that the disk is not full",
        )
    with path.open("rb") as file:
        check_rate(file.read(TAIL), device, samplerate, tool)
    names = tuple(channel.rpartition("=")[2] for channel in channels)
    return Capture(path, names, round(samplerate), count, began.instant())


def endless(
    device: str,
    channels: Sequence[str],
    samplerate: float,
    *,
    options: Sequence[str] = (),
    wrap: Callable[[list[str]], list[str]] = list,
    tool: str = "sigrok-cli",
) -> list[str]:
    """Return the command that samples until it reads a key, as VCD on its output. Arguments and errors as `capture`."""
    _check_rate(samplerate)
    base = [tool, "-d", device, *options]
    run = _run_up_to(channels, _device_channels(wrap([*base, "--show"]), device))
    return wrap([*base, *_sampling(run, samplerate, "--continuous")])


def check_rate(head: bytes, device: str, samplerate: float, tool: str = "sigrok-cli") -> None:
    """Raise `ConfigurationError` if the begin of a VCD file states another sample rate than `samplerate`."""
    rate = stated_rate(head.decode("utf-8", "replace"))
    if rate is not None and round(rate) != round(samplerate):
        raise ConfigurationError(
            f"{device} samples at {rate:g} Hz, not at {samplerate:g}",
            hint=f"`{tool} -d {device} --show` lists its rates",
        )


def _sampling(run: Sequence[str], samplerate: float, *length: str) -> list[str]:
    return ["-l", "4", "-C", ",".join(run), "--config", f"samplerate={samplerate:.0f}", *length, "-O", "vcd"]


class Start:
    """Bounds of the instant at which sampling started, from sigrok-cli's log lines and their arrival.

    The earliest is the start of sigrok-cli plus the time, by the clock of its log, until it started the device. The
    latest follows from the arrival of samples: none arrives before it is taken.
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
        earliest, latest = self.bounds()
        return Instant(round((earliest + latest) / 2), (latest - earliest) / 2e9)

    def bounds(self) -> tuple[float, float]:
        """Return the earliest and the latest possible start, in ns of the host's monotonic clock."""
        earliest, latest = sorted((self._earliest, self._latest))
        return earliest, latest


def _check_rate(samplerate: float) -> None:
    if not (1 <= samplerate < math.inf and float(samplerate).is_integer()):
        raise ConfigurationError(f"the sample rate {samplerate!r} is not a whole number of Hz")


def _samples(samplerate: float, seconds: float) -> int:
    _check_rate(samplerate)
    if not 0 < seconds < math.inf or (count := round(samplerate * seconds)) < 2:
        raise ConfigurationError(f"no capture of {seconds!r} s at {samplerate:g} Hz: the minimum is two samples")
    return count


def _device_channels(command: list[str], device: str) -> list[str]:
    """Return the channels of the device, in its order."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL, timeout=SCAN_LIMIT
        )
    except FileNotFoundError as error:
        raise tools.missing(command[0]) from error
    except subprocess.TimeoutExpired:
        raise _hung(command, SCAN_LIMIT) from None
    if found := _CHANNELS.search(done.stdout):
        return found[1].split()
    raise failure(command, device, done.returncode, done.stdout + done.stderr)


def _run_up_to(channels: Sequence[str], device: Sequence[str]) -> list[str]:
    """Return the device's channels up to the last of `channels`, renamed as these are.

    libsigrok's VCD writer assigns the first bits to the enabled channels. Not all drivers do, so all channels up to the
    last one are enabled: then both agree.
    """
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


def _stamped(command: list[str], output: int, limit: float, start: Start) -> str:
    """Run `command`, its stdout in the file `output`, stamp its log lines, and return the last ones for a message."""
    deadline = time.monotonic() + limit
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.PIPE, start_new_session=True
        )
    except FileNotFoundError as error:
        raise tools.missing(command[0]) from error
    assert process.stderr is not None
    log = process.stderr.fileno()
    text, partial = "", b""
    try:
        while True:
            if not select.select([log], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise _hung(command, limit, text)
            data = os.read(log, 1 << 16)
            stamp = time.monotonic_ns()
            if not data:
                break
            *lines, partial = (partial + data).split(b"\n")
            for line in lines:
                start.line(line, stamp)
            text = (text + data.decode("utf-8", "replace"))[-TAIL * 8 :]
        process.wait(max(0.1, deadline - time.monotonic()))
    except BaseException as error:
        end_group(process, 0.0)
        if isinstance(error, subprocess.TimeoutExpired):
            raise _hung(command, limit, text) from None
        raise
    finally:
        process.stderr.close()
    if process.returncode:
        raise failure(command, command[command.index("-d") + 1], process.returncode, text)
    return last_lines(text)


def _complete(path: Path) -> bool:
    """Return whether the file has its last line, the end of the capture: sigrok-cli ignores a full disk."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL))
        return re.search(rb"\n#\d+\n$", file.read(TAIL)) is not None


def last_lines(output: str) -> str:
    lines = [line for line in output.splitlines() if line.strip() and not _LOG.match(line)][-3:]
    return f"; its output: {' / '.join(lines)}" if lines else ""


def _hung(command: Sequence[str], limit: float, output: str = "") -> InfrastructureError:
    return InfrastructureError(
        f"`{' '.join(command)}` did not end within {limit:g} s{last_lines(output)}",
        hint="check whether the device waits for a trigger, and plug it in again",
    )


def failure(command: Sequence[str], device: str, status: int, output: str) -> ConfigurationError | InfrastructureError:
    text = f"`{' '.join(command)}` failed with status {status}{last_lines(output)}"
    if re.search(r"Driver \S+ not found", output):
        return ConfigurationError(text, hint="`sigrok-cli -L` lists the drivers")
    if re.search(r"option '|[Ii]nvalid", output):
        return ConfigurationError(text, hint=f"`sigrok-cli -d {device} --show` lists the options of the device")
    if status == 127:
        return InfrastructureError(text, hint=f"{tools.install_hint('sigrok-cli')}, on the host of the device")
    return InfrastructureError(
        text, hint="check that the device is connected, has firmware, is accessible to this user and idle"
    )
