"""A sweep of seeds: each is one exact run, all together are a distribution."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from hil.measure.series import Series


def pool(several: Iterable[Series]) -> Iterator[Series]:
    """The series of one quantity and subject, taken with different seeds, as one that is not exact.

    Its limits take the samples for independent; those of one seed are less so than the seeds among each other.
    """
    import numpy as np

    groups: dict[tuple[str, ...], list[Series]] = {}
    for one in several:
        if "seed" in one.provenance:
            same = (one.provenance.get("board", ""), one.quantity, one.subject, one.unit, one.clock.name)
            groups.setdefault(same, []).append(one)
    for group in groups.values():
        seeds = sorted({int(one.provenance["seed"]) for one in group})
        if len(seeds) < 2:
            continue
        clock = replace(group[0].clock, exact=False, remark=f"pooled over {len(seeds)} seeds; {group[0].clock.remark}")
        origin = {**group[0].provenance, "seed": ",".join(map(str, seeds)), "mode": "pooled", "transcript": ""}
        samples = np.concatenate([one.samples for one in group])
        yield replace(group[0], samples=samples, clock=clock, times=None, offsets=None, provenance=origin)
