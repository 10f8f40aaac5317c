"""A transcript as an asciicast (version 2) for terminal players."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from hil.console.lines import RECEIVED, SENT, LineEvent
from hil.console.recording import Recording, merged
from hil.errors import InfrastructureError
from hil.host import files

WIDTH, HEIGHT = 80, 24
MERGED_NS = 1_000_000  # a UART delivers single bytes; no player shows shorter intervals
BARE = re.compile(r"(?<!\r)\n")


def lines(recording: Recording, *, title: str | None = None, idle_limit: float | None = None) -> Iterator[str]:
    """Yield the lines of the cast of a whole recording, see `cast`."""

    def seconds(time_ns: int) -> float:
        return recording.seconds(time_ns) or 0.0

    return cast(
        recording.events(), seconds, begun=recording.begun, title=title or recording.path.stem, idle_limit=idle_limit
    )


def cast(
    events: Iterator[LineEvent],
    seconds: Callable[[int], float],
    *,
    begun: float,
    title: str,
    idle_limit: float | None = None,
) -> Iterator[str]:
    """Yield the lines of a cast: its header, then an event for each chunk; `seconds` converts the stamps.

    Received chunks are `o`, sent ones `i`. Bytes that are not UTF-8 are replaced. A line feed without a carriage
    return, from a shell without output processing, gets one: the player needs it. Pauses are kept; `idle_limit`, in
    seconds, has the player shorten them. `begun` is in seconds since 1970.
    """
    header: dict[str, object] = {"version": 2, "width": WIDTH, "height": HEIGHT, "timestamp": int(begun)}
    if idle_limit is not None:
        header["idle_time_limit"] = idle_limit
    yield json.dumps(header | {"title": title})
    decoders = {kind: codecs.getincrementaldecoder("utf-8")("replace") for kind in (RECEIVED, SENT)}
    now, last = 0.0, ""
    for event in merged(events, MERGED_NS):
        if event.kind not in decoders:
            continue
        # two processes stamp the two directions; the order in the file counts
        now = max(now, seconds(event.time_ns))
        text = decoders[event.kind].decode(event.data)
        if event.kind == RECEIVED and text:
            text, last = _stairless(text, last), text[-1]
        if text:
            yield _event(now, event.kind, text)
    for kind, decoder in decoders.items():
        if rest := decoder.decode(b"", final=True):
            yield _event(now, kind, rest)


def _event(seconds: float, kind: str, text: str) -> str:
    return json.dumps([round(seconds, 6), "o" if kind == RECEIVED else "i", text])


def _stairless(text: str, last: str) -> str:
    """Return `text` with a carriage return before each line feed; `last` is the character before `text`."""
    return BARE.sub("\r\n", last + text)[len(last) :] if last == "\r" else BARE.sub("\r\n", text)


def write(path: Path, cast: Iterable[str]) -> None:
    """Write a cast to the file `path`, completely or not at all. Raises `InfrastructureError`."""
    try:
        with files.replacing(path) as new, new.open("w", encoding="utf-8") as file:
            file.writelines(line + "\n" for line in cast)
    except OSError as error:
        raise InfrastructureError(
            f"cannot write {path}: {error.strerror}", hint="Choose another file with -o."
        ) from error
