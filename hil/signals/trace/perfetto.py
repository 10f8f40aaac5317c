"""Write a timeline as a Perfetto trace, which https://ui.perfetto.dev and `trace_processor` open.

The file is a `Trace` of perfetto/trace/perfetto_trace.proto (Perfetto 59): track descriptors, then track events. The
numbers of fields below are those of the protos that are named beside them.
"""

from __future__ import annotations

import gzip
import heapq
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from hil.host.disk import MIB, disk
from hil.host.files import replacing
from hil.signals.edges import Edges
from hil.signals.trace.protobuf import doubles, message, number, padded_varints, tag, text, varint
from hil.signals.trace.timeline import Events, FrameOnBus, Moment, Period, Signal, Timeline, edge_times
from hil.text import printable_line

PARTITION, GUEST, BENCH = "partition", "guest", "bench"
PROCESSES = (PARTITION, GUEST, BENCH)
"""The groups of tracks, which are processes in the trace; the process id is the place from 1."""

LONGEST_NAME = 200  # characters; a longer text is a fact of its event, up to LONGEST_FACT
LONGEST_FACT = 4096
BLOCK = 1 << 16  # events that are encoded at a time
UNKNOWN_LEVEL = 0.5  # of a pin

_PACKET = 1  # of Trace
_TIMESTAMP, _SEQUENCE, _EVENT, _SEQUENCE_FLAGS, _DESCRIPTOR = 8, 10, 11, 13, 60  # of TracePacket
_UUID, _NAME, _PROCESS, _PARENT, _COUNTER, _ORDERING, _RANK, _DESCRIPTION = 1, 2, 3, 5, 8, 11, 12, 14  # TrackDescriptor
_PID, _PROCESS_NAME = 1, 6  # of ProcessDescriptor
_UNIT_NAME = 6  # of CounterDescriptor
_ANNOTATION, _TYPE, _TRACK, _CATEGORY, _EVENT_NAME, _VALUE = 4, 9, 11, 22, 23, 44  # of TrackEvent
_ANNOTATION_NAME, _STRING = 10, 6  # of DebugAnnotation
_BEGIN, _END, _INSTANT, _SAMPLE = 1, 2, 3, 4  # TrackEvent.Type
_EXPLICIT = 3  # TrackDescriptor.ChildTracksOrdering
_STATE_CLEARED = 1  # TracePacket.SequenceFlags

_ON_SEQUENCE = number(_SEQUENCE, 1)


def write_perfetto(timeline: Timeline, path: Path) -> None:
    """Write `timeline` as a Perfetto trace; compressed if the name ends in `.gz`, which Perfetto opens as well.

    Times are those of the timeline. The same timeline gives the same bytes. Raises `InfrastructureError` for errors of
    the disk.
    """
    with disk(path.parent, MIB), replacing(path) as new, new.open("wb") as file:
        if path.suffix == ".gz":
            packed = gzip.GzipFile("", "wb", fileobj=file, compresslevel=6, mtime=0)
            with packed:
                cast(BinaryIO, packed).writelines(perfetto_blocks(timeline))
        else:
            file.writelines(perfetto_blocks(timeline))


def perfetto_bytes(timeline: Timeline) -> bytes:
    """Return the trace of `timeline`."""
    made = io.BytesIO()
    made.writelines(perfetto_blocks(timeline))
    return made.getvalue()


