"""The reader of captures: VCD files of any instrument."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from hil.errors import ConfigurationError
from hil.measure.clock import ANALYSER, Clock
from hil.signals import vcd
from hil.signals.edges import Edges, Ticks, changes_only


def read_vcd(path: Path | str, channels: Sequence[str] = (), *, samplerate: float | None = None) -> dict[str, Edges]:
    """Return the edges of `channels`, named with or without their scopes (`top.clk`), by default all one-bit signals.

    Name a bit of a vector by its index: `data[3]`. `samplerate` is that of the instrument in Hz: VCD files have only a
    time scale, except those of sigrok. With a sample rate edges are placed on samples; without one the clock has no
    floor. Raises `ConfigurationError` for an incomplete VCD file, a channel that is missing or not of one bit, and
    edges off the samples of `samplerate`.
    """
    dump = vcd.read(Path(path), channels)
    if samplerate is not None and not 0 < samplerate < math.inf:
        raise ConfigurationError(
            f"the sample rate {samplerate!r} is not above 0 Hz", hint="Give it in Hz, such as 24e6."
        )
    rate = dump.rate if samplerate is None else float(samplerate)
    if rate is None:
        remark = "the time scale of the file; the sample rate of the instrument is unknown"
        clock = Clock(ANALYSER, 1 / float(dump.per_second), remark)
    else:
        clock = sampling_clock(rate)

    return {name: _edges(path, dump, name, rate, clock, {"capture": str(path)}) for name in dump.changes}


def sampling_clock(rate: float) -> Clock:
    """Return the clock of an instrument that samples at `rate` in Hz."""
    remark = "an edge is between two samples; the error of the instrument's crystal comes on top"
    return Clock(ANALYSER, 1 / rate, remark, floor=1 / rate)


def in_ns(
    path: Path, dump: vcd.Dump, channel: str, rate: float, clock: Clock, facts: Mapping[str, str] | None = None
) -> Edges:
    """Return the edges of a channel in a capture of sigrok's, taken at `rate` in Hz, with ticks of 1 ns.

    A tick is rounded: if the sample period is not a whole number of ns, equal intervals differ by up to 1 ns.
    """
    sampled = _edges(path, dump, channel, rate, clock, facts or {})
    ticks: Ticks = np.rint(sampled.ticks * (1e9 / rate)).astype(np.int64)
    return replace(sampled, ticks=ticks, end=round(sampled.end * 1e9 / rate), rate=1e9)


def _edges(
    path: Path | str, dump: vcd.Dump, name: str, rate: float | None, clock: Clock, facts: Mapping[str, str]
) -> Edges:
    """Return the edges of a channel, in samples if the sample rate is known."""
    packed = np.frombuffer(dump.changes[name], dtype=np.int64)
    ticks, levels = packed >> 2, (packed & 3).astype(np.uint8)
    last = np.append(ticks[1:] != ticks[:-1], True)  # of several values at one time the last counts
    ticks, levels = changes_only(ticks[last], levels[last])
    per_second = float(dump.per_second)
    if rate is None:
        return Edges(name, ticks, levels, dump.end, per_second, clock, facts)
    ticks = _on_samples(f"{path}: {name}", ticks, rate, per_second)
    return Edges(name, ticks, levels, round(dump.end * rate / per_second), float(rate), clock, facts)


def _on_samples(what: str, ticks: Ticks, rate: float, per_second: float) -> Ticks:
    """Return the numbers of the samples, at `rate`, at the times `ticks`."""
    exact = ticks * (rate / per_second)
    samples: Ticks = np.rint(exact).astype(np.int64)
    # a time is rounded to a tick, a number of samples to 53 bits
    if rate > per_second or (np.abs(exact - samples) > 0.51 * rate / per_second + 1e-15 * exact).any():
        raise ConfigurationError(
            f"{what} has edges that do not lie on samples at {rate:g} Hz",
            hint="Check the sample rate of the instrument.",
        )
    return samples
