"""The summary of a night: one screen, as Markdown that reads well as it is."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from hil.errors import ORIGINS
from hil.history.journal import NOT_RUN
from hil.measure.units import lasted
from hil.nightly import figures
from hil.nightly.outcome import RunOutcome, Trouble, outcome, states
from hil.nightly.state import Night
from hil.text import printable, printable_line

HEAD = ("run", "board", "passed", "image", "test", "configuration", "infrastructure", NOT_RUN, "skipped", "time")
COUNTED = HEAD[2:-1]
MEANING = {
    0: "good",
    1: "image or test failed",
    2: "the configuration is wrong",
    3: "the test bed failed, or not all was run",
    4: "another night was at work",
}
RUNS, FAILURES, DEAD, RETRIES, FIGURES, NOTES = 9, 9, 3, 3, 4, 6  # lines of each part at most
WIDTH = 160  # characters of a cause


def summary(
    night: Night, outcomes: Sequence[RunOutcome], before: Sequence[Night], notes: Sequence[str], shift: float
) -> str:
    """The summary's text: at most 40 lines. `shift` is the smallest change of a figure that is told, as a share."""
    parts = [
        [_title(night, outcomes), _when(night, before)],
        _table(outcomes),
        [
            *_most(
                DEAD, [f"- **dead board** {_short(text)}" for one in outcomes for text in one.dead()], "dead boards"
            ),
            *_most(FAILURES, list(_failures(night, outcomes)), "failures"),
        ],
        _most(RETRIES, list(_again(outcomes)), "runs and tests tried again"),
        list(_figures(outcomes, before, shift)),
        [f"- {note}" for note in [*_gone(outcomes, before), *notes][:NOTES]],
    ]
    return "\n\n".join("\n".join(map(printable_line, part)) for part in parts if part) + "\n"


def not_run(night: Night) -> str:
    """The summary of a night that could not run at all."""
    why = printable(night.state.why)  # of several lines
    return f"{printable_line(_title(night, ()))}\n{printable_line(_when(night, ()))}\n\n- **it did not run** {why}\n"


def _title(night: Night, outcomes: Sequence[RunOutcome]) -> str:
    state = night.state
    if state.state == "did not run":
        found = "did not run"
    else:
        counts = {name: sum(one.account.counts()[name] for one in outcomes) for name in COUNTED}
        new = sum(trouble.new for one in outcomes for trouble in one.troubles)
        failed = sum(counts[fault] for fault in ORIGINS)
        told = [f"{counts['passed']} passed", f"{failed} failed" + (f" ({new} new)" if new else "") if failed else ""]
        told.append(f"{counts[NOT_RUN]} not run" if counts[NOT_RUN] else "")
        found = ("interrupted; " if state.state == "interrupted" else "") + ", ".join(filter(None, told))
    number = state.status or 0
    return f"# Night {night.name}: {found} (status {number}: {MEANING.get(number, 'interrupted')})"


def _when(night: Night, before: Sequence[Night]) -> str:
    state = night.state
    took = (state.ended or time.time()) - state.began
    against = f"; before: {before[0].name}" + (", unfinished" if before[0].unfinished else "") if before else ""
    began, ended = (time.strftime("%Y-%m-%d %H:%M", time.localtime(at)) for at in (state.began, state.ended))
    return f"plan {state.plan}, {began} to {ended[11:]} ({lasted(took)}){against}"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= WIDTH else f"{line[: WIDTH - 4]} ..."


def _most(count: int, lines: list[str], what: str) -> list[str]:
    return lines if len(lines) <= count else [*lines[: count - 1], f"- and {len(lines) - count + 1} more {what}"]


