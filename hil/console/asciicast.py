"""A transcript as an asciicast (version 2), which terminal players show."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from hil.console.recording import RECEIVED, SENT, LineEvent, Recording, merged
from hil.errors import InfrastructureError
from hil.host import files

WIDTH, HEIGHT = 80, 24
MERGED_NS = 1_000_000  # a UART gives a byte at a time; no player shows less than this
BARE = re.compile(r"(?<!\r)\n")


def lines(recording: Recording, *, title: str | None = None, idle_limit: float | None = None) -> Iterator[str]:
    """The lines of the cast of a whole recording, see `cast`."""

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
    """The lines of the cast: its header, then an event for each chunk, at the `seconds` that belong to its stamp.

    What came is `o`, what was sent `i`. Bytes that are no UTF-8 are replaced. A line feed alone, as a
    shell without output processing writes it, gets its carriage return, or the player would draw stairs.
    Pauses are kept; `idle_limit`, in seconds, asks the player to cut them short. `begun` is in seconds since 1970.
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
        # the two directions are stamped by two processes: their order is the file's
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
    """The text with a carriage return before each line feed; `last` is the character before it."""
    return BARE.sub("\r\n", last + text)[len(last) :] if last == "\r" else BARE.sub("\r\n", text)


def write(path: Path, cast: Iterable[str]) -> None:
    """Write a cast to the file `path`, whole or not at all. Raises `InfrastructureError` where that fails."""
    try:
        with files.replacing(path) as new, new.open("w", encoding="utf-8") as file:
            file.writelines(line + "\n" for line in cast)
    except OSError as error:
        raise InfrastructureError(f"cannot write {path}: {error.strerror}", hint="choose another with -o") from error
