"""Edges of digital signals, from a logic analyser's capture, and the series that they give.

A capture is a VCD file (IEEE 1364, clause 18) of any instrument, or sigrok's raw samples. An edge is a
change straight from 0 to 1 or back; where a level is unknown (`x` or `z`) no edge and no interval is.
"""

from __future__ import annotations

import difflib
import itertools
import math
import re
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from hil.board.analyser import Instant, stated_rate
from hil.errors import ConfigurationError
from hil.timing.series import Clock, Series
from hil.timing.units import Amount, amount, shown

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from hil.timing.series import Floats

    Ticks = NDArray[np.int64]
    Levels = NDArray[np.uint8]

CLOCK = "logic analyser"
DRIFT = 100e-6  # two ordinary crystals, 50 ppm each
UNKNOWN = 2
_CHUNK = 1 << 20  # bytes
_LEVELS = {b"0": 0, b"1": 1, b"x": UNKNOWN, b"X": UNKNOWN, b"z": UNKNOWN, b"Z": UNKNOWN}
_TIMESCALE = re.compile(r"(100?|1)(s|ms|us|ns|ps|fs)")
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9, "ps": 10**12, "fs": 10**15}
_LATEST = 1 << 63  # what fits into 64 bits, with two for the level
_MARKS = (b"$dumpvars", b"$dumpall", b"$dumpon", b"$dumpoff", b"$end")


