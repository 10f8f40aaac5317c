"""The result of a loop: its signals on one time axis, and how well it kept its steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from hil.errors import ConfigurationError
from hil.host.hints import did_you_mean
from hil.measure.quantities import STEP_RESPONSE
from hil.measure.response import StepResponse
from hil.measure.series import Series
from hil.measure.units import Amount, amount, percent, shown
from hil.signals.loop.sampled import SampledSignal


@dataclass(frozen=True, eq=False)
class LoopResult:
    """The signals of a loop and how well it kept its steps.

    - `signals`: by the names of the plant's inputs and outputs, with the same times: at each step what was on the
      wires then.
    - `step`: the length of a step in seconds; `start_ns`: the start on the clock of the wires.
    - `lateness`: by how much each step began after its time; in virtual time a delay up to the resolution is 0.
      `overruns`: the numbers, from 0, of the steps that began too late: by any delay in virtual time, which only an
      event causes, else by more than half a step.
    - `host_seconds`: the time of the host in each step of the plant.
    - `wall`: the time of the host for the whole loop in seconds, `seconds` the time of the wires.
    - `saturated`: the number of samples of each analogue output beyond its range.
    - `sources`: the pin or analogue channel, scaled or not, that each input of the plant is; none for duty cycles.
    """

    signals: Mapping[str, SampledSignal]
    step: float
    start_ns: int
    seconds: float
    lateness: Series
    overruns: tuple[int, ...]
    host_seconds: Series
    wall: float
    saturated: Mapping[str, int]
    sources: Mapping[str, str] = field(default_factory=dict)

    def __getitem__(self, name: str) -> SampledSignal:
        """Return a signal by its name. Raises `ConfigurationError` for another name."""
        try:
            return self.signals[name]
        except KeyError:
            raise ConfigurationError(
                f"the loop has no signal {name!r}",
                hint=f"{did_you_mean(name, self.signals)}The signals are: {', '.join(self.signals)}.",
            ) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self.signals)

    @property
    def real_time_factor(self) -> float:
        """The time of the wires per time of the host: above 1 the loop was faster than real time."""
        return self.seconds / self.wall

    def response(
        self,
        name: str,
        setpoint: float,
        *,
        band: Amount = 2 * percent,
        start: Amount | None = None,
        initial: float | None = None,
        span: float | None = None,
        tail: Amount = 10 * percent,
    ) -> Series:
        """Return the response of a signal to a step of its setpoint, for the figures of `hil.measure.response`.

        `start` is the time of the step, by default the start of the loop; `initial` the signal before it, by default
        the sample then. Errors are shares of `span`, by default the distance from `initial` to `setpoint`. The signal
        is settled within `band` around the setpoint, and in its steady state in the last part, `tail`, of its time.

        Raises `ConfigurationError` for an unknown signal, a step outside the loop's time, and a span of 0.
        """
        signal = self[name]
        begin = 0.0 if start is None else amount(start, "s", "the start of the response")
        assert signal.times is not None
        if not 0 <= begin < signal.times[-1]:
            raise ConfigurationError(
                f"the response of {name} cannot start at {shown(begin)}: the loop ran for {shown(self.seconds)}",
                hint="Give the time since the start of the loop.",
            )
        first = signal.at(begin) if initial is None else initial
        facts = StepResponse(
            setpoint=float(setpoint),
            span=abs(setpoint - first) if span is None else float(span),
            rising=(setpoint > first) - (setpoint < first),
            band=amount(band, "1", "the band of the settling time"),
            start=begin,
            tail=amount(tail, "1", "the tail of the response"),
        )
        coarse = f"sampled every {shown(self.step)}"
        remark = "; ".join(filter(None, (coarse, signal.clock.remark)))
        clock = replace(signal.clock, resolution=max(self.step, signal.clock.resolution), remark=remark)
        return Series(
            STEP_RESPONSE, name, signal.samples, clock, "1", signal.times, provenance=signal.provenance, response=facts
        )

    def __str__(self) -> str:
        steps = len(self.lateness)
        late = f"{len(self.overruns)} overruns" if self.overruns else "no overruns"
        parts = [
            f"{steps} steps of {shown(self.step)} in {shown(self.wall)} of the host's time",
            f"real-time factor {self.real_time_factor:.3g}",
            late,
            f"plant p50 {shown(self.host_seconds.median)} of the host's time",
        ]
        parts += [f"{name} saturated {count} times" for name, count in self.saturated.items() if count]
        return f"loop: {', '.join(parts)}; signals: {', '.join(self.signals)}"
