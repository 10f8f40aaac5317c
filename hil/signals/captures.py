"""The reader of captures: VCD files of any instrument."""

from __future__ import annotations

import math
from collections.abc import Sequence
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
    per_second = float(dump.per_second if rate is None else rate)
    if rate is None:
        remark = "the time scale of the file; the sample rate of the instrument is unknown"
    else:
        remark = "an edge is between two samples; the error of the instrument's crystal comes on top"
    clock = Clock(ANALYSER, 1 / per_second, remark, floor=None if rate is None else 1 / rate)

    def edges(name: str) -> Edges:
        packed = np.frombuffer(dump.changes[name], dtype=np.int64)
        ticks, levels = packed >> 2, (packed & 3).astype(np.uint8)
        last = np.append(ticks[1:] != ticks[:-1], True)  # of several values at one time the last counts
        ticks, levels = changes_only(ticks[last], levels[last])
        if rate is not None:
            ticks = _on_samples(f"{path}: {name}", ticks, rate, float(dump.per_second))
        stop = dump.end if rate is None else round(dump.end * rate / float(dump.per_second))
        return Edges(name, ticks, levels, stop, per_second, clock, {"capture": str(path)})

    return {name: edges(name) for name in dump.changes}


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
