"""Recorded differences between two nights that may explain a finding: image, module, bound, tests, framework, host."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hil.measure.units import shown

if TYPE_CHECKING:
    from hil.history.rows import StoredFigure, Test
    from hil.review.review_window import ReviewedNight

FACTS = ("tests", "framework", "QEMU", "hypervisor")  # of a whole run, as far as it recorded them


@dataclass(frozen=True)
class NightChanges:
    """The differences found from the night `then` to the night `now`; `same` are the things that did not change."""

    then: str
    now: str
    different: tuple[str, ...]
    same: tuple[str, ...]

    @property
    def text(self) -> str:
        """The differences, or that there are none, as a sentence; empty where nothing could be compared."""
        if self.different:
            return f"changed from {self.then} to {self.now}: {'; '.join(self.different)}"
        return f"unchanged since {self.then}: {', '.join(self.same)}" if self.same else ""

    @property
    def by_image(self) -> bool:
        """Whether the image or the module changed."""
        return any(text.startswith(("image ", "module ")) for text in self.different)


def figure_changes(
    then_night: ReviewedNight, then: StoredFigure, now_night: ReviewedNight, now: StoredFigure
) -> NightChanges:
    """Compare what produced a figure in two nights."""
    differences = {
        "image": _digests(f"image {now.image}", then.image_sha256, now.image_sha256),
        "module": _digests(f"module {now.module}", then.module_sha256, now.module_sha256),
        "bound": _bounds(then, now),
        **_of_runs(then_night, then.run, now_night, now.run),
    }
    return _changes(then_night, now_night, differences)


def test_changes(then_night: ReviewedNight, now_night: ReviewedNight, now: Test) -> NightChanges:
    """Compare what a test ran with in two nights."""
    key = now_night.key(now)
    then = next((test for test in then_night.tests if then_night.key(test) == key), None)
    if then is None:
        return NightChanges(then_night.name, now_night.name, (), ())
    differences = {
        "image": _digests(f"image {now.image}", then.image_sha256, now.image_sha256),
        **_of_runs(then_night, then.run, now_night, now.run),
    }
    return _changes(then_night, now_night, differences)


def _changes(then: ReviewedNight, now: ReviewedNight, differences: dict[str, str | None]) -> NightChanges:
    """Sort differences by name into found ones, and empty ones; None is unknown."""
    return NightChanges(
        then.name,
        now.name,
        tuple(text for text in differences.values() if text),
        tuple(name for name, text in differences.items() if text == ""),
    )


def _digests(what: str, then: str, now: str) -> str | None:
    if not then and not now:
        return None
    return "" if then == now else f"{what} {then[:8] or '(unknown)'} -> {now[:8] or '(unknown)'}"


def _bounds(then: StoredFigure, now: StoredFigure) -> str | None:
    if then.bound is None or now.bound is None:
        return None
    return "" if then.bound == now.bound else f"bound {shown(then.bound, now.unit)} -> {shown(now.bound, now.unit)}"


def _of_runs(then_night: ReviewedNight, then: str, now_night: ReviewedNight, now: str) -> dict[str, str | None]:
    """Compare the hosts and the recorded facts of two runs, given by their ids."""
    before, after = then_night.by_id[then], now_night.by_id[now]
    pairs = {name: (before.facts.get(name, ""), after.facts.get(name, "")) for name in FACTS}
    pairs["host"] = before.host, after.host
    return {
        name: None if not old or not new else "" if old == new else f"{name} {old} -> {new}"
        for name, (old, new) in pairs.items()
    }


def changed_details(changes: NightChanges) -> Iterator[str]:
    """Yield the sentence on what changed, and nothing where nothing did."""
    if changes.different:
        yield changes.text
