"""Recorded differences between two nights that may explain a finding: image, module, bound, test, framework, host."""

from __future__ import annotations

import re
from dataclasses import dataclass

from hil.history.rows import StoredFigure, Test
from hil.measure.units import shown
from hil.review.review_window import ReviewedNight, ReviewWindow

FACTS = ("tests", "framework", "QEMU", "hypervisor")  # of a whole run, as far as it recorded them
DIGEST = re.compile(r"\b([0-9a-f]{8})[0-9a-f]{24,}\b")  # of a file, or of a commit


@dataclass(frozen=True)
class NightChanges:
    """The differences found from the night `then` to the night `now`, by name; `same` are the things without any."""

    then: str
    now: str
    different: dict[str, str]
    same: tuple[str, ...]

    @property
    def text(self) -> str:
        """The differences, or that there are none, as a sentence; empty where nothing could be compared."""
        if self.different:
            return f"changed from {self.then} to {self.now}: {'; '.join(self.different.values())}"
        return f"unchanged since {self.then}: {', '.join(self.same)}" if self.same else ""

    @property
    def by_image(self) -> bool:
        """Whether the image or the module changed."""
        return bool(self.different.keys() & {"image", "module"})


def night_changes(
    then_night: ReviewedNight, then: Test | StoredFigure, now_night: ReviewedNight, now: Test | StoredFigure
) -> NightChanges:
    """Compare what produced a test's result, or a figure, in two nights, as far as both recorded it."""
    before, after = then_night.by_id[then.run], now_night.by_id[now.run]
    file = now.test.partition("::")[0]
    values: dict[str, tuple[str, str | None, str | None]] = {
        "image": (f"image {now.image}", then.image_sha256, now.image_sha256),
        "test": (f"test {file}", before.facts.get(f"source {file}"), after.facts.get(f"source {file}")),
        "host": ("host", before.host, after.host),
        **{name: (name, before.facts.get(name), after.facts.get(name)) for name in FACTS},
    }
    if isinstance(then, StoredFigure) and isinstance(now, StoredFigure):
        old, new = (None if figure.bound is None else shown(figure.bound, now.unit) for figure in (then, now))
        values["bound"] = ("bound", old, new)
        values["module"] = (f"module {now.module}", then.module_sha256, now.module_sha256)
    different, same = {}, []
    for name, (what, old, new) in values.items():
        if old and new and old != new:
            different[name] = DIGEST.sub(r"\1", f"{what} {old} -> {new}")
        elif old and new:
            same.append(name)
    return NightChanges(then_night.name, now_night.name, different, tuple(same))


def changed_since(then: ReviewedNight | None, window: ReviewWindow, test: Test) -> tuple[str, ...]:
    """Return the detail on what changed for a test since the night `then`; none where that night has no such test."""
    key = window.night.key(test)
    earlier = next((old for old in then.tests if then.key(old) == key), None) if then else None
    if then is None or earlier is None:
        return ()
    text = night_changes(then, earlier, window.night, test).text
    return (text,) if text else ()
