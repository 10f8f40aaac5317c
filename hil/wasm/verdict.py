"""What became of a deployment, read from the console and from nothing else.

Module output is any byte: it may look like a verdict, a prompt or a log line. So where the agent can
seal its verdict (a line with a nonce that the module cannot know, the length and CRC-32 of the
output, and a CRC-32 of its own) the seal decides; elsewhere the last verdict line does.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar
from urllib.parse import unquote

from hil.image.manifest import AgentFacts

LINE_END = rb"(?<!\r)\r*\n"  # the look-behind keeps a flood of carriage returns from costing its square
SEAL = b"hil-seal v=1 nonce=%s"


@dataclass(frozen=True)
class Verdict:
    """Base of all verdicts. `good` is true only for `exited(0)`."""

    name: ClassVar[str] = "verdict"
    good: ClassVar[bool] = False


@dataclass(frozen=True)
class Exited(Verdict):
    """The module ran to its end; `code` is its own exit code."""

    code: int = 0
    name: ClassVar[str] = "exited"

    @property
    def good(self) -> bool:  # type: ignore[override]
        return self.code == 0

    def __str__(self) -> str:
        return f"exited({self.code})"


@dataclass(frozen=True)
class Failed(Verdict):
    """The runner refused or ended the module; `reason` is its word, `code` its error number if told."""

    reason: str
    code: int | None = field(default=None, compare=False)
    name: ClassVar[str] = "failed"

    def __str__(self) -> str:
        return f"failed({self.reason})"


@dataclass(frozen=True)
class Faulted(Verdict):
    """The module took the runner, or the part of it that ran the module, down."""

    reason: str = field(default="", compare=False)
    name: ClassVar[str] = "faulted"

    def __str__(self) -> str:
        return f"faulted({self.reason})" if self.reason else "faulted"


@dataclass(frozen=True)
class Silent(Verdict):
    """The agent came back, but no verdict that can be trusted was on the line."""

    reason: str = field(default="", compare=False)
    name: ClassVar[str] = "silent"

    def __str__(self) -> str:
        return f"silent ({self.reason})" if self.reason else "silent"


@dataclass(frozen=True)
class Stuck(Verdict):
    """The agent did not come back in time."""

    reason: str = field(default="", compare=False)
    name: ClassVar[str] = "stuck"

    def __str__(self) -> str:
        return f"stuck ({self.reason})" if self.reason else "stuck"


@dataclass(frozen=True)
class NoAgent(Verdict):
    """There was no agent to run, or it found no runner to talk to."""

    reason: str = field(default="", compare=False)
    name: ClassVar[str] = "no-agent"

    def __str__(self) -> str:
        return f"no-agent ({self.reason})" if self.reason else "no-agent"


@dataclass(frozen=True)
class Seal:
    """The agent's sealed line: verdict, length and CRC-32 of the output, ticks of the guest's counter."""

    verdict: Verdict
    size: int
    crc32: int
    transfer_ticks: int
    run_ticks: int
    hz: int


@dataclass(frozen=True)
class Reading:
    """What a deployment's console says.

    `intact` is true when the output is proven by the seal, None where there is no seal to prove it,
    false when the line garbled it. `diagnostics` are the runner's own lines after the output,
    `foreign` what others wrote into it.
    """

    verdict: Verdict
    output: bytes
    intact: bool | None
    seal: Seal | None
    diagnostics: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()


def read(console: bytes, facts: AgentFacts, *, nonce: str | None = None, foreign: tuple[str, ...] = ()) -> Reading:
    """Read the console bytes of one deployment, from the agent's start to its end.

    `nonce` is what the agent was told to seal with, None where it was not asked to. `foreign` are
    patterns of whole lines that other writers put on the line.
    """
    begin = re.search(b"(?:" + facts.executing.encode() + b")" + LINE_END, console)
    start = begin.end() if begin else 0
    if nonce is None:
        return _unsealed(console, start, begin is not None, facts, foreign)
    seal = _find_seal(console, nonce)
    if seal is None:
        garbled = nonce.encode() in console[start:]
        reason = "the sealed verdict was garbled on the line" if garbled else "no sealed verdict on the line"
        return Reading(Silent(reason), console[start:], False, None, _texts(console[:start] if not begin else b""))
    output, rest, others = _proven(console[start:], seal, foreign)
    if output is None:
        end = _last_verdict(console, start, facts)
        region = console[start : end.start() if end else len(console)]
        return Reading(seal.verdict, region, False, seal, _texts(console[:start] if not begin else b""))
    told = rest.partition(SEAL % nonce.encode())[0]
    return Reading(seal.verdict, output, True, seal, _texts(told), others)


def _find_seal(console: bytes, nonce: str) -> Seal | None:
    begin = re.escape(SEAL % nonce.encode())
    for match in re.finditer(begin + rb"(?P<fields>(?: \w+=\S*)*) sum=(?P<sum>[0-9A-Fa-f]{8})\r*\n", console):
        if zlib.crc32(console[match.start() : match.end("fields")]) != int(match["sum"], 16):
            continue
        values = dict(pair.split("=", 1) for pair in match["fields"].decode().split())
        try:
            return Seal(
                _sealed_verdict(values["verdict"], int(values["code"]), unquote(values["reason"])),
                int(values["bytes"]),
                int(values["crc32"], 16),
                int(values["transfer"]),
                int(values["run"]),
                int(values["hz"]),
            )
        except (KeyError, ValueError):
            return None
    return None


def _sealed_verdict(word: str, code: int, reason: str) -> Verdict:
    if word == "exited":
        return Exited(code)
    if word == "faulted":
        return Faulted(reason or f"signal {code}")
    if word == "failed":
        return Failed(reason, code)
    raise ValueError(f"unknown verdict {word!r}")


def _proven(data: bytes, seal: Seal, foreign: tuple[str, ...]) -> tuple[bytes | None, bytes, tuple[str, ...]]:
    """The output that fits the seal, as it is or without the foreign lines in it; and what follows it."""
    if zlib.crc32(data[: seal.size]) == seal.crc32 and len(data) >= seal.size:
        return data[: seal.size], data[seal.size :], ()
    cleaned, others = _separate(data, foreign)
    if len(cleaned) >= seal.size and zlib.crc32(cleaned[: seal.size]) == seal.crc32:
        return cleaned[: seal.size], cleaned[seal.size :], others
    return None, b"", ()


def _separate(data: bytes, foreign: tuple[str, ...]) -> tuple[bytes, tuple[str, ...]]:
    """The data without the foreign lines, which may start within a line; and these lines."""
    if not foreign:
        return data, ()
    pattern = re.compile(b"(?:%s)(?<!\\r)\\r+\\n" % b"|".join(b"(?:%s)" % one.encode() for one in foreign))
    kept, others, done = [], [], 0
    for start, end in _spans(data, 0):
        if match := pattern.search(data, start, end):
            kept.append(data[done : match.start()])
            others.append(_text(match[0]))
            done = end
    return b"".join(kept) + data[done:], tuple(others)


def _spans(data: bytes, start: int) -> Iterator[tuple[int, int]]:
    """The whole lines from `start` on: matching one at a time keeps the cost of `.*` linear."""
    while end := data.find(b"\n", start) + 1:
        yield start, end
        start = end


def _unsealed(console: bytes, start: int, begun: bool, facts: AgentFacts, foreign: tuple[str, ...]) -> Reading:
    end = _last_verdict(console, start, facts) if begun else None
    if end is None:
        reason = "the runner started, but gave no verdict" if begun else "the runner said nothing"
        return Reading(Silent(reason), console[start:] if begun else b"", None, None, _texts(console[:start]))
    rest, others = _separate(console[end.end() :], foreign)
    if rest.strip():
        # the runner's verdict is its last word: what comes before more output is the module's
        reason = "there was output after the last verdict line"
        return Reading(Silent(reason), console[start : end.start()], None, None, _texts(rest), others)
    groups = end.groupdict()
    verdict: Verdict
    if groups.get("code") is not None:
        verdict = Exited(int(groups["code"]))
    else:
        verdict = Failed(groups["reason"].decode("utf-8", "replace").strip())
    return Reading(verdict, console[start : end.start()], None, None, (), others)


def _last_verdict(console: bytes, start: int, facts: AgentFacts) -> re.Match[bytes] | None:
    """The last line that is a verdict; it may be glued to output without a final newline."""
    pattern = re.compile(b"(?:(?:%s)|(?:%s))%s" % (facts.success.encode(), _inner(facts.failed), LINE_END))
    last = None
    for at, end in _spans(console, start):
        last = pattern.search(console, at, end) or last
    return last


def _inner(pattern: str) -> bytes:
    # `.` in a line pattern must not eat the line end's CR
    return pattern.replace(".*)", r"[^\r\n]*)").encode()


def _texts(data: bytes) -> tuple[str, ...]:
    return tuple(_text(line) for line in re.split(LINE_END, data) if line.strip())


def _text(line: bytes) -> str:
    return line.decode("utf-8", "backslashreplace").rstrip("\r\n")
