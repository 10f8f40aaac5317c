"""Are changes of a figure told, and is nothing else? Usage: change.py [SERIES]

Simulated nights with a spread of 3 %: quiet ones, with steps, a drift, outliers, weekends. Beside hil.stats.change two
peers on the same values: the optimal partition that PELT finds, by squares with a penalty of 2 log n a change, and
E-divisive by itself (p of 0.05, no least effect, no persistence, no clipping). Needs no image; takes minutes.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from hil.stats import change, energy

Floats = NDArray[np.float64]
Noise = Callable[[np.random.Generator, int], Floats]

SPREAD = 0.03
NIGHTS = (30, 90)
AFTER = 10  # nights from a step to the last
SLOPE = 15  # nights


def student(chance: np.random.Generator, n: int) -> Floats:
    return np.asarray(chance.standard_t(3, n) / math.sqrt(3))


def skewed(chance: np.random.Generator, n: int) -> Floats:
    return np.asarray((chance.lognormal(0, 1, n) - math.exp(0.5)) / math.sqrt((math.e - 1) * math.e))


NOISE: dict[str, Noise] = {
    "normal": lambda chance, n: chance.normal(size=n),
    "Student's t, 3 degrees": student,
    "lognormal, sigma 1": skewed,
}


def noisy(noise: str, shape: Floats, seed: int, spread: float = SPREAD) -> Floats:
    return np.asarray(shape * (1 + spread * NOISE[noise](np.random.default_rng(seed), len(shape))))


def step(n: int, size: float, after: int = AFTER) -> Floats:
    return np.where(np.arange(n) < n - after, 1.0, 1 + size)


def slope(n: int, rate: float = 0.01, nights: int = SLOPE) -> Floats:
    return np.asarray(1 + rate * np.clip(np.arange(n) - (n - 1 - nights), 0, None))


def outliers(n: int) -> Floats:
    return np.where(np.isin(np.arange(n), (n // 4, n // 2, n - 1)), 1.5, 1.0)


def weekends(n: int) -> Floats:
    return np.where(np.arange(n) % 7 >= 5, 1.05, 1.0)


def partition(values: Floats) -> list[int]:
    """The changes of mean with the least squares and 2 log n each, in units of the noise."""
    n = len(values)
    variance = (float(np.median(np.abs(np.diff(values)))) / 0.6745) ** 2 / 2
    sums, squares = (np.concatenate([[0.0], np.cumsum(values**power)]) for power in (1, 2))
    best, before = np.zeros(n + 1), np.zeros(n + 1, int)
    best[0] = -2 * math.log(n) * variance
    for end in range(1, n + 1):
        begin = np.arange(end)
        cost = squares[end] - squares[begin] - (sums[end] - sums[begin]) ** 2 / (end - begin)
        total = best[begin] + cost + 2 * math.log(n) * variance
        before[end], best[end] = total.argmin(), total.min()
    found, at = [], n
    while before[at]:
        found.append(at := int(before[at]))
    return found[::-1]


def divisive(values: Floats, begin: int = 0) -> list[int]:
    """E-divisive with 199 permutations at a p of 0.05, parts of two values at least."""
    if len(values) < 4:
        return []
    found, at, _ = energy.largest_energies(values[:, None], 2)
    orders = np.random.default_rng(0).random((len(values), 199)).argsort(axis=0)
    if (1 + int((energy.largest_energies(values[orders], 2)[0][1] >= found[1]).sum())) / 200 > 0.05:
        return []
    place = int(at[1, 0])
    return [*divisive(values[:place], begin), begin + place, *divisive(values[place:], begin + place)]


def quiet(count: int, spread: float = SPREAD) -> None:
    print(f"\n| nothing changes, spread {spread:.0%} | nights | alarms | partition | E-divisive alone |")
    print("|---|---|---|---|---|")
    for name in (*NOISE, "normal, with outliers", "normal, 5 % more at weekends"):
        noise = name if name in NOISE else name.partition(",")[0]
        shape = outliers if "outliers" in name else weekends if "weekends" in name else np.ones
        for n in NIGHTS:
            several = [noisy(noise, shape(n), seed, spread) for seed in range(count)]
            ours = sum(bool(change.changes(values)) for values in several)
            peers = several[: max(count // 4, 1)]
            others = [sum(bool(way(values)) for values in peers) for way in (partition, divisive)]
            told = " | ".join(f"{found} of {len(peers)}" for found in others)
            print(f"| {name} | {n} | {ours} of {count} | {told} |", flush=True)


def steps(count: int) -> None:
    print("\n| step | noise | nights | after 3 nights | after 4 | after 10 | nothing else |")
    print("|---|---|---|---|---|---|---|")
    for size in (0.05, 0.1, 0.2):
        for noise in NOISE:
            for n in NIGHTS if size == 0.1 else NIGHTS[:1]:
                found, alone = dict.fromkeys((3, 4, AFTER), 0), 0
                for seed in range(count):
                    values = noisy(noise, step(n, size), seed)
                    for after in found:
                        told = change.changes(values[: n - AFTER + after])
                        found[after] += any(abs(one.at - (n - AFTER)) <= 2 for one in told)
                    alone += [one.kind for one in told] == ["step"]
                shares = " | ".join(f"{one / count:.0%}" for one in (*found.values(), alone))
                print(f"| {size:+.0%} | {noise} | {n} | {shares} |", flush=True)


def drifts(count: int) -> None:
    print("\n| +1 % a night for | spread | nights | one drift | one step | several | nothing | begin off by (median) |")
    print("|---|---|---|---|---|---|---|---|")
    for nights in (10, SLOPE, 25):
        for spread in (0.01, 0.02, SPREAD):
            for n in NIGHTS if nights == SLOPE else NIGHTS[:1]:
                shape, kinds, off = slope(n, nights=nights), {"drift": 0, "step": 0, "several": 0, "": 0}, []
                for seed in range(count):
                    told = change.changes(noisy("normal", shape, seed, spread))
                    kinds[("several" if len(told) > 1 else told[0].kind) if told else ""] += 1
                    off += [abs(one.at - (n - nights)) for one in told if one.kind == "drift"]
                shares = " | ".join(f"{one / count:.0%}" for one in kinds.values())
                middle = f"{np.median(off):.0f} nights" if off else "-"
                print(f"| {nights} nights | {spread:.0%} | {n} | {shares} | {middle} |", flush=True)


def exact() -> None:
    print("\n| exact clock, 30 nights | told |\n|---|---|")
    for name, shape in {
        "nothing": np.ones(30),
        "+10 %": step(30, 0.1),
        "+10 % for 3 nights": step(30, 0.1, 3),
        "+10 % for 2 nights": step(30, 0.1, 2),
        "+4 %": step(30, 0.04),
        "+1 % a night, 12 nights": slope(30, nights=12),
        "+0.5 % a night, 12 nights": slope(30, rate=0.005, nights=12),
        "+20 %, mended after 10 nights": step(30, 0.2, 15) + step(30, -0.2, 5) - 1,
    }.items():
        told = change.changes(shape, exact=True)
        print(f"| {name} | {', '.join(f'{one} at night {one.at + 1}' for one in told) or 'nothing'} |")


def speed() -> None:
    several = [noisy("normal", np.ones(90) if seed % 10 else step(90, 0.1), seed) for seed in range(100)]
    start = time.process_time()
    for values in several:
        change.changes(values)
    print(f"\n100 series of 90 nights, 10 with a step: {time.process_time() - start:.2f} s of processor time")


def main(count: int) -> None:
    quiet(count)
    quiet(count, 0.2)
    fewer = max(count * 3 // 10, 1)
    steps(fewer)
    drifts(fewer)
    exact()
    speed()


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 200)
