"""Error rates of the decision on a bound. Usage: decision.py [ROUNDS]

Monte Carlo of `p99 <= B` with the true p99 at 0.9, 1.0 and 1.1 of B, compared with the naive rule "p99 of the samples
<= B"; of repeated decisions, with and without planned interim analyses; of the limits of mean, rms, misses and pWCET;
and the time for a million samples. Needs no image. Prints the tables of docs/statistics.md.
"""

from __future__ import annotations

import math
import sys
import time
from collections import Counter
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from hil import Clock, Series, mean, misses, p99, pwcet, rms, s
from hil.measure.decision import Outcome, decide
from hil.measure.figures import FIGURES
from hil.measure.interim import interim_counts

CLOCK = Clock("guest counter", 16e-9)
RATIOS = (0.9, 1.0, 1.1)
Draw = Callable[[int], NDArray[np.float64]]

RANDOM = np.random.default_rng(20)
DISTRIBUTIONS: dict[str, tuple[Draw, Callable[[float], float], float, float]] = {
    # draw, quantile, mean, rms
    "exponential": (lambda n: RANDOM.exponential(1, n), lambda q: -math.log(1 - q), 1.0, 1.0),
    "lognormal, sigma 0.5": (
        lambda n: RANDOM.lognormal(0, 0.5, n),
        lambda q: math.exp(0.5 * float(ndtri(q))),
        math.exp(1 / 8),
        math.exp(1 / 8) * math.sqrt(math.exp(1 / 4) - 1),
    ),
}


def taken(samples: NDArray[np.float64]) -> Series:
    return Series("response time", "bench", samples, CLOCK)


def decisions(rounds: int) -> None:
    print("| distribution | n | true/bound | pass | fail | inconclusive | naive pass | naive fail |")
    print("|---|---|---|---|---|---|---|---|")
    for name, (draw, quantile, *_) in DISTRIBUTIONS.items():
        for n in (300, 1000, 5000):
            found: dict[float, Counter[str]] = {ratio: Counter() for ratio in RATIOS}
            for _ in range(rounds):
                series = taken(draw(n))
                for ratio in RATIOS:
                    check = decide(p99 <= quantile(0.99) / ratio * s, series)
                    found[ratio][check.outcome] += 1
                    found[ratio]["naive"] += check.estimate.value <= check.bound.limit.value
            for ratio, counts in found.items():
                ours = [counts[outcome] for outcome in (Outcome.PASS, Outcome.FAIL, Outcome.INCONCLUSIVE)]
                shares = [f"{count / rounds:.1%}" for count in (*ours, counts["naive"], rounds - counts["naive"])]
                print(f"| {name} | {n} | {ratio} | {' | '.join(shares)} |", flush=True)


def top_ups(rounds: int) -> None:
    print("\n| decisions at | rule | pass with the true p99 just above the bound |\n|---|---|---|")
    draw, quantile, *_ = DISTRIBUTIONS["exponential"]
    bound = p99 <= quantile(0.99) * 0.999 * s
    every = tuple(range(300, 3001, 100))
    planned = interim_counts(300, 3000)
    rules: list[tuple[str, tuple[int, ...], float]] = [
        ("once, at 95 %", (3000,), 0.95),
        ("until it passes, each at 95 %", every, 0.95),
        (f"planned, each at 1 - 5 % / {len(planned)}", planned, 1 - 0.05 / len(planned)),
    ]
    passed, naive = Counter[str](), 0
    for _ in range(rounds):
        samples = draw(3000)
        for name, at, confidence in rules:
            checks = (decide(bound, taken(samples[:n]), confidence) for n in at)
            passed[name] += any(check.outcome is Outcome.PASS for check in checks)
        naive += any(p99.estimate(taken(samples[:n])).value <= bound.limit.value for n in every)
    for name, at, _ in rules:
        places = ", ".join(map(str, at)) if len(at) < 10 else f"{at[0]}, {at[1]}, ... {at[-1]}"
        print(f"| {places} | {name} | {passed[name] / rounds:.1%} |")
    print(f"| {every[0]}, {every[1]}, ... {every[-1]} | naive, until it passes | {naive / rounds:.1%} |", flush=True)


def limits(rounds: int) -> None:
    print("\n| distribution | figure | n | lower limit holds | upper limit holds |\n|---|---|---|---|---|")
    for name, (draw, quantile, centre, spread) in DISTRIBUTIONS.items():
        rate = misses(quantile(0.98) * s)
        for n in (100, 1000, 10_000):
            held = Counter[str]()
            for _ in range(rounds):
                series = taken(draw(n))
                for figure, true in ((mean, centre), (rms, spread), (rate, 0.02)):
                    one = figure.estimate(series)
                    if one.lower is not None and one.upper is not None:
                        held[figure.name] += 1
                        held[f"{figure.name} lower"] += one.lower <= true
                        held[f"{figure.name} upper"] += one.upper >= true
            for figure in (one for one in (mean, rms, rate) if held[one.name]):
                low, high = (held[f"{figure.name} {side}"] / rounds for side in ("lower", "upper"))
                print(f"| {name} | {figure.name.partition(' (')[0]} | {n} | {low:.1%} | {high:.1%} |", flush=True)


def tails(rounds: int) -> None:
    print("\n| distribution | n | accepted | lower limit holds | upper limit holds |\n|---|---|---|---|---|")
    for name, (draw, quantile, *_) in DISTRIBUTIONS.items():
        for n in (1000, 5000):
            found = [tail for tail in (pwcet(taken(draw(n)), 1e-6) for _ in range(rounds)) if tail.value is not None]
            low = sum(quantile(1 - 1e-6) >= (tail.lower or 0) for tail in found)
            high = sum(quantile(1 - 1e-6) <= (tail.upper or 0) for tail in found)
            shares = (len(found) / rounds, low / len(found), high / len(found))
            print(f"| {name} | {n} | {' | '.join(f'{share:.0%}' for share in shares)} |", flush=True)


def million() -> None:
    samples = RANDOM.lognormal(0, 1, 1_000_000)
    start = time.perf_counter()
    series = taken(samples)
    for figure in (*FIGURES.values(), misses(5 * s)):
        figure.estimate(series)
    all_figures = time.perf_counter() - start
    pwcet(series)
    tail = time.perf_counter() - start - all_figures
    print(f"\n1,000,000 samples: all figures and limits {all_figures:.2f} s, pWCET with its tests {tail:.2f} s")


def main(rounds: int) -> None:
    million()  # first, with what the imports cost
    decisions(rounds)
    top_ups(rounds)
    limits(rounds)
    tails(max(rounds // 10, 10))


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 4000)
