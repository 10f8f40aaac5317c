"""VCD files (IEEE 1364 clause 18), including extended ones, of instruments and simulators."""

from __future__ import annotations

import codecs
import os
import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, cast

from hil.errors import ConfigurationError
from hil.signals.vcd_header import Bit, Header, section_words

LOW, HIGH, UNKNOWN = 0, 1, 2
_CHUNK = 1 << 20  # bytes
# the four states of the standard and the nine of VHDL, as GHDL writes them
_LEVELS = dict.fromkeys(b"0lL", LOW) | dict.fromkeys(b"1hH", HIGH) | dict.fromkeys(b"xXzZuUwW-", UNKNOWN)
# of a port: driven by the test fixture, by the device, by both
_PORT_LEVELS = dict.fromkeys(b"DdLl0", LOW) | dict.fromkeys(b"UuHh1", HIGH) | dict.fromkeys(b"NZXTFABCabcf?", UNKNOWN)
_LATEST = 1 << 63  # of a time shifted by the two bits of the level
_MARKS = frozenset((b"$dumpvars", b"$dumpall", b"$dumpon", b"$dumpoff", b"$end")) | frozenset(
    b"$dumpports" + kind for kind in (b"", b"all", b"on", b"off")
)
_STRING = re.compile(rb"^[ \t]*[sS][^\n]*", re.MULTILINE)  # a line that begins with the value of a string
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True)
class Dump:
    """The changes of some channels in a VCD file.

    `per_second` is the number of ticks per second, `end` the last tick of the file. `changes` holds, by channel, the
    changes from tick 0 on as tick << 2 | level. `rate` is the sample rate in Hz if sigrok states it.
    """

    per_second: Fraction
    rate: float | None
    end: int
    changes: dict[str, array[int]]


def read(path: Path, channels: Sequence[str]) -> Dump:
    """Read `channels`, by default all one-bit signals.

    Raises `ConfigurationError` for a file that is empty or cannot be read, an incomplete VCD file, and a channel that
    is not in it.
    """
    try:
        with path.open("rb") as file:
            if not os.fstat(file.fileno()).st_size:
                raise ConfigurationError(f"the capture {path} is empty", hint="Check that the instrument wrote it.")
            strings: set[bytes] = set()
            words = _words(path, _text(file), strings)
            header = Header(path, words)
            strings.update(variable.code for variable in header.variables if not variable.width)
            chosen = header.choose(channels)
            events = _Events(path, header, chosen.values())
            events.read(words)
    except OSError as error:
        raise ConfigurationError(f"cannot read the capture {path}: {error.strerror}") from error
    return _dump(header, chosen, events)