@dataclass(frozen=True, eq=False)
class Edges:
    """What one channel did: at `ticks[i]` its level became `levels[i]` (0, 1, or 2 for unknown) until the next.

    The first entry is the level at the start. There are `rate` ticks in a second; the capture ended at tick
    `end`. Each series raises `ConfigurationError` where the channel has too few edges for it. Intervals are
    subtracted in ticks, so equal intervals give equal samples.
    """

    channel: str
    ticks: Ticks
    levels: Levels
    end: int
    rate: float
    clock: Clock
    provenance: Mapping[str, str] = field(default_factory=dict)

    @property
    def rising(self) -> Floats:
        """Times of the changes from 0 to 1, in seconds by the capture's clock."""
        return self._seconds(self.ticks[self._begins(0, 1)])

    @property
    def falling(self) -> Floats:
        """Times of the changes from 1 to 0, in seconds by the capture's clock."""
        return self._seconds(self.ticks[self._begins(1, 0)])

    def period(self) -> Series:
        """From each rising edge to the next."""
        at = self._begins(0, 1, 0, 1)
        return self._series("period", self.ticks[at + 2] - self.ticks[at], at)

    def high_time(self) -> Series:
        """From each rising edge to the falling one after it."""
        at = self._begins(0, 1, 0)
        return self._series("high time", self.ticks[at + 1] - self.ticks[at], at)

    def low_time(self) -> Series:
        """From each falling edge to the rising one after it."""
        at = self._begins(1, 0, 1)
        return self._series("low time", self.ticks[at + 1] - self.ticks[at], at)

    def duty_cycle(self) -> Series:
        """The high part of each period, a ratio."""
        at = self._begins(0, 1, 0, 1)
        self._enough("duty cycle", at)
        high, whole = self.ticks[at + 1] - self.ticks[at], self.ticks[at + 2] - self.ticks[at]
        coarse = f"a sample is up to {shown(1 / int(whole.min()), '1')} of a period"
        clock = replace(self.clock, remark=f"{coarse}; {self.clock.remark}")
        return self._of("duty cycle", high / whole, self._seconds(self.ticks[at]), clock, unit="1")

    def period_jitter(self, nominal: Amount | None = None) -> Series:
        """Each period less `nominal`, a time, or less their mean where none is given."""
        periods = self.period()
        ideal = float(periods.samples.mean()) if nominal is None else amount(nominal, "s", "the nominal period")
        said = {"nominal period": f"{shown(ideal)}{' (mean)' if nominal is None else ''}"}
        return replace(
            periods,
            quantity="period jitter",
            samples=periods.samples - ideal,
            provenance={**periods.provenance, **said},
        )

    def cycle_to_cycle_jitter(self) -> Series:
        """Each period less the one before it."""
        at = self._begins(0, 1, 0, 1, 0, 1)
        first, second, third = (self.ticks[at + step] for step in (0, 2, 4))
        return self._series("cycle-to-cycle jitter", third - 2 * second + first, at, edges=3)

    def latency_to(self, other: Edges, edge: str = "rising", answer: str = "rising") -> Series:
        """From each edge here to the first one of `other`, of the same capture, before the next edge here.

        `edge` and `answer` are `"rising"`, `"falling"` or `"any"`. How many edges had no answer is in the
        provenance.
        """
        if other.rate != self.rate:
            raise ConfigurationError(
                f"the channels {self.channel} and {other.channel} are of different captures: "
                f"{self.rate:g} and {other.rate:g} ticks a second",
                hint="capture both channels at once",
            )
        asked, answered = self._chosen(edge), other._chosen(answer)
        self._enough("latency", asked)
        subject = f"{self.channel} {edge} to {other.channel} {answer}"
        return self._latency(subject, self._seconds(asked), self._seconds(answered), self.clock)

    def latency_to_console(self, stamps_ns: Sequence[int], began: Instant, host: Clock, edge: str = "rising") -> Series:
        """From each edge to the first console line after it, before the next edge.

        `stamps_ns` are the lines' host monotonic stamps, ascending, `host` is the clock that took them, and
        `began` the instant of the capture's start on it. The floor of the series' clock adds up what each is
        uncertain by: the start, which shifts all samples alike, the drift between the two clocks, and theirs.
        Raises `ConfigurationError` where edges follow each other too fast for such a floor.
        """
        import numpy as np

        asked = self._chosen(edge)
        self._enough("latency", asked)
        times = self._seconds(asked)
        slack = began.uncertainty + DRIFT * float(times[-1]) + host.uncertainty + self.clock.uncertainty
        if len(times) > 1 and (closest := float(np.diff(times).min())) <= 2 * slack:
            raise ConfigurationError(
                f"edges of {self.channel} come {shown(closest)} apart, but the console's stamps are only known "
                f"to {shown(slack)} on the analyser's clock: a line may belong to either edge",
                hint="put the console's line on the analyser, too, or let the edges come slower",
            )
        remark = (
            f"against {host.name}; the capture's start is known to {shown(began.uncertainty)}, and shifts all "
            f"samples alike; the clocks may drift apart by {DRIFT * 1e6:.0f} ppm"
        )
        clock = Clock(self.clock.name, max(self.clock.resolution, host.resolution), remark, floor=slack)
        lines = (np.asarray(stamps_ns, dtype=np.int64) - began.ns) / 1e9
        return self._latency(f"{self.channel} {edge} to the console", times, lines, clock, slack)

    def without_glitches(self, width: Amount) -> Edges:
        """The channel without pulses, high or low, shorter than `width`.

        A level counts from where it stays for `width`, so a contact that bounces has its edge at the last
        bounce. How many pulses went is in the provenance.
        """
        import numpy as np

        least = amount(width, "s", "the width of a glitch")
        kept = (np.diff(self.ticks, append=self.end) / self.rate >= least) | (self.levels == UNKNOWN)
        kept[[0, -1]] = True  # cut by the capture: how long they were is not known
        ticks, levels = _changes(self.ticks[kept], self.levels[kept])
        said = {"glitches removed": f"{int((~kept).sum())} shorter than {width}"}
        return replace(self, ticks=ticks, levels=levels, provenance={**self.provenance, **said})

    def __str__(self) -> str:
        return (
            f"{self.channel}: {len(self._begins(0, 1))} rising and {len(self._begins(1, 0))} falling edges in "
            f"{shown(self.end / self.rate)}, clock: {self.clock}"
        )

    def _begins(self, first: int, *pattern: int) -> NDArray[np.intp]:
        """The indices of the edges from `first` after which the levels follow `pattern`."""
        import numpy as np

        levels = self.levels
        last = max(0, len(levels) - len(pattern))
        found = levels[:last] == first
        for step, level in enumerate(pattern, 1):
            found &= levels[step : step + last] == level
        return np.flatnonzero(found) + 1

    def _chosen(self, edge: str) -> Ticks:
        import numpy as np

        patterns = {"rising": ((0, 1),), "falling": ((1, 0),), "any": ((0, 1), (1, 0))}
        if edge not in patterns:
            raise ConfigurationError(f"there is no edge {edge!r}", hint=f"the edges are: {', '.join(patterns)}")
        at = np.sort(np.concatenate([self._begins(*pattern) for pattern in patterns[edge]]))
        chosen: Ticks = self.ticks[at]
        return chosen

    def _seconds(self, ticks: NDArray[np.int64]) -> Floats:
        return ticks / self.rate

    def _enough(self, quantity: str, found: NDArray[np.int64]) -> None:
        if not len(found):
            raise ConfigurationError(
                f"too few edges for a {quantity}: {self}",
                hint="is the probe on the pin, does it toggle, and is the capture long enough?",
            )

    def _series(self, quantity: str, ticks: Ticks, at: NDArray[np.intp], edges: int = 2) -> Series:
        self._enough(quantity, at)
        clock = self.clock
        if clock.floor:  # each edge adds up to one sample of error, less the one that all have
            clock = replace(clock, floor=clock.floor * (edges - 1))
        return self._of(quantity, self._seconds(ticks), self._seconds(self.ticks[at]), clock)

    def _of(self, quantity: str, samples: Floats, times: Floats, clock: Clock, unit: str = "s") -> Series:
        return Series(quantity, self.channel, samples, clock, unit, times=times, provenance=self.provenance)

    def _latency(self, subject: str, asked: Floats, answers: Floats, clock: Clock, slack: float = 0.0) -> Series:
        """From each of `asked` to the first of `answers` before the next; `slack` earlier counts, too."""
        import numpy as np

        place = np.searchsorted(answers, asked - slack)
        first = np.append(answers, np.inf)[place]
        answered = first < np.append(asked[1:] - slack, np.inf)
        if not answered.any():
            raise ConfigurationError(
                f"none of the {len(asked)} edges was answered: {subject}",
                hint="was the right edge chosen, and did both run at the same time?",
            )
        said = {"unanswered": f"{int((~answered).sum())} of {len(asked)}"}
        return Series(
            "latency",
            subject,
            first[answered] - asked[answered],
            clock,
            times=asked[answered],
            provenance={**self.provenance, **said},
        )


