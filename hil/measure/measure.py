"""Taking series on a board, and holding them against the board's bounds."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hil.errors import ConfigurationError, InfrastructureError, RunnerError
from hil.guest import Guest
from hil.measure import probe as guest_probe
from hil.measure.bounds import Bound, Bounds, Check, Record, check, looks, needed, recorded
from hil.measure.clocks import CONSOLE, Clocks
from hil.measure.host import EMULATOR, OWN, READER, HostWindow, Watch, total
from hil.measure.series import LOCKSTEP, Clock, Series
from hil.measure.units import Amount, amount, ms
from hil.wasm import Execution, Module, Runner, periodic

if TYPE_CHECKING:
    from hil.stats.arrays import Floats

RESPONSE, EXECUTION, OVERHEAD = "response time", "execution time", "overhead"
TRANSFER, DEPLOYMENT = "transfer time", "deployment time"
RELEASE, ADDED, RELATIVE = "release jitter", "added delay", "relative time"


@dataclass(frozen=True)
class Parts:
    """Repeated executions of a module that was sent once, part by part.

    `response` is from the guest's request to the runner's answer; `inside` holds what the partition took of
    it by its own stamps and the rest, None where the image's runner does not stamp. `transfer` is one
    sample: sending the module.
    """

    response: Series
    transfer: Series
    inside: tuple[Series, Series] | None = None

    @property
    def execution(self) -> Series:
        """What the partition took, by its own stamps. Raises `ConfigurationError` where it does not stamp."""
        return self._inside()[0]

    @property
    def overhead(self) -> Series:
        """What of the response time the partition did not take: events, scheduling, the hypervisor. Raises as above."""
        return self._inside()[1]

    def _inside(self) -> tuple[Series, Series]:
        if self.inside is None:
            raise ConfigurationError(
                f"the runner of image {self.response.provenance['image']} does not stamp its runs",
                hint="measure the response time, which the guest sees",
            )
        return self.inside


class Measure:
    """Takes series on a board and checks them against the board's bounds.

    `bounds_file` is read when first needed; `record` is told each series once, with its checks, `compared`
    series that belong side by side. `test` names the test that measures, by which a series finds its baseline.
    """

    def __init__(
        self,
        bounds_file: Path,
        record: Record = lambda series, checks: None,
        compared: Callable[[Sequence[Series]], None] = lambda several: None,
    ) -> None:
        self._file = bounds_file
        self._record = record
        self._compared = compared
        self._bounds: Bounds | None = None
        self._open: list[Series] = []
        self._clocks: dict[Guest, Clocks] = {}
        self._probes: dict[Guest, guest_probe.Probe] = {}
        self._load = ""
        self.test = ""

    @property
    def bounds(self) -> Bounds:
        if self._bounds is None:
            self._bounds = Bounds(self._file)
        return self._bounds

    def executions(
        self, runner: Runner, module: Module, *arguments: str, repeats: int, up_to: int | None = None, warm_up: int = 1
    ) -> Series:
        """Response times of `repeats` executions, see `parts`.

        Where the board's bounds cannot be decided with so many, more are taken, up to `up_to`; how often may be
        looked is fixed before and paid for with confidence.
        """
        return self.parts(runner, module, *arguments, repeats=repeats, up_to=up_to, warm_up=warm_up).response

    def parts(
        self, runner: Runner, module: Module, *arguments: str, repeats: int, up_to: int | None = None, warm_up: int = 1
    ) -> Parts:
        """Times of `repeats` executions, taken by a probe in the guest with its counter.

        The module is sent once; the first `warm_up` executions are not counted. Raises `RunnerError` for one that
        does not end by itself or not with exit code 0: a series of failures has no meaning.
        """
        planned = looks(repeats, up_to or repeats)
        taken: list[guest_probe.Executions] = []
        host: list[HostWindow] = []
        for number in planned:
            count = number - sum(len(one.answer) for one in taken)
            with watched(runner.guest, count, host):
                taken.append(self._executions(runner, module, arguments, count, warm_up))
            parts = self._parts(runner.guest, module, arguments, taken, len(planned), host)
            if number == planned[-1] or not self._undecided(parts.response, planned[-1]):
                break
        self._open += [parts.response, parts.transfer, *(parts.inside or ())]
        return parts

    def transfers(self, runner: Runner, module: Module, *, repeats: int) -> Series:
        """Times of sending `module` from the guest to the runner, `repeats` times. Raises as `parts`."""
        times: list[float] = []
        host: list[HostWindow] = []
        for _ in range(repeats):
            with watched(runner.guest, 1, host):
                taken = self._executions(runner, module, (), 1, 0)
            times.append(taken.transfer / taken.hz)
        clock = self._clocks_of(runner.guest).guest_counter()
        return self._series(runner.guest, TRANSFER, module.name, times, clock, module=module, host=host)

    def deployments(self, runner: Runner, module: Module, *arguments: str, repeats: int, warm_up: int = 1) -> Series:
        """Times of `repeats` whole deployments by the agent, as seen on the line: its start to its verdict.

        Raises `RunnerError` for one that is not good.
        """
        runs: list[Execution] = []
        host: list[HostWindow] = []
        for number in range(warm_up + repeats):
            with watched(runner.guest, 1, host):
                run = runner.run(module, *arguments)
            if not run.good:
                raise RunnerError(
                    f"execution {number + 1} of {warm_up + repeats} went wrong: {run}",
                    evidence=runner.guest.board.console.evidence(),
                )
            runs.append(run)
        counted, console = runs[warm_up:], runner.guest.board.console
        # the agent's start is the end of the mark before its output: the transfer comes before its first word
        stamps = [(console.stamp(run.start - 1), console.stamp(run.end)) for run in counted]
        return self._series(
            runner.guest,
            DEPLOYMENT,
            _subject(module, arguments),
            [(end - start) / 1e9 for start, end in stamps],
            self._clocks_of(runner.guest).console(),
            module=module,
            times=[(start - stamps[0][0]) / 1e9 for start, _ in stamps],
            offsets=[run.start for run in counted],
            host=host[warm_up:],
        )

    def releases(
        self,
        guest: Guest,
        period: Amount = 1 * ms,
        *,
        count: int,
        partition: bool = False,
        priority: int = guest_probe.PRIORITY,
    ) -> Series:
        """By how much `count` releases on absolute deadlines come late, as cyclictest measures it.

        In the guest, or in the `partition`, by its own counter there.
        """
        host: list[HostWindow] = []
        with watched(guest, count, host):
            late = self._probe(guest).cycles(period, count=count, partition=partition, priority=priority).lateness
        where = "partition" if partition else "guest"
        times = [number * period.value + float(delay) for number, delay in enumerate(late)]
        clock = self._clocks_of(guest).guest_counter()
        return self._series(guest, RELEASE, f"{where}, {period}", late, clock, times=times, host=host)

    def periodic(self, runner: Runner, module: Module, period: Amount, *, count: int) -> Series:
        """Release jitter of a periodic module (`periodic.wasm`) by its own WASI clock.

        Raises `RunnerError` where it does not end well or its report is damaged.
        """
        host: list[HostWindow] = []
        with watched(runner.guest, count, host):
            run = self._periodic_run(runner, module, period, count)
        stamps = periodic.releases(run)
        clock = self._clocks_of(runner.guest).module()
        return self._grid(runner.guest, module, period, stamps, clock, [run.start] * len(stamps), host)

    def ticks(self, runner: Runner, module: Module, period: Amount, *, count: int) -> Series:
        """Release jitter of a module that prints a line at each release (`ticker.wasm`), judged by the console."""
        host: list[HostWindow] = []
        with watched(runner.guest, count, host):
            run = self._periodic_run(runner, module, period, count)
        console = runner.guest.board.console
        lines = [line for line in console.lines(run.start, run.end) if periodic.TICK.search(line.text)]
        if len(lines) != count:
            raise RunnerError(
                f"{module.name} printed {len(lines)} of {count} ticks that can be read", evidence=console.evidence()
            )
        offsets = [line.offset for line in lines]
        clock = self._clocks_of(runner.guest).console()
        return self._grid(runner.guest, module, period, [console.stamp(at) for at in offsets], clock, offsets, host)

    def added(self, loaded: Series, idle: Series) -> Series:
        """How much more than the median of `idle` each sample of `loaded` is: what a load adds."""
        import numpy as np

        more = replace(loaded, quantity=ADDED, samples=loaded.samples - float(np.median(idle.samples)))
        self._compared((idle, loaded))
        return self.derived(more)

    def relative(self, series: Series, to: Series) -> Series:
        """Each sample of `series` as a share of the median of `to`, to bound as `p50 <= 50 * percent`.

        Raises `ConfigurationError` for series of different units or clocks, and for a median of 0.
        """
        import numpy as np

        middle = float(np.median(to.samples))
        if (series.unit, series.clock.name) != (to.unit, to.clock.name) or not middle:
            raise ConfigurationError(
                f"{series.quantity} of {series.subject} by {series.clock.name} cannot be a share of {to.quantity} of "
                f"{to.subject} by {to.clock.name}, whose median is {middle} {to.unit}"
            )
        self._compared((to, series))
        subject = f"{series.subject} to {to.subject}"
        share = replace(series, quantity=RELATIVE, subject=subject, samples=series.samples / middle, unit="1")
        return self.derived(replace(share, host=[replace(window, unit=middle) for window in series.host]))

    def derived(self, series: Series) -> Series:
        """Keep a series that was worked out of another one, so that it is in the results."""
        self._open.append(series)
        return series

    @contextmanager
    def under(self, guest: Guest, load: str) -> Iterator[None]:
        """Measure with the guest under `load`; the series say so. Raises as `hil.guest.load.load`."""
        with guest.load(load):
            self._load = load
            try:
                yield
            finally:
                self._load = ""

    def check(self, series: Series, *bounds: Bound) -> tuple[Check, ...]:
        """Check `series` against `bounds`, or, without any, against the board's bounds file.

        See `hil.measure.bounds.check`: `series.check(...)` does the same with bounds of your own.
        """
        with recorded(self.checked):
            return check(series, bounds or self.bounds.of(series))

    def checked(self, series: Series, checks: tuple[Check, ...]) -> None:
        """Record `series` with what became of its bounds."""
        self._open = [one for one in self._open if one is not series]
        self._record(series, checks)

    def flush(self) -> None:
        """Record what was taken and not checked."""
        for series in self._open:
            self._record(series, ())
        self._open = []

    def _undecided(self, series: Series, limit: int) -> bool:
        return needed(series, self.bounds.of(series), series.confidence, limit) > 0

    def _clocks_of(self, guest: Guest) -> Clocks:
        return self._clocks.setdefault(guest, Clocks(guest))

    def _probe(self, guest: Guest) -> guest_probe.Probe:
        return self._probes.setdefault(guest, guest_probe.Probe(guest))

    def _executions(
        self, runner: Runner, module: Module, arguments: Sequence[str], count: int, warm_up: int
    ) -> guest_probe.Executions:
        place = runner.place(module)
        taken = self._probe(runner.guest).executions(place, arguments, count=count, warm_up=warm_up)
        if taken.code.any():
            number = int(taken.code.astype(bool).argmax())
            raise RunnerError(
                f"execution {number + 1} of {_subject(module, arguments)} exited with {taken.code[number]}, not with 0",
                hint="are its arguments right? A series of failures has no meaning",
                evidence=runner.guest.board.console.evidence(),
            )
        return taken

    def _parts(
        self,
        guest: Guest,
        module: Module,
        arguments: Sequence[str],
        taken: Sequence[guest_probe.Executions],
        planned: int,
        host: Sequence[HostWindow],
    ) -> Parts:
        import numpy as np

        clock = self._clocks_of(guest).guest_counter()

        def make(quantity: str, samples: list[Any], times: list[Any] | None = None) -> Series:
            return self._made(
                guest, quantity, _subject(module, arguments), np.concatenate(samples), clock, module=module,
                times=None if times is None else np.concatenate(times), looks=planned, host=tuple(host),
            )  # fmt: skip

        zero = taken[0].request[0]
        times = [(one.request - zero) / float(one.hz) for one in taken]
        response = make(RESPONSE, [one.response for one in taken], times)
        transfer = make(TRANSFER, [[one.transfer / one.hz for one in taken]])
        known = [one.execution for one in taken if one.execution is not None]
        if len(known) < len(taken):
            return Parts(response, transfer)
        rest = [one.response - part for one, part in zip(taken, known, strict=True)]
        return Parts(response, transfer, (make(EXECUTION, known, times), make(OVERHEAD, rest, times)))

    def _periodic_run(self, runner: Runner, module: Module, period: Amount, count: int) -> Execution:
        length = amount(period, "s", "the period") * 1e6
        if count < 1 or not math.isclose(length, round(length)):
            raise ConfigurationError(
                f"{count} releases of {module.name}, one each {period}",
                hint="a periodic module takes 1 release or more, and a period of whole microseconds",
            )
        run = runner.run(module, str(round(length)), str(count), limit=30 + 2 * count * period.value)
        if not run.good:
            raise RunnerError(f"the periodic module went wrong: {run}", evidence=runner.guest.board.console.evidence())
        return run

    def _grid(
        self,
        guest: Guest,
        module: Module,
        period: Amount,
        stamps: Sequence[int],
        clock: Clock,
        offsets: Sequence[int],
        host: Sequence[HostWindow],
    ) -> Series:
        """Release jitter from stamps in ns: the most punctual release sets the grid."""
        import numpy as np

        ns = np.array(stamps, dtype=np.int64)
        late = (ns - ns[0]) - np.arange(len(ns)) * round(period.value * 1e9)
        subject = f"{module.name} {period}"
        times = (ns - ns[0]) / 1e9
        return self._series(
            guest, RELEASE, subject, (late - late.min()) / 1e9, clock, module=module, times=times, offsets=offsets,
            host=host,
        )  # fmt: skip

    def _series(
        self, guest: Guest, quantity: str, subject: str, samples: Floats | list[float], clock: Clock, **more: Any
    ) -> Series:
        return self.derived(self._made(guest, quantity, subject, samples, clock, **more))

    def _made(
        self,
        guest: Guest,
        quantity: str,
        subject: str,
        samples: Floats | list[float],
        clock: Clock,
        *,
        module: Module | None = None,
        times: Any = None,
        offsets: Sequence[int] | None = None,
        looks: int = 1,
        host: Sequence[HostWindow] = (),
    ) -> Series:
        import numpy as np

        if self._load:
            subject += f", guest under {self._load} load"
        origin = {"test": self.test, **provenance(guest, module)}
        if host:
            origin |= total(host).facts
        delaying = host if guest.board.emulated or clock.name == CONSOLE else ()  # a real board's counter is its own
        return Series(quantity, subject, np.asarray(samples), clock, "s", times, offsets, origin, looks, delaying)


@contextmanager
def watched(guest: Guest, count: int, windows: list[HostWindow]) -> Iterator[None]:
    """Add to `windows` what the host takes while `count` samples are taken on `guest`; nothing in virtual time."""
    board = guest.board
    if board.virtual is not None:
        yield
        return
    pids = {OWN: os.getpid(), READER: board.console.reader}
    if board.emulated:
        with suppress(InfrastructureError):  # it has ended, and what is measured will raise
            pids[EMULATOR] = board.qemu.pid
    watch = Watch(pids)
    yield
    windows.append(HostWindow(count, watch.load()))


def provenance(guest: Guest, module: Module | None = None) -> dict[str, str]:
    """What a reader needs to repeat what is measured now: board, image, module, QEMU, seed, what was typed before."""
    board, console = guest.board, guest.board.console
    facts = {"board": board.name, "image": f"{board.manifest.name} {board.image().digest}"}
    if module is not None:
        facts["module"] = f"{module.name} {module.sha256}"
    if board.emulated:
        facts["qemu"] = board.qemu.build
    if board.virtual is not None:
        mode = "no lock step" if console.lockstep is None else LOCKSTEP
        facts |= {"mode": mode, "seed": str(board.virtual.seed), "exactness": str(board.virtual)}
    if console.lockstep is not None:
        facts["history"] = console.lockstep.history
    return {**facts, "transcript": str(console.transcript.path)}


def _subject(module: Module, arguments: Sequence[str]) -> str:
    return " ".join((module.name, *arguments))
