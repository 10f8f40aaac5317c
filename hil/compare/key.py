"""The key of a baseline: what a series has in common with its baseline."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields, replace

from hil.measure import results
from hil.measure.clock import VIRTUAL
from hil.measure.series import Series


@dataclass(frozen=True)
class BaselineKey:
    """The key of a baseline. Parts missing in the provenance are empty; seed and mode count in virtual time only.

    `number` counts, from 0, the different series of one test that are equal in all other parts.
    """

    board: str
    quantity: str
    subject: str
    clock: str
    test: str
    image: str
    module: str
    qemu: str
    seed: str
    mode: str
    number: int = 0

    @classmethod
    def of(cls, series: Series) -> BaselineKey:
        fact = series.provenance.get
        board, test, image, module, qemu = (fact(name, "") for name in ("board", "test", "image", "module", "qemu"))
        seed, mode = (fact(name, "") if series.clock.name == VIRTUAL else "" for name in ("seed", "mode"))
        return cls(board, series.quantity, series.subject, series.clock.name, test, image, module, qemu, seed, mode)

    @property
    def kind(self) -> tuple[str, ...]:
        """The parts that must be equal for a comparison to have a meaning."""
        return astuple(self)[:5]

    @property
    def stem(self) -> str:
        """The beginning of the file names of one kind."""
        return "-".join(re.sub(r"[^A-Za-z0-9_.]+", "-", part).strip("-.")[:40] for part in self.kind[:4])

    @property
    def name(self) -> str:
        """The file name of the baseline."""
        parts = astuple(self) if self.number else astuple(self)[:-1]
        return f"{self.stem}-{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]}.jsonl"

    def changes(self, new: BaselineKey) -> dict[str, str]:
        """Return the differences of `new` in words, by the name of the part."""
        names = [field.name for field in fields(self) if field.name != "number"]
        pairs = {name: (getattr(self, name), getattr(new, name)) for name in names}
        return {name: _change(name, *pair) for name, pair in pairs.items() if pair[0] != pair[1]}


def _change(name: str, old: str, new: str) -> str:
    (old_name, _, old_digest), (new_name, _, new_digest) = old.partition(" "), new.partition(" ")
    if name in ("image", "module") and old and new:
        if old_name == new_name:
            return f"{name} {new_name}: sha256 {old_digest[:12]} -> {new_digest[:12]}"
        return f"{name}: {old_name} {old_digest[:12]} -> {new_name} {new_digest[:12]}"
    return f"{name}: {old or '(unknown)'} -> {new or '(unknown)'}"


def keyed(several: Iterable[Series]) -> list[tuple[BaselineKey, Series]]:
    """Return each series with its key; different series with one key are numbered in their order."""
    seen: dict[BaselineKey, list[str]] = {}
    made: list[tuple[BaselineKey, Series]] = []
    for series in several:
        key, digest = BaselineKey.of(series), results.digest([series])
        digests = seen.setdefault(key, [])
        if digest not in digests:
            digests.append(digest)
        made.append((replace(key, number=digests.index(digest)), series))
    return made
