"""The reading of a deployment: its verdict and output, from the console bytes alone.

The output of a module is any bytes: it may look like a verdict, a prompt or a log line. So where the agent can seal
its verdict, the seal decides: a line with a nonce that the module cannot know, the length and CRC-32 of the output, and
a CRC-32 of its own. Elsewhere the last line of the runner decides: its verdict line, or the lines of its death, since a
dead runner writes no more. There a module that imitates the runner's lines cannot be distinguished from the runner.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import unquote

from hil.guest.framing import foreign_lines
from hil.image.manifest import AgentFacts
from hil.wasm.verdict import Exited, Failed, Faulted, Silent, Verdict

LINE_END = rb"(?<!\r)\r*\n"  # the look-behind keeps the search linear in a flood of carriage returns
SEAL = b"hil-seal v=1 nonce=%s"


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
    """The verdict and output of a deployment.

    `intact` is true if the seal verifies the output, None without a seal, false if the line garbled it. `diagnostics`
    are the runner's lines beside the output, `foreign` the lines of other writers in it. `heard` is false if nothing
    arrived at all, as from a runner that was dead before.
    """

    verdict: Verdict
    output: bytes
    intact: bool | None = None
    seal: Seal | None = None
    diagnostics: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()
    heard: bool = True


def read(console: bytes, facts: AgentFacts, *, nonce: str | None = None, foreign: tuple[str, ...] = ()) -> Reading:
    """Read the console bytes of one deployment, from the agent's start to its end.

    `nonce` is the nonce of the seal, None without one. `foreign` are patterns of whole lines of other writers.
    """
    if nonce is None:
        return _unsealed(*_separate(console, foreign, facts), facts)
    begin = _begin(console, facts)
    start = begin.end() if begin else 0
    seal = _find_seal(console, nonce)
    if seal is None:
        garbled = nonce.encode() in console[start:]
        reason = "the sealed verdict was garbled on the line" if garbled else "no sealed verdict on the line"
        if not begin and not garbled and (texts := _texts(console)):
            reason += f"; the agent's last line: {texts[-1]}"
        return Reading(Silent(reason), console[start:], False, None)
    output, rest, others = _verified(console[start:], seal, foreign)
    if output is None:
        end = _last_verdict(console, start, facts)
        region = console[start : end.start() if end else len(console)]
        return Reading(seal.verdict, region, False, seal)
    diagnostics = rest.partition(SEAL % nonce.encode())[0]
    return Reading(seal.verdict, output, True, seal, _texts(diagnostics), others)


def output_so_far(console: bytes, facts: AgentFacts, *, foreign: tuple[str, ...] = ()) -> bytes | None:
    """Return the output in the bytes of a deployment that still runs; None until the runner executes the module."""
    data, others = _separate(console, foreign, facts)
    return _unsealed(data, others, facts).output if _begin(data, facts) else None


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
    verdicts = {"exited": Exited(code), "faulted": Faulted(reason or f"signal {code}"), "failed": Failed(reason, code)}
    return verdicts[word]


def _verified(data: bytes, seal: Seal, foreign: tuple[str, ...]) -> tuple[bytes | None, bytes, tuple[str, ...]]:
    """Return the output that matches the seal, as it is or without foreign lines, and the bytes after it."""
    if zlib.crc32(data[: seal.size]) == seal.crc32 and len(data) >= seal.size:
        return data[: seal.size], data[seal.size :], ()
    cleaned, others = _separate(data, foreign)
    if len(cleaned) >= seal.size and zlib.crc32(cleaned[: seal.size]) == seal.crc32:
        return cleaned[: seal.size], cleaned[seal.size :], others
    return None, b"", ()


def _separate(data: bytes, foreign: tuple[str, ...], facts: AgentFacts | None = None) -> tuple[bytes, tuple[str, ...]]:
    """Return the data without foreign lines, which may start within a line, and these lines.

    With `facts` a foreign line ends where a line of the runner cuts into it.
    """
    foreign_line = foreign_lines(foreign)
    if foreign_line is None:
        return data, ()
    patterns = (facts.executing, facts.success, facts.failed, facts.error, *facts.faults) if facts else ()
    runner = re.compile(re.sub("[(][?]P<[^>]*>", "(?:", "|".join(f"(?:{pattern})" for pattern in patterns)).encode())
    kept, others, done = [], [], 0
    for start, end in _spans(data, 0):
        # a line without CR cannot match; searching it would be slow
        if data.endswith(b"\r\n", start, end) and (match := foreign_line.search(data, start, end)):
            cut = runner.search(data, match.start() + 1, end) if patterns else None
            kept.append(data[done : match.start()])
            done = cut.start() if cut else end
            others.append(_text(data[match.start() : done]))
    return b"".join(kept) + data[done:], tuple(others)


def _spans(data: bytes, start: int) -> Iterator[tuple[int, int]]:
    """Yield the complete lines from `start` on: matching them one by one keeps the cost of `.*` linear."""
    while end := data.find(b"\n", start) + 1:
        yield start, end
        start = end


def _unsealed(data: bytes, others: tuple[str, ...], facts: AgentFacts) -> Reading:
    """Read a deployment without a seal; `others` are the foreign lines taken from `data`."""
    begin = _begin(data, facts)
    start = begin.end() if begin else len(data)
    end = _last_verdict(data, start, facts)
    death = _death(data, end.end() if end else start if begin else 0, facts)
    before = _texts(data[: begin.start()] if begin else b"")

    def reading(verdict: Verdict, stop: int, diagnostics: bytes = b"") -> Reading:
        output = data[start:stop] if facts.newline == "\n" else data[start:stop].replace(b"\r\n", b"\n")
        return Reading(verdict, output, None, None, before + _texts(diagnostics), others, bool(data.strip()))

    if death:
        at, fault = death
        return reading(fault, at, data[at if begin else 0 :])
    if not begin:
        return reading(Silent("no output of the runner"), start, data)
    if not end:
        return reading(Silent("the runner started, but wrote no verdict"), len(data))
    if data[end.end() :].strip():
        # the runner's verdict is its last line: a verdict before more output is the module's
        return reading(Silent("there is output after the last verdict line"), end.start(), data[end.end() :])
    groups = end.groupdict()
    if groups.get("code") is not None:
        return reading(Exited(int(groups["code"])), end.start())
    errors, code = _errors(data, start, end.start(), facts)
    return reading(Failed(_word(groups["reason"]), code), errors, data[errors : end.start()])


def _errors(data: bytes, start: int, end: int, facts: AgentFacts) -> tuple[int, int | None]:
    """Return where the runner's error lines before its verdict at `end` begin, and the last error number in them."""
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


