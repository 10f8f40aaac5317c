"""Pooled series of a sweep of seeds: each seed is one exact run, all seeds together are a distribution."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from hil.measure.series import Series


def pool(several: Iterable[Series]) -> Iterator[Series]:
    """Yield the series of one test, quantity and subject, taken with different seeds, as one series that is not exact.

    Its confidence intervals assume independent samples, although samples of one seed depend on each other more than
    the seeds do. Step responses are left out: a signal over time is not a sample of a distribution.
    """
    groups: dict[tuple[str, ...], list[Series]] = {}
    for series in several:
        if "seed" in series.provenance and series.response is None:
            where = (series.provenance.get("board", ""), series.provenance.get("test", ""))
            same = (*where, series.quantity, series.subject, series.unit, series.clock.name)
            groups.setdefault(same, []).append(series)
    for group in groups.values():
        seeds = sorted({int(series.provenance["seed"]) for series in group})
        if len(seeds) < 2:
            continue
        clock = replace(group[0].clock, exact=False, remark=f"pooled over {len(seeds)} seeds; {group[0].clock.remark}")
        origin = {**group[0].provenance, "seed": ",".join(map(str, seeds)), "mode": "pooled", "transcript": ""}
        samples = np.concatenate([series.samples for series in group])
        yield replace(group[0], samples=samples, clock=clock, times=None, offsets=None, provenance=origin)