def perfetto_blocks(timeline: Timeline) -> Iterator[bytes]:
    """Yield the trace of `timeline` in blocks.

    - `partition`: the pins that it drives, as counters of 0 and 1 (0.5 for an unknown level), its analogue outputs,
      executions, releases.
    - `guest`: boot stages, console lines.
    - `bench`: the pins that it drives, quantities of plants, CAN frames, faults, deadline misses, overruns.

    Spans of one kind that overlap are on several tracks, the further ones with a number. Values that are not finite are
    left out; the track `not finite` marks them.
    """
    tracks = _Tracks(timeline)
    yield from tracks.groups()
    for edges in timeline.outputs:
        yield from _counter(tracks.counter(PARTITION, edges.channel), edge_times(edges), _levels(edges))
    for signal in timeline.signals:
        group = PARTITION if signal.driver == PARTITION else BENCH
        yield from _signal(tracks, group, signal)
    yield from _spans(tracks, PARTITION, "executions", "execution", timeline.executions)
    for events in timeline.releases:
        yield from _events(tracks, PARTITION, events, "release")
    yield from _spans(tracks, GUEST, "boot stages", "stage", timeline.stages)
    yield from _instants(tracks, GUEST, "console", "console", timeline.lines)
    for edges in timeline.stimuli:
        yield from _counter(tracks.counter(BENCH, edges.channel), edge_times(edges), _levels(edges))
    for bus in sorted({frame.bus for frame in timeline.frames}):
        frames = [frame for frame in timeline.frames if frame.bus == bus]
        yield from _spans(tracks, BENCH, bus, "frame", map(_frame, frames))
    yield from _spans(tracks, BENCH, "faults", "fault", timeline.faults)
    for events in timeline.misses:
        yield from _events(tracks, BENCH, events, "miss")
    yield from _spans(tracks, BENCH, "step overruns", "overrun", timeline.overruns)


class _Tracks:
    """The tracks of a trace, numbered as they are made; the descriptor of each comes before its events."""

    def __init__(self, timeline: Timeline) -> None:
        about = [f"times are ns of the clock: {timeline.clock}"]
        if timeline.left_out:
            about.append(
                "left out: " + ", ".join(f"{count} {kind}" for kind, count in sorted(timeline.left_out.items()))
            )
        self._about = "; ".join(about)
        self._made = len(PROCESSES)

    def groups(self) -> Iterator[bytes]:
        for place, name in enumerate(PROCESSES, 1):
            process = message(_PROCESS, number(_PID, place) + text(_PROCESS_NAME, name))
            order = number(_ORDERING, _EXPLICIT) + text(_DESCRIPTION, _short(self._about, LONGEST_FACT))
            descriptor = message(_DESCRIPTOR, number(_UUID, place) + process + order)
            first = number(_SEQUENCE_FLAGS, _STATE_CLEARED) if place == 1 else b""
            yield message(_PACKET, _ON_SEQUENCE + first + descriptor)

    def track(self, group: str, name: str, kind: bytes = b"") -> tuple[int, bytes]:
        """Return the number of a new track and the packet that describes it."""
        self._made += 1
        parts = number(_UUID, self._made) + text(_NAME, _short(name)) + number(_PARENT, PROCESSES.index(group) + 1)
        content = message(_DESCRIPTOR, parts + number(_RANK, self._made) + kind)
        return self._made, message(_PACKET, _ON_SEQUENCE + content)

    def counter(self, group: str, name: str, unit: str = "") -> tuple[int, bytes]:
        return self.track(group, name, message(_COUNTER, text(_UNIT_NAME, _short(unit)) if unit else b""))


def _levels(edges: Edges) -> NDArray[np.float64]:
    return np.array([0.0, 1.0, UNKNOWN_LEVEL])[np.minimum(edges.levels, 2)]


def _frame(frame: FrameOnBus) -> Period:
    return frame.span


def _signal(tracks: _Tracks, group: str, signal: Signal) -> Iterator[bytes]:
    finite = np.isfinite(signal.values)
    made = tracks.counter(group, signal.name, signal.unit)
    yield from _counter(made, signal.times_ns[finite], signal.values[finite])
    if not finite.all():
        yield from _events(tracks, group, Events(f"{signal.name}: not finite", signal.times_ns[~finite]), "not finite")


def _counter(track: tuple[int, bytes], times: NDArray[np.int64], values: NDArray[np.float64]) -> Iterator[bytes]:
    """Yield a counter track: packets of equal length, encoded as the rows of an array."""
    uuid, descriptor = track
    yield descriptor
    yield from _rows(times, number(_TYPE, _SAMPLE) + number(_TRACK, uuid) + tag(_VALUE, 1), values)


