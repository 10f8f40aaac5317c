"""What became of a deployment, read from the console and from nothing else.

Module output is any byte: it may look like a verdict, a prompt or a log line. So where the agent can
seal its verdict (a line with a nonce that the module cannot know, the length and CRC-32 of the
output, and a CRC-32 of its own) the seal decides. Elsewhere the runner's last word does: its verdict
line, or the lines of its death, for a dead runner says no more. There a module that writes the
runner's own words cannot be told from the runner.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import unquote

if TYPE_CHECKING:  # at run time it brings pydantic, and tests import verdicts when they are collected
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
    """The module took the runner, or the part of it that ran the module, down.

    Where the console tells them: `address` is what was accessed, `pc` the instruction, `registers` the
    dump, name to value.
    """

    reason: str = field(default="", compare=False)
    address: int | None = field(default=None, compare=False)
    pc: int | None = field(default=None, compare=False)
    registers: Mapping[str, int] = field(default_factory=dict, compare=False, repr=False)
    name: ClassVar[str] = "faulted"

    def __str__(self) -> str:
        where = {"address": self.address, "pc": self.pc}
        told = [self.reason] * bool(self.reason) + [f"{key} {n:#x}" for key, n in where.items() if n is not None]
        return f"faulted({', '.join(told)})" if told else "faulted"


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


exited, failed, faulted, silent, stuck, no_agent = Exited, Failed, Faulted, Silent, Stuck, NoAgent


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
    false when the line garbled it. `diagnostics` are the runner's own lines beside the output,
    `foreign` what others wrote into it. `heard` is false when nothing at all came, as from a runner
    that was dead before.
    """

    verdict: Verdict
    output: bytes
    intact: bool | None
    seal: Seal | None
    diagnostics: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()
    heard: bool = True


def read(console: bytes, facts: AgentFacts, *, nonce: str | None = None, foreign: tuple[str, ...] = ()) -> Reading:
    """Read the console bytes of one deployment, from the agent's start to its end.

    `nonce` is what the agent was told to seal with, None where it was not asked to. `foreign` are
    patterns of whole lines that other writers put on the line.
    """
    if nonce is None:
        return _unsealed(*_separate(console, foreign, facts), facts)
    begin = _begin(console, facts)
    start = begin.end() if begin else 0
    seal = _find_seal(console, nonce)
    if seal is None:
        garbled = nonce.encode() in console[start:]
        reason = "the sealed verdict was garbled on the line" if garbled else "no sealed verdict on the line"
        if not begin and not garbled and (words := _texts(console)):
            reason += f"; the agent's last words: {words[-1]}"
        return Reading(Silent(reason), console[start:], False, None, _texts(console[:start] if not begin else b""))
    output, rest, others = _proven(console[start:], seal, foreign)
    if output is None:
        end = _last_verdict(console, start, facts)
        region = console[start : end.start() if end else len(console)]
        return Reading(seal.verdict, region, False, seal, _texts(console[:start] if not begin else b""))
    told = rest.partition(SEAL % nonce.encode())[0]
    return Reading(seal.verdict, output, True, seal, _texts(told), others)


def _begin(console: bytes, facts: AgentFacts) -> re.Match[bytes] | None:
    return re.search(b"(?:" + facts.executing.encode() + b")" + LINE_END, console)


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


def _separate(data: bytes, foreign: tuple[str, ...], facts: AgentFacts | None = None) -> tuple[bytes, tuple[str, ...]]:
    """The data without the foreign lines, which may start within a line; and these lines.

    With `facts` a foreign line ends where a line of the runner's cuts it off.
    """
    if not foreign:
        return data, ()
    words = (facts.executing, facts.success, facts.failed, facts.error, *facts.faults) if facts else ()
    runner = re.compile(re.sub("[(][?]P<[^>]*>", "(?:", "|".join(f"(?:{one})" for one in words)).encode())
    pattern = re.compile(b"(?:%s)(?<!\\r)\\r+\\n" % b"|".join(b"(?:%s)" % one.encode() for one in foreign))
    kept, others, done = [], [], 0
    for start, end in _spans(data, 0):
        # without the CR a search would try every place of the line for nothing
        if data.endswith(b"\r\n", start, end) and (match := pattern.search(data, start, end)):
            cut = runner.search(data, match.start() + 1, end) if words else None
            kept.append(data[done : match.start()])
            done = cut.start() if cut else end
            others.append(_text(data[match.start() : done]))
    return b"".join(kept) + data[done:], tuple(others)


