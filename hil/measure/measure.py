"""The fixture `measure`: takes series on a board and checks them against the bounds of the board."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hil.errors import ConfigurationError, RunnerError
from hil.guest import Guest
from hil.measure import comparisons
from hil.measure import probe as guest_probe
from hil.measure.board_clocks import BoardClocks
from hil.measure.bound import Bound
from hil.measure.bounds_file import Bounds
from hil.measure.checking import Record, check, recorded
from hil.measure.clock import CONSOLE, Clock
from hil.measure.decision import Check
from hil.measure.host import HostWindow, total
from hil.measure.interim import interim_counts, samples_needed
from hil.measure.parts import Parts
from hil.measure.probe_record import Executions
from hil.measure.provenance import provenance, watched
from hil.measure.quantities import DEPLOYMENT, EXECUTION, OVERHEAD, RELEASE, RESPONSE, TRANSFER
from hil.measure.series import Series
from hil.measure.series_data import NO_VERDICT
from hil.measure.units import Amount, amount, ms
from hil.stats.arrays import Floats
from hil.wasm import Execution, Module, Runner, periodic
from hil.wasm.execution import DEFAULT_LIMIT
from hil.wasm.loading import Loadable, load_module, words_of
from hil.wasm.module import call_of, subject_of


class Measure:
    """Takes series on a board and checks them against the bounds of the board.

    `bounds_file` is read on first use. `record` is called once with each series and its checks, `compared` with series
    that belong side by side. `test` is the id of the running test; baselines are found by it.
    """

    def __init__(
        self,
        bounds_file: Path | str,
        record: Record = lambda series, checks: None,
        compared: Callable[[Sequence[Series]], None] = lambda several: None,
    ) -> None:
        self._file = Path(bounds_file)
        self._record = record
        self._compared = compared
        self._bounds: Bounds | None = None
        self._unchecked: list[Series] = []
        self._without_verdict: list[Series] = []
        self._clocks: dict[Guest, BoardClocks] = {}
        self._probes: dict[Guest, guest_probe.Probe] = {}
        self._load = ""
        self.test = ""

    @property
    def bounds(self) -> Bounds:
        if self._bounds is None:
            self._bounds = Bounds(self._file)
        return self._bounds

    def executions(
        self,
        runner: Runner,
        module: Loadable,
        *arguments: str | bytes,
        repeats: int,
        up_to: int | None = None,
        warm_up: int = 1,
        limit: float | None = None,
    ) -> Series:
        """Return the response times of `repeats` executions, see `parts`."""
        return self.parts(
            runner, module, *arguments, repeats=repeats, up_to=up_to, warm_up=warm_up, limit=limit
        ).response

    def parts(
        self,
        runner: Runner,
        module: Loadable,
        *arguments: str | bytes,
        repeats: int,
        up_to: int | None = None,
        warm_up: int = 1,
        limit: float | None = None,
    ) -> Parts:
        """Return the times of `repeats` executions, taken by a probe in the guest with the guest's counter.

        `module`, `arguments` and `limit`, the time in seconds that one execution may run, are those of `runner.run`.
        Together the executions may take 300 s, or longer if a `limit` is given and allows it.

        The module is sent once; the first `warm_up` executions are not counted. If the bounds of the board cannot be
        decided with `repeats` samples, more are taken, up to `up_to`, with a higher confidence for each decision.
        Raises `RunnerError` for an execution that does not end by itself or with another exit code than 0; else as
        `runner.run`.
        """
        module, words = load_module(module), words_of(arguments)
        planned = interim_counts(repeats, up_to or repeats)
        taken: list[Executions] = []
        host: list[HostWindow] = []
        for number in planned:
            count = number - sum(len(executions.answer) for executions in taken)
            with watched(runner.guest, count, host):
                taken.append(self._executions(runner, module, words, count, warm_up, limit))
            parts = self._parts(runner.guest, module, words, taken, len(planned), host)
            if number == planned[-1] or not self._undecided(parts.response, planned[-1]):
                break
        self._unchecked += [parts.response, parts.transfer, *(parts.inside or ())]
        return parts

    def transfers(self, runner: Runner, module: Loadable, *, repeats: int) -> Series:
        """Return the times of sending `module` from the guest to the runner, `repeats` times. Raises as `parts`."""
        module = load_module(module)
        times: list[float] = []
        host: list[HostWindow] = []
        for _ in range(repeats):
            with watched(runner.guest, 1, host):
                taken = self._executions(runner, module, (), 1, 0, None)
            times.append(taken.transfer / taken.hz)
        clock = self._clocks_of(runner.guest).guest_counter()
        return self._series(runner.guest, TRANSFER, module.file, times, clock, module=module, host=host)

    def deployments(
        self,
        runner: Runner,
        module: Loadable,
        *arguments: str | bytes,
        repeats: int,
        warm_up: int = 1,
        limit: float = DEFAULT_LIMIT,
    ) -> Series:
        """Return the times of `repeats` deployments by the agent, from its start to its verdict on the line.

        Raises `RunnerError` for a deployment that fails; else as `runner.run`, whose `limit` it takes.
        """
        module, words = load_module(module), words_of(arguments)
        runs: list[Execution] = []
        host: list[HostWindow] = []
        for number in range(warm_up + repeats):
            with watched(runner.guest, 1, host):
                run = runner.run(module, *words, limit=limit)
            if not run.good:
                raise RunnerError(
                    f"deployment {number + 1} of {warm_up + repeats} failed: {run}",
                    evidence=runner.guest.board.console.evidence(),
                )
            runs.append(run)
        counted, console = runs[warm_up:], runner.guest.board.console
        # the agent starts at the end of the mark before its output: the transfer precedes its first output
        stamps = [(console.stamp(run.start - 1), console.stamp(run.end)) for run in counted]
        return self._series(
            runner.guest,
            DEPLOYMENT,
            subject_of(module, words),
            [(end - start) / 1e9 for start, end in stamps],
            self._clocks_of(runner.guest).console(),
            module=module,
            times=[(start - stamps[0][0]) / 1e9 for start, _ in stamps],
            offsets=[run.start for run in counted],
            host=host[warm_up:],
        )

    def releases(self, guest: Guest, period: Amount = 1 * ms, *, count: int, partition: bool = False) -> Series:
        """Return the lateness of `count` releases on absolute deadlines, as cyclictest measures it.

        The loop runs in the guest, or in the `partition` by the partition's counter.
        """
        with watched(guest, count) as host:
            late = self._probe(guest).cycles(period, count=count, partition=partition).lateness
        where = "partition" if partition else "guest"
        times = [number * period.value + float(delay) for number, delay in enumerate(late)]
        clock = self._clocks_of(guest).guest_counter()
        return self._series(guest, RELEASE, f"{where}, {period}", late, clock, times=times, host=host)

    def periodic(self, runner: Runner, module: Loadable, period: Amount, *, count: int) -> Series:
        """Return the release jitter of a periodic module (`periodic.wasm`) by its own WASI clock.

        Raises `RunnerError` if the module fails or its report is damaged.
        """
        module = load_module(module)
        with watched(runner.guest, count) as host:
            run = self._periodic_run(runner, module, period, count)
        stamps = periodic.releases(run)
        clock = self._clocks_of(runner.guest).module()
        return self._grid(runner.guest, module, period, stamps, clock, [run.start] * len(stamps), host)

    def ticks(self, runner: Runner, module: Loadable, period: Amount, *, count: int) -> Series:
        """Return the release jitter of a module that prints a line at each release, by the console's stamps."""
        module = load_module(module)
        with watched(runner.guest, count) as host:
            run = self._periodic_run(runner, module, period, count)
        console = runner.guest.board.console
        lines = [line for line in console.lines(run.start, run.end) if periodic.TICK.search(line.text)]
        if len(lines) != count:
            raise RunnerError(
                f"the output of {module.name} has {len(lines)} of {count} readable ticks", evidence=console.evidence()
            )
        offsets = [line.offset for line in lines]
        clock = self._clocks_of(runner.guest).console()
        return self._grid(runner.guest, module, period, [console.stamp(at) for at in offsets], clock, offsets, host)

    def added(self, loaded: Series, idle: Series) -> Series:
        """Return the delay that a load adds: the samples of `loaded` less the median of `idle`."""
        self._compared((idle, loaded))
        return self.derived(comparisons.added(loaded, idle))

    def relative(self, series: Series, to: Series) -> Series:
        """Return each sample of `series` as a share of the median of `to`, to bound as `p50 <= 50 * percent`.

        Raises `ConfigurationError` for series of different units or clocks and for a median of 0.
        """
        share = comparisons.relative(series, to)
        self._compared((to, series))
        return self.derived(share)

    def derived(self, series: Series) -> Series:
        """Keep a series that was computed from another one for the results, and return it."""
        self._unchecked.append(series)
        return series

    @contextmanager
    def under(self, guest: Guest, load: str) -> Iterator[None]:
        """Put the guest under `load` in this context and name it in the series. Raises as `Guest.load`."""
        with guest.load(load):
            self._load = load
            try:
                yield
            finally:
                self._load = ""

    def check(self, series: Series, *bounds: Bound) -> tuple[Check, ...]:
        """Check `series` against `bounds`, by default those of the bounds file. Raises as `checking.check`."""
        if not any(other is series for other in self._unchecked):
            self._unchecked.append(series)
        self._without_verdict.append(series)
        with recorded(self.checked):
            return check(series, bounds or self._bounds_of(series))

    def checked(self, series: Series, checks: tuple[Check, ...]) -> None:
        """Record `series` with its checks."""
        self._unchecked = [other for other in self._unchecked if other is not series]
        self._record(series, checks)

    def flush(self) -> None:
        """Record the series that were not checked; one whose check found no bounds has `NO_VERDICT`."""
        for series in self._unchecked:
            if any(other is series for other in self._without_verdict):
                series = replace(series, provenance={**series.provenance, **NO_VERDICT})  # noqa: PLW2901
            self._record(series, ())
        self._unchecked, self._without_verdict = [], []

    def _bounds_of(self, series: Series) -> tuple[Bound, ...]:
        """Return the bounds of the bounds file for `series`. Raises `ConfigurationError` where there are none."""
        if found := self.bounds.of(series):
            return found
        nearest = self.bounds.nearest(series)
        file = self.bounds.shown
        raise ConfigurationError(
            f"there are no bounds for {series.quantity} of {series.subject} by {series.clock.name} in {file}"
            + (f"; the nearest row is {nearest}" if nearest else ""),
            hint=f"Add a row to {file}; `hil bounds suggest RESULTS` prints one from the results of this run.",
        )

    def _undecided(self, series: Series, limit: int) -> bool:
        return samples_needed(series, self.bounds.of(series), series.confidence, limit) > 0

    def _clocks_of(self, guest: Guest) -> BoardClocks:
        return self._clocks.setdefault(guest, BoardClocks(guest))

    def _probe(self, guest: Guest) -> guest_probe.Probe:
        return self._probes.setdefault(guest, guest_probe.Probe(guest))

    def _executions(
        self,
        runner: Runner,
        module: Module,
        words: Sequence[str],
        count: int,
        warm_up: int,
        limit: float | None,
    ) -> Executions:
        place = runner.place(module)
        together = guest_probe.ALL_TOGETHER
        if limit is not None:
            together = max(together, (warm_up + count) * limit + guest_probe.SPARE)
        taken = self._probe(runner.guest).executions(
            place,
            words,
            count=count,
            warm_up=warm_up,
            limit=DEFAULT_LIMIT if limit is None else limit,
            timeout=together,
        )
        if taken.code.any():
            number = int(taken.code.astype(bool).argmax())
            raise RunnerError(
                f"execution {number + 1} of {call_of(module, words)} exited with {taken.code[number]}, not 0",
                hint="Check the arguments of the module: a series of failures has no meaning.",
                evidence=runner.guest.board.console.evidence(),
            )
        return taken

    def _parts(
        self,
        guest: Guest,
        module: Module,
        words: Sequence[str],
        taken: Sequence[Executions],
        planned: int,
        host: Sequence[HostWindow],
    ) -> Parts:
        clock = self._clocks_of(guest).guest_counter()

        def make(quantity: str, samples: list[Any], times: list[Any] | None = None) -> Series:
            return self._made(
                guest, quantity, subject_of(module, words), np.concatenate(samples), clock, module=module,
                times=None if times is None else np.concatenate(times), analyses=planned, host=tuple(host),
            )  # fmt: skip

        zero = taken[0].request[0]
        times = [(part.request - zero) / float(part.hz) for part in taken]
        response = make(RESPONSE, [part.response for part in taken], times)
        transfer = make(TRANSFER, [[part.transfer / part.hz for part in taken]])
        inside = [part.execution for part in taken if part.execution is not None]
        if len(inside) < len(taken):
            return Parts(response, transfer)
        outside = [part.response - execution for part, execution in zip(taken, inside, strict=True)]
        return Parts(response, transfer, (make(EXECUTION, inside, times), make(OVERHEAD, outside, times)))

    def _periodic_run(self, runner: Runner, module: Module, period: Amount, count: int) -> Execution:
        length = amount(period, "s", "the period") * 1e6
        if count < 1 or not math.isclose(length, round(length)):
            raise ConfigurationError(
                f"cannot run {module.name} for {count} releases with a period of {period}",
                hint="Give 1 release or more and a period of whole microseconds.",
            )
        run = runner.run(module, str(round(length)), str(count), limit=30 + 2 * count * period.value)
        if not run.good:
            raise RunnerError(f"the periodic module failed: {run}", evidence=runner.guest.board.console.evidence())
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
        """Return the release jitter of stamps in ns; the most punctual release sets the grid."""
        ns = np.array(stamps, dtype=np.int64)
        late = (ns - ns[0]) - np.arange(len(ns)) * round(period.value * 1e9)
        subject = f"{module.file} {period}"
        times = (ns - ns[0]) / 1e9
        return self._series(
            guest, RELEASE, subject, (late - late.min()) / 1e9, clock, module=module, times=times, offsets=offsets,
            host=host,
        )  # fmt: skip

    def _series(self, *taken: Any, **more: Any) -> Series:
        """Return the series that `_made` makes, and keep it for the results."""
        return self.derived(self._made(*taken, **more))

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
        analyses: int = 1,
        host: Sequence[HostWindow] = (),
    ) -> Series:
        if self._load:
            subject += f", guest under {self._load} load"
        origin = {"test": self.test, **provenance(guest, module)}
        if host:
            origin |= total(host).facts
        delaying = host if guest.board.emulated or clock.name == CONSOLE else ()  # the host cannot delay a real counter
        return Series(quantity, subject, np.asarray(samples), clock, "s", times, offsets, origin, analyses, delaying)