def _events(tracks: _Tracks, group: str, events: Events, category: str) -> Iterator[bytes]:
    uuid, descriptor = tracks.track(group, events.name)
    yield descriptor
    yield from _rows(events.times_ns, _event(_INSTANT, uuid, category, category))


def _rows(times: NDArray[np.int64], event: bytes, values: NDArray[np.float64] | None = None) -> Iterator[bytes]:
    """Yield a packet for each time, with the encoded `event` and, at its end, the value."""
    value = 0 if values is None else 8
    head = tag(_EVENT, 2) + varint(len(event) + value) + event
    stamp = tag(_TIMESTAMP, 0)
    begin = _ON_SEQUENCE + stamp
    length = len(begin) + 9 + len(head) + value
    begin = tag(_PACKET, 2) + varint(length) + begin
    for first in range(0, len(times), BLOCK):
        part = times[first : first + BLOCK]
        columns = [_repeated(begin, len(part)), padded_varints(part), _repeated(head, len(part))]
        if values is not None:
            columns.append(doubles(values[first : first + BLOCK]))
        yield np.concatenate(columns, axis=1).tobytes()


def _repeated(content: bytes, count: int) -> NDArray[np.uint8]:
    return np.broadcast_to(np.frombuffer(content, np.uint8), (count, len(content)))


def _spans(tracks: _Tracks, group: str, name: str, category: str, spans: Iterable[Period]) -> Iterator[bytes]:
    for place, lane in enumerate(_lanes(spans), 1):
        uuid, descriptor = tracks.track(group, name if place == 1 else f"{name} {place}")
        yield descriptor
        for span in lane:
            begin = _event(_BEGIN, uuid, category, span.name, span.detail)
            yield _packet(span.begin_ns, begin) + _packet(span.end_ns, _event(_END, uuid))


def _lanes(spans: Iterable[Period]) -> list[list[Period]]:
    """Distribute spans so that those of a lane do not overlap; each goes to the lane that became free first."""
    lanes: list[list[Period]] = []
    free: list[tuple[int, int]] = []
    for span in sorted(spans, key=lambda span: (span.begin_ns, span.end_ns)):
        if free and free[0][0] <= span.begin_ns:
            place = heapq.heappop(free)[1]
        else:
            place = len(lanes)
            lanes.append([])
        lanes[place].append(span)
        heapq.heappush(free, (span.end_ns, place))
    return lanes


def _instants(tracks: _Tracks, group: str, name: str, category: str, found: Sequence[Moment]) -> Iterator[bytes]:
    if not found:
        return
    uuid, descriptor = tracks.track(group, name)
    yield descriptor
    for instant in found:
        yield _packet(instant.at_ns, _event(_INSTANT, uuid, category, instant.name, instant.detail))


def _packet(at_ns: int, event: bytes) -> bytes:
    return message(_PACKET, number(_TIMESTAMP, at_ns) + _ON_SEQUENCE + message(_EVENT, event))


def _event(kind: int, uuid: int, category: str = "", name: str = "", detail: Mapping[str, str] | None = None) -> bytes:
    facts = {**(detail or {}), **({"text": name} if len(name) > LONGEST_NAME else {})}
    annotations = b"".join(
        message(_ANNOTATION, text(_ANNOTATION_NAME, _short(key)) + text(_STRING, _short(fact, LONGEST_FACT)))
        for key, fact in facts.items()
    )
    parts = number(_TYPE, kind) + number(_TRACK, uuid) + annotations
    return parts + (text(_CATEGORY, category) + text(_EVENT_NAME, _short(name)) if category else b"")


def _short(given: str, longest: int = LONGEST_NAME) -> str:
    """Return `given` on one line, without control characters, and not longer than `longest`."""
    line = printable_line(given[: longest + 1])
    return line if len(line) <= longest else line[: longest - 1] + "\N{HORIZONTAL ELLIPSIS}"