def _death(data: bytes, start: int, facts: AgentFacts) -> tuple[int, Faulted] | None:
    """Return where the lines of a dying runner begin, and the verdict; None if there are none."""
    patterns = [re.compile(pattern.encode()) for pattern in facts.faults]
    found = []
    for line, end in _spans(data, start) if patterns else ():
        found += [match for pattern in patterns if (match := pattern.search(data, line, end))]
    if not found:
        return None
    groups: dict[str, bytes] = {"reason": found[0][0]}
    for match in reversed(found):  # the first message counts: a fault handler may crash, too
        groups |= {key: value for key, value in match.groupdict().items() if value is not None}
    at = found[0].start()
    dump = re.compile(facts.dump.encode()).finditer(data, at) if facts.dump else ()
    registers = {_word(match["name"]): _number(match["value"]) or 0 for match in dump}
    return at, Faulted(_word(groups["reason"]), _number(groups.get("address")), _number(groups.get("pc")), registers)


def _number(text: bytes | None) -> int | None:
    try:
        return int(text, 0) if text else None
    except ValueError:
        return None


def _word(text: bytes) -> str:
    return text.decode("utf-8", "replace").strip()


def _last_verdict(console: bytes, start: int, facts: AgentFacts) -> re.Match[bytes] | None:
    """Return the last verdict line; it may follow output without a final newline on the same line."""
    pattern = re.compile(b"(?:(?:%s)|(?:%s))%s" % (facts.success.encode(), _inner(facts.failed), LINE_END))
    last = None
    for at, end in _spans(console, start):
        last = pattern.search(console, at, end) or last
    return last


def _inner(pattern: str) -> bytes:
    # `.` in a line pattern must not match the CR of the line end
    return pattern.replace(".*)", r"[^\r\n]*)").encode()


def _texts(data: bytes) -> tuple[str, ...]:
    return tuple(_text(line) for line in data.split(b"\n") if line.strip())


def _text(line: bytes) -> str:
    return line.decode("utf-8", "backslashreplace").rstrip("\r\n")