def read_vcd(path: Path, channels: Sequence[str] = (), *, samplerate: float | None = None) -> dict[str, Edges]:
    """The edges of `channels`, by their names or with their scopes (`top.clk`), all where none is named.

    `samplerate`, in Hz, is that of the instrument: a VCD file tells only its own time scale, except
    sigrok's. Where it is known the edges are put on the samples; where it is not, the clock has no floor.

    Raises `ConfigurationError` for a file that is no whole VCD, a channel that is not there or is wider
    than one bit, and edges that do not lie on samples of `samplerate`.
    """
    with _opened(path) as file:
        words = _words(path, file)
        header = _Header(path, words)
        chosen = header.choose(channels)
        events, end = _events(path, words, {code for _, code in header.variables}, set(chosen.values()))
    rate = header.rate if samplerate is None else _samplerate(samplerate)
    per_second = float(header.per_second if rate is None else rate)
    if rate is None:
        clock = Clock(CLOCK, 1 / per_second, "the file's time scale; it does not tell the instrument's sample rate")
    else:
        clock = _sampled(rate)

    def edges(name: str, code: bytes) -> Edges:
        import numpy as np

        packed = np.frombuffer(events[code], dtype=np.int64)
        ticks, levels = packed >> 2, (packed & 3).astype(np.uint8)
        last = np.append(ticks[1:] != ticks[:-1], True)  # of several values at one time the last one holds
        ticks, levels = _changes(ticks[last], levels[last])
        if rate is not None:
            ticks = _on_samples(f"{path}: {name}", ticks, rate, header.per_second)
        stop = end if rate is None else round(end * rate / header.per_second)
        return Edges(name, ticks, levels, stop, per_second, clock, {"capture": str(path)})

    return {name: edges(name, code) for name, code in chosen.items()}


