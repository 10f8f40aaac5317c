"""The two sides of a comparison: what a name stands for, and the series of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from hil.errors import ConfigurationError
from hil.history.identity import stable_test
from hil.host.toml import near
from hil.measure.clock import VIRTUAL

if TYPE_CHECKING:
    from hil.history.rows import Run
    from hil.history.store import History
    from hil.measure.results import SeriesRecord
    from hil.measure.series import Series

FORMS = "a night, NIGHT:RUN, a results file, a run's directory, image:NAME or board:NAME"


@dataclass(frozen=True)
class SeriesKey:
    """What a series of a side is known by.

    `test` is without its parameters, `variant` are those but the board; `seed` is that of virtual time. `number` is 0
    for the last of several series that have all else in common, 1 for the one before, and so on.
    """

    quantity: str
    subject: str
    board: str
    test: str
    variant: str
    seed: str
    clock: str = ""
    number: int = 0

    @property
    def ways(self) -> tuple[tuple[str, ...], ...]:
        """What two series that are compared have in common, from most to least: boards, tests and seeds may differ.

        What has only quantity and subject in common is held beside each other, though its clocks may differ.
        """
        one = (self.quantity, self.subject)
        same = (*one, self.clock, self.test, self.variant, self.seed, str(self.number))
        return (*same, self.board), same, (*one, self.clock, self.seed), (*one, self.clock), one


@dataclass(frozen=True)
class Side:
    """One side: its name as it was given, what was found for it, and all its series."""

    name: str
    found: str
    series: dict[SeriesKey, Series]


def side(name: str, history: Path) -> Side:
    """What `name` stands for. Raises `ConfigurationError` where that is nothing, or has no series."""
    if (path := _there(name)) is not None:
        found, records, boards = _files(path)
    else:
        found, records, boards = _kept(name, history)
    series = _keyed([record.series for record in records], boards)
    if not series:
        raise ConfigurationError(
            f"{name} ({found}) has no series to compare",
            hint="choose one with tests that measure; samples that were pruned are gone",
        )
    return Side(name, found, series)


def _there(name: str) -> Path | None:
    """The file or directory of that name, if there is one."""
    try:
        return Path(name) if name and Path(name).exists() else None
    except (OSError, ValueError):  # too long for a name, or with a zero in it
        return None


def _files(path: Path) -> tuple[str, list[SeriesRecord], list[str]]:
    from hil.measure import results

    files = [path] if path.is_file() else sorted(path.rglob("results*.jsonl"))
    if not files:
        raise ConfigurationError(f"there is no results file in {path}", hint="name a directory of a run that measured")
    loaded = [results.load(file) for file in files]
    text = str(path) if path.is_file() else f"{path}, {len(files)} results file{'s' * (len(files) > 1)}"
    return text, [record for one in loaded for record in one.records], []


def _kept(name: str, path: Path) -> tuple[str, list[SeriesRecord], list[str]]:
    """What the history has of a name."""
    from hil.history.store import History

    if not path.is_file():
        raise ConfigurationError(
            f"{name} is no file, and there is no history {path} to look it up in",
            hint=f"give {FORMS}; --history FILE names another history",
        )
    with History(path) as history:
        kind, _, what = name.partition(":")
        if kind in ("image", "board") and what:
            runs, told = _newest(history, kind, what)
        else:
            runs, told = _of_night(history, name)
        records = [record for run in runs for record in history.series(run)]
    if kind in ("image", "board") and what:
        records = [one for one in records if _is_of(one.series, kind, what)]
    return told, records, [board for run in runs for board in run.board.split(", ")]


def _of_night(history: History, name: str) -> tuple[list[Run], str]:
    nights = history.nights()
    if name == "latest" and nights:
        name = nights[-1]
    night, _, run = name.partition(":")
    if night not in nights:
        raise ConfigurationError(
            f"{name!r} is neither a file nor a night of {history.path}; {near(night, nights)}"
            + (f"the newest night is {nights[-1]}" if nights else "it has no nights"),
            hint=f"give {FORMS}",
        )
    runs = history.runs(night=night)
    names = [one.name for one in runs]
    if run and run not in names:
        raise ConfigurationError(
            f"the night {night} has no run {run!r}; {near(run, names)}its runs are: {', '.join(names)}"
        )
    chosen = [one for one in runs if run in ("", one.name)]
    return chosen, f"night {night}, {', '.join(one.name for one in chosen)}"


def _newest(history: History, kind: str, what: str) -> tuple[list[Run], str]:
    """The runs of the newest night, or the newest run outside of nights, with figures of an image or board."""
    known: set[str] = set()
    every = history.runs()
    for group in reversed(_by_night(every)):
        figures = history.figures(group)
        names = {one.run for one in figures if (one.image if kind == "image" else one.board) == what}
        known |= {one.image if kind == "image" else one.board for one in figures}
        if names:
            runs = [run for run in group if run.id in names]
            night = f"night {runs[0].night}, " if runs[0].night else ""
            return runs, f"{kind} {what}: {night}{', '.join(run.name for run in runs)}"
    told = f"those that have some are: {', '.join(sorted(known))}" if known else "there are none at all"
    raise ConfigurationError(f"the history has no figures of the {kind} {what!r}; {near(what, known)}{told}")


def _by_night(runs: Iterable[Run]) -> list[list[Run]]:
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.night or run.id, []).append(run)
    return list(groups.values())


def _is_of(series: Series, kind: str, what: str) -> bool:
    told = series.provenance.get(kind, "")
    return (told.rpartition(" ")[0] or told) == what if kind == "image" else told == what


def _keyed(several: Sequence[Series], boards: Sequence[str]) -> dict[SeriesKey, Series]:
    """Return the series by their keys, in order; those that have all else in common are numbered from the last."""
    made: list[tuple[SeriesKey, Series]] = []
    counts: Counter[SeriesKey] = Counter()
    for one in reversed(several):
        key = _key(one, boards)
        made.append((replace(key, number=counts[key]), one))
        counts[key] += 1
    return dict(reversed(made))


def _key(series: Series, boards: Sequence[str]) -> SeriesKey:
    told = series.provenance.get
    test = told("test", "")
    for name in dict.fromkeys([told("board", ""), *boards]):
        test = stable_test(test, name, "")
    function, _, parameters = test.partition("[")
    variant = "-".join(filter(None, parameters.removesuffix("]").split("-")))
    seed = told("seed", "") if series.clock.name == VIRTUAL else ""
    return SeriesKey(series.quantity, series.subject, told("board", ""), function, variant, seed, series.clock.name)