def _table(outcomes: Sequence[RunOutcome]) -> list[str]:
    """The runs, those with troubles first where they are too many."""
    if not outcomes:
        return []
    shown = list(outcomes)
    if len(shown) > RUNS:
        shown = sorted(shown, key=lambda one: not one.statuses)[: RUNS - 1]
    rows = [HEAD, *(_row(one) for one in shown)]
    if rest := [one for one in outcomes if one not in shown]:
        counts = [str(sum(one.account.counts()[name] for one in rest) or "-") for name in COUNTED]
        rows.append((f"{len(rest)} more", "", *counts, lasted(sum(one.seconds for one in rest))))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in rows]
    return [lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]]


def _row(one: RunOutcome) -> tuple[str, ...]:
    counts = one.account.counts()
    known = one.account.collected
    told = (str(counts[name] or "-") if known or name != NOT_RUN else "all" for name in COUNTED)
    return (one.state.name, one.state.board, *told, lasted(one.seconds))


def _failures(night: Night, outcomes: Sequence[RunOutcome]) -> Iterator[str]:
    """By fault, new ones first; those of one run with one cause in a line."""
    grouped: dict[tuple[str, str, bool, str], list[Trouble]] = {}
    for trouble in (trouble for one in outcomes for trouble in one.troubles):
        grouped.setdefault((trouble.run, trouble.fault, trouble.new, trouble.cause), []).append(trouble)
    several = len(outcomes) > 1
    for (run, fault, new, _), same in sorted(
        grouped.items(), key=lambda one: (ORIGINS.index(one[0][1]), not one[0][2])
    ):
        first = same[0]
        yield "".join(
            [
                f"- **{fault}{', new' if new else ''}** ",
                f"{run}: " if several or not first.test else "",
                first.test,
                f" at {first.place}" if first.place else "",
                f" and {len(same) - 1} more" if len(same) > 1 else "",
                f" ({'passed' if first.last[1] else 'failed'} on {first.last[0]})" if first.last else "",
                ": " if first.test else "",
                _short(first.cause),
                f"; {_relative(first.transcript, night.path)}" if first.transcript else "",
            ]
        )


def _relative(place: str, directory: Path) -> str:
    return os.path.relpath(place, directory) if Path(place).is_relative_to(directory) else place


def _again(outcomes: Sequence[RunOutcome]) -> Iterator[str]:
    for one in outcomes:
        for why in one.retries:
            yield f"- **tried again** {one.state.name}: {_short(why)}"
        for test in one.account.tests.values():
            if test.retried:
                yield f"- **tried again** {test.nodeid}, then {test.outcome}: {_short(test.retried[0])}"


def _figures(outcomes: Sequence[RunOutcome], before: Sequence[Night], shift: float) -> Iterator[str]:
    """What was measured in each run, beside the last night that measured it, too."""
    changed: list[str] = []
    told: dict[str, list[str]] = {}
    for one in outcomes:
        now = one.directory / "results.jsonl" if one.directory else None
        past = (
            (night, night.directory(state, len(state.tries)) / "results.jsonl")
            for night, state in states(one.state.name, before)
        )
        night, then = next(((night, path) for night, path in past if path.exists()), (None, None))
        if now is None or night is None or then is None or not now.exists():
            continue
        lines, counts = figures.compare(now, then, shift)
        changed += [f"- **figure, changed since {night.name}** {_short(line)}" for line in lines]
        if counts:
            told.setdefault(counts, []).append(f"{one.state.name} to {night.name}")
    yield from _most(FIGURES - 1, changed, "figures that changed")
    if told:
        yield _short("- figures: " + "; ".join(f"{', '.join(runs)}: {counts}" for counts, runs in told.items()))


def _gone(outcomes: Sequence[RunOutcome], before: Sequence[Night]) -> Iterator[str]:
    """Tests that nobody may miss: there the night before, and no more."""
    for one in outcomes:
        found = next(states(one.state.name, before), None)
        if found is None or not one.account.collected:
            continue
        then = outcome(*found).account.tests
        if gone := [nodeid for nodeid in then if nodeid not in one.account.tests]:
            yield f"{one.state.name}: {len(gone)} tests of {found[0].name} are gone: {gone[0]}" + ", ..." * (
                len(gone) > 1
            )