def read_samples(path: Path, channels: Mapping[str, int], samplerate: float, *, unitsize: int = 1) -> dict[str, Edges]:
    """The edges in raw samples, as `sigrok-cli -O binary` writes them: `unitsize` bytes each, bit 0 first.

    `channels` maps names to bits; `samplerate` is in Hz. Raises `ConfigurationError` for an empty file, one
    that ends within a sample, a bit that is not there, and a sample rate that is none.
    """
    import numpy as np

    rate = _samplerate(samplerate)
    if unitsize < 1 or not channels:
        raise ConfigurationError(f"{path}: raw samples need a unit size of 1 or more, and the bits of channels")
    for name, bit in channels.items():
        if not 0 <= bit < 8 * unitsize:
            raise ConfigurationError(f"{path}: {name} is bit {bit}, but samples have bits 0 to {8 * unitsize - 1}")
    found: dict[str, list[Ticks]] = {name: [] for name in channels}
    first: dict[str, int] = {}
    level: dict[str, int] = {}
    count = 0
    with _opened(path) as file:
        while block := file.read(_CHUNK * unitsize):
            if len(block) % unitsize:
                raise ConfigurationError(
                    f"{path} ends within a sample of {unitsize} bytes",
                    hint="is the unit size right, and the file whole?",
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


class _Header:
    """What a VCD file declares: its time scale in ticks per second, sigrok's sample rate, its variables."""

    def __init__(self, path: Path, words: Iterator[bytes]) -> None:
        self.path = path
        self.rate: float | None = None
        self.variables: list[tuple[str, bytes]] = []
        self._wide: dict[str, str] = {}
        timescale = ""
        scopes: list[str] = []
        for word in words:
            # sigrok-cli may put a line of its own before the first section
            if not word.startswith(b"$"):
                continue
            said = [one.decode("utf-8", "replace") for one in itertools.takewhile(lambda one: one != b"$end", words)]
            match word:
                case b"$comment":
                    self.rate = stated_rate(" ".join(said)) or self.rate
                case b"$timescale":
                    timescale = "".join(said)
                case b"$scope":
                    scopes.append(said[-1] if said else "")
                case b"$upscope" if scopes:
                    scopes.pop()
                case b"$var":
                    self._declare(scopes, said)
                case b"$enddefinitions":
                    break
        else:
            raise ConfigurationError(
                f"{path} has no $enddefinitions", hint="is it a VCD file, and was it written to its end?"
            )
        scale = _TIMESCALE.fullmatch(timescale)
        if scale is None:
            raise ConfigurationError(
                f"{path}: the time scale {timescale!r} is none" if timescale else f"{path} tells no time scale",
                hint="a VCD file has, for example, `$timescale 10 ns $end`: 1, 10 or 100 of s, ms, us, ns, ps or fs",
            )
        self.per_second = _PER_SECOND[scale[2]] / int(scale[1])

    def _declare(self, scopes: Sequence[str], said: Sequence[str]) -> None:
        if len(said) < 4:
            raise ConfigurationError(f"{self.path}: `$var {' '.join(said)}` lacks a type, size, code or name")
        kind, size, code, *name = said
        full = ".".join([*scopes, "".join(name)])
        if size != "1" or kind in ("real", "realtime", "event", "string"):
            self._wide[full] = f"{kind} of {size} bits"
        self.variables.append((full, code.encode()))

    def choose(self, channels: Sequence[str]) -> dict[str, bytes]:
        """The codes of `channels`. Raises `ConfigurationError` unless each is there, once, and of one bit."""
        names = [full for full, _ in self.variables]
        single = [full for full in names if full not in self._wide]
        if not channels and self._wide:
            raise ConfigurationError(
                f"{self.path} has signals that are not of one bit: {', '.join(self._wide)}",
                hint=f"name the channels that you want; of one bit are: {', '.join(single) or 'none'}",
            )
        short = [full.rpartition(".")[2] for full in names]
        if not channels:
            channels = [full if short.count(one) > 1 else one for full, one in zip(names, short, strict=True)]
        chosen = {}
        for channel in channels:
            codes = {full: code for full, code in self.variables if channel in (full, full.rpartition(".")[2])}
            if not codes:
                near = difflib.get_close_matches(channel, short + names, n=1)
                raise ConfigurationError(
                    f"{self.path} has no channel {channel!r}",
                    hint=(f"did you mean {near[0]!r}? " if near else "")
                    + (f"the channels are: {', '.join(single)}" if single else "it has none of one bit"),
                )
            if len(set(codes.values())) > 1:
                raise ConfigurationError(f"{self.path}: {channel!r} may be any of {', '.join(codes)}")
            full, code = next(iter(codes.items()))
            if full in self._wide:
                raise ConfigurationError(
                    f"{self.path}: {channel!r} is a {self._wide[full]}: only a signal of one bit has edges",
                    hint=f"of one bit are: {', '.join(single) or 'none'}",
                )
            chosen[channel] = code
        return chosen


def _events(
    path: Path, words: Iterator[bytes], known: set[bytes], chosen: set[bytes]
) -> tuple[dict[bytes, array[int]], int]:
    """The changes of the `chosen` codes, each as tick << 2 | level, and the last tick."""
    events = {code: array("q", [UNKNOWN]) for code in chosen}
    # one look-up in most cases: a file has millions of these
    takers: dict[bytes, tuple[Callable[[int], None], int]] = {
        value + code: (events[code].append, level) for value, level in _LEVELS.items() for code in chosen
    }
    now = 0
    for word in words:
        if taker := takers.get(word):
            taker[0](now | taker[1])
        elif word[0] == ord("#"):
            then = int(word[1:]) << 2 if word[1:].isdigit() else -1
            if not now <= then < _LATEST:
                raise _broken(path, now, word, "is no later time")
            now = then
        elif word[0] in b"bBrR":  # a vector: its code is the next word
            code = next(words, b"")
            if taker := takers.get(word[-1:] + code):
                taker[0](now | taker[1])
            elif code not in known or code in chosen:
                raise _broken(path, now, word + b" " + code, "changes no channel of the file")
        elif word[0] == ord("$"):
            if word not in _MARKS:
                all(one != b"$end" for one in words)
        elif word[:1] not in _LEVELS or word[1:] not in known:
            raise _broken(path, now, word, "changes no channel of the file")
    return events, now >> 2


def _words(path: Path, file: BinaryIO) -> Iterator[bytes]:
    rest = b""
    while chunk := file.read(_CHUNK):
        words = (rest + chunk).split()
        rest = b"" if chunk[-1:].isspace() else words.pop()
        if len(rest) >= _CHUNK:
            raise ConfigurationError(f"{path} is no VCD file: it has a word of {len(rest)} bytes or more")
        yield from words
    if rest:
        yield rest


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        if not path.stat().st_size:
            raise ConfigurationError(f"the capture {path} is empty", hint="did the instrument write it?")
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise ConfigurationError(f"cannot read the capture {path}: {error.strerror}") from error


def _broken(path: Path, now: int, word: bytes, what: str) -> ConfigurationError:
    return ConfigurationError(
        f"{path}: after #{now >> 2}: {word[:40].decode('utf-8', 'replace')!r} {what}",
        hint="was the file cut short, or changed?",
    )


def _changes(ticks: Ticks, levels: Levels) -> tuple[Ticks, Levels]:
    """Without the entries that repeat the level before them."""
    import numpy as np

    new = np.append(True, levels[1:] != levels[:-1])
    return ticks[new], levels[new]


def _on_samples(what: str, ticks: Ticks, rate: float, per_second: float) -> Ticks:
    """The numbers of the samples, at `rate`, that the times `ticks` stand for."""
    import numpy as np

    exact = ticks * (rate / per_second)
    samples: Ticks = np.rint(exact).astype(np.int64)
    # a time is rounded to a tick, a number of samples to 53 bits
    if rate > per_second or (np.abs(exact - samples) > 0.51 * rate / per_second + 1e-15 * exact).any():
        raise ConfigurationError(
            f"{what} has edges that do not lie on samples at {rate:g} Hz", hint="is this the instrument's sample rate?"
        )
    return samples


def _samplerate(rate: float) -> float:
    if not 0 < rate < math.inf:
        raise ConfigurationError(f"a sample rate is more than 0 Hz, not {rate!r}", hint="it is given in Hz: 24e6")
    return float(rate)


def _sampled(rate: float) -> Clock:
    remark = "an edge is between two samples; the accuracy of the instrument's crystal comes on top"
    return Clock(CLOCK, 1 / rate, remark, floor=1 / rate)
