"""Readers of captures: VCD files of any instrument, and raw samples of sigrok."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from hil.errors import ConfigurationError
from hil.measure.clock import ANALYSER, Clock
from hil.signals import vcd
from hil.signals.edges import Edges, Ticks, changes_only

_CHUNK = 1 << 20  # bytes


def read_vcd(path: Path, channels: Sequence[str] = (), *, samplerate: float | None = None) -> dict[str, Edges]:
    """Return the edges of `channels`, named with or without their scopes (`top.clk`), by default all one-bit signals.

    Name a bit of a vector by its index: `data[3]`. `samplerate` is that of the instrument in Hz: VCD files have only a
    time scale, except those of sigrok. With a sample rate edges are placed on samples; without one the clock has no
    floor. Raises `ConfigurationError` for an incomplete VCD file, a channel that is missing or not of one bit, and
    edges off the samples of `samplerate`.
    """
    dump = vcd.read(path, channels)
    rate = dump.rate if samplerate is None else _samplerate(samplerate)
    per_second = float(dump.per_second if rate is None else rate)
    if rate is None:
        clock = Clock(
            ANALYSER, 1 / per_second, "the time scale of the file; the sample rate of the instrument is unknown"
        )
    else:
        clock = _sampled(rate)

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


def read_samples(path: Path, channels: Mapping[str, int], samplerate: float, *, unitsize: int = 1) -> dict[str, Edges]:
    """Return the edges in raw samples of `unitsize` bytes, bit 0 first, as `sigrok-cli -O binary` writes them.

    `channels` maps names to bits; `samplerate` is in Hz. Raises `ConfigurationError` for an empty file, one that ends
    within a sample, a bit out of range, and a sample rate of 0 or less.
    """
    rate = _samplerate(samplerate)
    if unitsize < 1 or not channels:
        raise ConfigurationError(f"{path}: raw samples need a unit size of 1 or more and channels")
    for name, bit in channels.items():
        if not 0 <= bit < 8 * unitsize:
            raise ConfigurationError(f"{path}: {name} is bit {bit}, but samples have bits 0 to {8 * unitsize - 1}")
    found: dict[str, list[Ticks]] = {name: [] for name in channels}
    first: dict[str, int] = {}
    level: dict[str, int] = {}
    count = 0
    with vcd.opened(path) as file:
        while block := file.read(_CHUNK * unitsize):
            if len(block) % unitsize:
                raise ConfigurationError(
                    f"{path} ends within a sample of {unitsize} bytes",
                    hint="Check that the unit size is right and the file complete.",
                )
            rows = np.frombuffer(block, np.uint8).reshape(-1, unitsize)
            for name, bit in channels.items():
                bits = rows[:, bit // 8] & (1 << bit % 8) != 0
                before = level.get(name, bits[0])
                first.setdefault(name, int(bits[0]))
                changed = np.flatnonzero(np.diff(bits, prepend=before))
                found[name].append(changed + count)
                level[name] = bits[-1]
            count += len(rows)
    return {
        name: Edges(
            name,
            np.concatenate([[0], *found[name]]).astype(np.int64),
            ((np.arange(1 + sum(map(len, found[name]))) + first[name]) % 2).astype(np.uint8),
            count,
            rate,
            _sampled(rate),
            {"capture": str(path)},
        )
        for name in channels
    }


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


def _samplerate(rate: float) -> float:
    if not 0 < rate < math.inf:
        raise ConfigurationError(f"the sample rate {rate!r} is not above 0 Hz", hint="Give it in Hz, such as 24e6.")
    return float(rate)


def _sampled(rate: float) -> Clock:
    remark = "an edge is between two samples; the error of the instrument's crystal comes on top"
    return Clock(ANALYSER, 1 / rate, remark, floor=1 / rate)
