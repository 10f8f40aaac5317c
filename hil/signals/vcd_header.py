"""The header of a VCD file: time scale, scopes and variables, and the choice of channels by name."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from hil.board.sigrok import stated_rate
from hil.errors import ConfigurationError
from hil.host.hints import did_you_mean

_TIMESCALE = re.compile(r"(\d+(?:\.\d*)?(?:e[+-]?\d+)?|\.\d+(?:e[+-]?\d+)?)(s|ms|us|ns|ps|fs|as)")
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9, "ps": 10**12, "fs": 10**15, "as": 10**18}
_NO_BITS = ("real", "realtime", "real_parameter", "shortreal", "event", "string")
_RANGE = re.compile(r"\[(-?\d+)(?::(-?\d+))?\]")


@dataclass(frozen=True)
class Variable:
    """A `$var`: `width` in bits, 0 for strings and numbers; its bits are `left` to `right`."""

    scopes: tuple[str, ...]
    name: str
    kind: str
    code: bytes
    width: int
    left: int
    right: int

    @property
    def full(self) -> str:
        return ".".join([*self.scopes, self.name])

    @property
    def place(self) -> tuple[bytes, int]:
        """The code and bit of a one-bit signal."""
        return self.code, 0

    @property
    def about(self) -> str:
        return f"{self.kind} of {self.width} bits" if self.width else self.kind

    def spellings(self) -> Iterator[str]:
        """Yield all accepted names."""
        plain = self.name.removeprefix("\\")
        for name in (self.name, plain, _RANGE.sub("", plain), plain.replace(" ", "")):
            yield name
            for start in range(len(self.scopes)):
                yield ".".join([*self.scopes[start:], name])

    def bit(self, channel: str) -> Bit | None:
        """Return the bit of this vector that `channel`, a name with an index, refers to."""
        name, bracket, index = channel.rpartition("[")
        match = _RANGE.fullmatch(bracket + index)
        if match is None or match[2] is not None or self.width < 2 or name not in self.spellings():
            return None
        at = int(match[1])
        if not min(self.left, self.right) <= at <= max(self.left, self.right):
            return None
        return Bit(self.full, (self.code, abs(at - self.right)))


@dataclass(frozen=True)
class Bit:
    """A one-bit signal: `place` is its code and the number of bits to its right."""

    full: str
    place: tuple[bytes, int]


class Header:
    """The header of a VCD file: time scale in ticks per second, sample rate stated by sigrok, variables."""

    def __init__(self, path: Path, words: Iterator[bytes]) -> None:
        self.path = path
        self.rate: float | None = None
        self.variables: list[Variable] = []
        timescale = ""
        scopes: list[str] = []
        for word in words:
            # sigrok-cli may put a line of its own before the first section
            if not word.startswith(b"$"):
                continue
            if word.startswith(b"$enddefinitions"):
                break
            section = [each.decode("utf-8", "replace") for each in section_words(words)]
            match word:
                case b"$comment":
                    self.rate = stated_rate(" ".join(section)) or self.rate
                case b"$timescale":
                    timescale = "".join(section)
                case b"$scope":
                    scopes.append(" ".join(section[1:]) or "".join(section))
                case b"$upscope" if scopes:
                    scopes.pop()
                case b"$var":
                    self.variables.append(self._variable(tuple(scopes), section))
        else:
            raise ConfigurationError(f"{path} has no $enddefinitions", hint="Check that it is a complete VCD file.")
        scale = _TIMESCALE.fullmatch(timescale.lower().replace("µ", "u").replace("μ", "u"))
        if scale is None or not Fraction(scale[1]):
            raise ConfigurationError(
                f"{path}: the time scale {timescale!r} is invalid" if timescale else f"{path} has no time scale",
                hint="Give one in s, ms, us, ns, ps or fs, such as `$timescale 10 ns $end`.",
            )
        self.per_second = _PER_SECOND[scale[2]] / Fraction(scale[1])

    def _variable(self, scopes: tuple[str, ...], section: Sequence[str]) -> Variable:
        if len(section) < 4:
            raise ConfigurationError(f"{self.path}: `$var {' '.join(section)}` lacks a type, size, code or name")
        kind, size, code, *words = section
        name = re.sub(r" (?=\[)", "", " ".join(words))
        bits = _RANGE.fullmatch(size)  # of a port
        if bits is None and not size.isdecimal():
            raise ConfigurationError(f"{self.path}: `$var {' '.join(section)}` has the invalid size {size!r}")
        ranges = bits or next((found for found in _RANGE.finditer(name) if found[2] and found.end() == len(name)), None)
        left, right = (int(ranges[1]), int(ranges[2] or ranges[1])) if ranges else (max(0, int(size) - 1), 0)
        width = abs(left - right) + 1 if bits else int(size)
        return Variable(scopes, name, kind, code.encode(), 0 if kind in _NO_BITS else width, left, right)

    def choose(self, channels: Sequence[str]) -> dict[str, Bit]:
        """Return the bits of `channels`. Raises `ConfigurationError` unless each exists, once, with one bit."""
        single = [variable for variable in self.variables if variable.width == 1]
        if not channels:
            if not single:
                raise ConfigurationError(
                    f"{self.path} has no one-bit signal",
                    hint=f"Name a bit of a vector, such as data[0]: {self._names(self.variables)}",
                )
            names = Counter(variable.name for variable in single)
            channels = [variable.full if names[variable.name] > 1 else variable.name for variable in single]
        return {channel: self._chosen(channel, single) for channel in channels}

    def _chosen(self, channel: str, single: Sequence[Variable]) -> Bit:
        exact = [variable for variable in self.variables if channel in (variable.full, variable.name)]
        named = exact or [variable for variable in self.variables if channel in variable.spellings()]
        bits = [Bit(variable.full, variable.place) for variable in named if variable.width == 1]
        bits = bits or [bit for variable in self.variables if not named and (bit := variable.bit(channel))]
        if named and not bits:
            raise ConfigurationError(
                f"{self.path}: {channel!r} is a {named[0].about}; only a one-bit signal has edges",
                hint=f"Give one of {self._names(single)}, or a bit of a vector such as data[0].",
            )
        if not bits:
            known = [name for variable in self.variables for name in (variable.name, variable.full)]
            raise ConfigurationError(
                f"{self.path} has no channel {channel!r}",
                hint=f"{did_you_mean(channel, known)}The one-bit channels are: {self._names(single)}.",
            )
        if len({bit.place for bit in bits}) > 1:
            raise ConfigurationError(f"{self.path}: {channel!r} is ambiguous: {', '.join(bit.full for bit in bits)}")
        return bits[0]

    @staticmethod
    def _names(variables: Sequence[Variable]) -> str:
        return ", ".join(variable.full for variable in variables) or "none"


def section_words(words: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the words up to `$end`, which may be attached to the last one."""
    for word in words:
        if word.endswith(b"$end"):
            if word != b"$end":
                yield word[:-4]
            return
        yield word