class Follower:
    """The one-bit signals of a VCD file that sigrok-cli is still writing; each `read` takes what is new."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with path.open("rb") as file:
            self._header = Header(path, _words(path, file, set()))
        self._chosen = self._header.choose(())
        self._events = _Events(path, self._header, self._chosen.values())
        self._rest = b""
        self._offset = _end_of_header(path)

    def read(self) -> Dump:
        """Return all changes in the whole lines of the file so far. Raises as `read`."""
        with self._path.open("rb") as file:
            file.seek(self._offset)
            while block := file.read(_CHUNK):
                self._offset += len(block)
                whole, newline, self._rest = (self._rest + block).rpartition(b"\n")
                self._events.read(iter((whole + newline).split()))
        return _dump(self._header, self._chosen, self._events)


def _end_of_header(path: Path) -> int:
    with path.open("rb") as file:
        offset = 0
        for line in file:
            offset += len(line)
            if b"$enddefinitions" in line:
                break
    return offset


def _dump(header: Header, chosen: dict[str, Bit], events: _Events) -> Dump:
    changes = {name: events.changes[bit.place] for name, bit in chosen.items()}
    return Dump(header.per_second, header.rate, events.now >> 2, changes)


class _Events:
    """The changes of some bits as tick << 2 | level, and the present time, shifted likewise."""

    def __init__(self, path: Path, header: Header, bits: Iterable[Bit]) -> None:
        self.now = 0
        self.changes = {bit.place: array("q", [UNKNOWN]) for bit in bits}
        self._path = path
        self._known = {variable.code for variable in header.variables}
        self._bits: dict[bytes, list[tuple[int, Callable[[int], None]]]] = {}
        for (code, place), changes in self.changes.items():
            self._bits.setdefault(code, []).append((place, changes.append))

    def read(self, words: Iterator[bytes]) -> None:
        # a single look-up for most of the millions of changes
        takers = {
            bytes([value]) + code: (bits[0][1], level)
            for value, level in _LEVELS.items()
            for code, bits in self._bits.items()
            if bits[0][0] == 0 and len(bits) == 1
        }
        for word in words:
            if taker := takers.get(word):
                taker[0](self.now | taker[1])
            elif word[0] == ord("#"):
                self._advance(word if len(word) > 1 else word + next(words, b""))
            elif word[0] in b"bB":
                self._take(word, next(words, b""), _LEVELS)
            elif word[0] in b"rRsS":  # no bits, so never chosen
                self._take(word, next(words, b""), None)
            elif word[0] == ord("p"):
                next(words, b""), next(words, b"")  # the strengths of 0 and 1
                self._take(word, next(words, b""), _PORT_LEVELS)
            elif word[0] == ord("$"):
                if word not in _MARKS:
                    section = list(section_words(words))
                    if word == b"$vcdclose" and section:
                        self._advance(section[0])
            elif word[0] in _LEVELS:
                code = word[1:] or next(words, b"")
                if code not in self._known:
                    raise self._broken(word, "changes an unknown channel")
                self._take(b"b" + word[:1], code, _LEVELS)
            else:
                raise self._broken(word, "changes an unknown channel")

    def _advance(self, word: bytes) -> None:
        then = int(word[1:]) << 2 if word[1:].isdigit() else -1
        if not self.now <= then < _LATEST:
            raise self._broken(word, "is not a later time")
        self.now = then

    def _take(self, value: bytes, code: bytes, levels: dict[int, int] | None) -> None:
        """Record a value, a letter and its bits, for the chosen bits of `code`."""
        if code not in self._known:
            raise self._broken(value + b" " + code, "changes an unknown channel")
        for place, append in self._bits.get(code, ()) if levels else ():
            assert levels is not None
            if len(value) < 2 or any(state not in levels for state in value[1:]):
                raise self._broken(value + b" " + code, "is not a value")
            if place < len(value) - 1:
                level = levels[value[-1 - place]]
            else:  # omitted on the left: zeros, or unknown like the first bit
                level = UNKNOWN if levels[value[1]] == UNKNOWN else LOW
            append(self.now | level)

    def _broken(self, word: bytes, what: str) -> ConfigurationError:
        return ConfigurationError(
            f"{self._path}: after #{self.now >> 2}: {word[:40].decode('utf-8', 'replace')!r} {what}",
            hint="Check that the file is complete and unchanged.",
        )


def _text(file: BinaryIO) -> BinaryIO:
    """Return the file after its byte order mark, converted to UTF-8."""
    head = file.read(len(codecs.BOM_UTF8))
    file.seek(len(head) if head == codecs.BOM_UTF8 else 0)
    if head[:2] in _UTF16:
        return cast(BinaryIO, codecs.EncodedFile(file, "utf-8", "utf-16", errors="replace"))
    return file


def _words(path: Path, file: BinaryIO, strings: Set[bytes]) -> Iterator[bytes]:
    """Yield the words of the file; after the header without string values with blanks, by the codes `strings`."""
    in_header, rest = True, b""
    while block := file.readline(_CHUNK) if in_header else file.read(_CHUNK):
        text = rest + block
        cut = text.rfind(b"\n") + 1 or max(text.rfind(b" "), text.rfind(b"\t")) + 1
        whole, rest = text[:cut], text[cut:]
        if len(rest) >= 2 * _CHUNK or (len(rest) >= _CHUNK and not cut):
            raise ConfigurationError(f"{path} is not a VCD file: it has a word of {len(rest)} bytes or more")
        yield from (whole if in_header else _without_blanks(whole, strings)).split()
        in_header = in_header and b"$enddefinitions" not in text
    yield from (rest if in_header else _without_blanks(rest, strings)).split()


def _without_blanks(lines: bytes, strings: Set[bytes]) -> bytes:
    """Remove strings of several words, which look like changes of channels."""

    def kept(line: re.Match[bytes]) -> bytes:
        words = line[0].split()
        return b"" if len(words) > 2 and words[1] not in strings and words[-1] in strings else line[0]

    return _STRING.sub(kept, lines) if strings else lines