def _spans(data: bytes, start: int) -> Iterator[tuple[int, int]]:
    """The whole lines from `start` on: matching one at a time keeps the cost of `.*` linear."""
    while end := data.find(b"\n", start) + 1:
        yield start, end
        start = end


def _unsealed(data: bytes, others: tuple[str, ...], facts: AgentFacts) -> Reading:
    """Read a deployment without a seal; `others` are the foreign lines that were in `data`."""
    begin = _begin(data, facts)
    start = begin.end() if begin else len(data)
    end = _last_verdict(data, start, facts)
    fault = _fault(data, end.end() if end else start if begin else 0, facts)
    before = _texts(data[: begin.start()] if begin else b"")

    def reading(verdict: Verdict, stop: int, told: bytes = b"") -> Reading:
        output = data[start:stop] if facts.newline == "\n" else data[start:stop].replace(b"\r\n", b"\n")
        return Reading(verdict, output, None, None, before + _texts(told), others, bool(data.strip()))

    if fault:
        return reading(fault[1], fault[0], data[fault[0] if begin else 0 :])
    if not begin:
        return reading(Silent("the runner said nothing"), start, data)
    if not end:
        return reading(Silent("the runner started, but gave no verdict"), len(data))
    if data[end.end() :].strip():
        # the runner's verdict is its last word: what comes before more output is the module's
        return reading(Silent("there was output after the last verdict line"), end.start(), data[end.end() :])
    groups = end.groupdict()
    if groups.get("code") is not None:
        return reading(Exited(int(groups["code"])), end.start())
    errors, code = _errors(data, start, end.start(), facts)
    return reading(Failed(_word(groups["reason"]), code), errors, data[errors : end.start()])


def _errors(data: bytes, start: int, end: int, facts: AgentFacts) -> tuple[int, int | None]:
    """Where the runner's error lines before its verdict at `end` begin, and the last error number in them."""
    pattern = re.compile(facts.error.encode())
    code = None
    while end > start and data[end - 1] == 0x0A:
        line = max(start, data.rfind(b"\n", 0, end - 1) + 1)
        match = pattern.search(data, line, end)
        if not match:
            break
        end = match.start()
        if code is None:
            code = _number(match.groupdict().get("code"))
    return end, code


def _fault(data: bytes, start: int, facts: AgentFacts) -> tuple[int, Faulted] | None:
    """What the lines of a dying runner say, and where they begin; None where there are none."""
    patterns = [re.compile(one.encode()) for one in facts.faults]
    found = []
    for line, end in _spans(data, start) if patterns else ():
        found += [match for pattern in patterns if (match := pattern.search(data, line, end))]
    if not found:
        return None
    told: dict[str, bytes] = {"reason": found[0][0]}
    for match in reversed(found):  # the first word counts: a fault handler may die of the fault, too
        told |= {key: value for key, value in match.groupdict().items() if value is not None}
    at = found[0].start()
    dump = re.compile(facts.dump.encode()).finditer(data, at) if facts.dump else ()
    registers = {_word(one["name"]): _number(one["value"]) or 0 for one in dump}
    return at, Faulted(_word(told["reason"]), _number(told.get("address")), _number(told.get("pc")), registers)


def _number(text: bytes | None) -> int | None:
    try:
        return int(text, 0) if text else None
    except ValueError:
        return None


def _word(text: bytes) -> str:
    return text.decode("utf-8", "replace").strip()


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
