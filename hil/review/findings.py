"""What a reviewer must know of a night, the worst first, and nothing else."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hil.errors import ORIGINS
from hil.measure.units import shown
from hil.review.lines import FigureKey, TrendSeries
from hil.review.moves import LevelChange, moves, together
from hil.review.window import ReviewedNight, ReviewWindow, board_of, streak
from hil.stats.rates import rate

if TYPE_CHECKING:
    from hil.history.rows import Boot, Run, StoredFigure, Test

WIDTH = 300  # characters of a cause
NAMED = 5  # tests that a finding names
SURE = 0.05  # the chance that a boot still fails now and then, below which it is taken for mended
NOT_RUN = "not run"


class Kind(enum.StrEnum):
    """What a finding is about, the worst first."""

    DEAD = "dead board"
    KILLED = "killed run"
    BROKEN = "broken run"
    MISSING = "missing run"
    FAILURE = "new failure"
    BOUND = "bound not kept"
    STEP = "step"
    DRIFT = "drift"
    FLAKY = "flaky boot"
    STILL = "still failing"
    BED = "test bed"
    NOT_RUN = "not run"
    GONE = "tests gone"
    FIXED = "fixed"
    BETTER = "better"


GOOD = (Kind.FIXED, Kind.BETTER)


@dataclass(frozen=True)
class Finding:
    """One thing to look at. `text` is a sentence, `details` are more of them.

    `since` is the night in which it began, empty where that is before the window; `new` says that no earlier night
    told it. `fault` names who has to act, where that is known. `keys` are the series it is about.
    """

    kind: Kind
    text: str
    board: str = ""
    test: str = ""
    since: str = ""
    new: bool = False
    fault: str = ""
    details: tuple[str, ...] = ()
    transcript: str = ""
    keys: tuple[FigureKey, ...] = ()

    @property
    def bad(self) -> bool:
        return self.kind not in GOOD

    @property
    def facts(self) -> dict[str, object]:
        """As JSON has it."""
        return {
            "kind": str(self.kind),
            "text": self.text,
            "board": self.board,
            "test": self.test,
            "since": self.since,
            "new": self.new,
            "fault": self.fault,
            "details": list(self.details),
        }


def findings(window: ReviewWindow, every: Sequence[TrendSeries]) -> list[Finding]:
    """All findings of the window's last night; `every` are its lines."""
    dead = list(_dead(window))
    gone = frozenset(one.board for one in dead)
    moved = list(_moved(window, every))
    about = {(key.run, key.test) for one in moved if one.bad for key in one.keys}
    bounds = list(_bounds(window, about))
    explained = about | {(key.run, key.test) for one in bounds for key in one.keys}
    made = [
        *dead,
        *_runs(window),
        *_failures(window, gone, explained),
        *bounds,
        *moved,
        *_flaky(window, gone),
        *_bed(window, gone),
        *_not_run(window, gone),
        *_gone(window),
        *_fixed(window),
    ]
    order = list(Kind)
    return sorted(made, key=lambda one: (not one.bad, not one.new, order.index(one.kind), one.board, one.test))


def verdict(found: Sequence[Finding], window: ReviewWindow) -> str:
    """The night in a few words."""
    if not window.ended:
        return f"not at its end yet; so far {_compared(found, window)}"
    return _compared(found, window)


def _compared(found: Sequence[Finding], window: ReviewWindow) -> str:
    new, known = (sum(one.bad and one.new is new for one in found) for new in (True, False))
    better = sum(not one.bad for one in found)
    more = f"; {known} known" if known else ""
    if window.before is None:
        return f"first night of its plan: {_things(new + known)} to look at" if new + known else "first night: all good"
    if new:
        return f"worse than the night before: {_things(new)}{more}"
    if better:
        return f"better than the night before: {_things(better)}{more}"
    return f"as the night before: {_things(known)} known" if known else "good: nothing to look at"


def _things(count: int) -> str:
    return f"{count} thing{'s' * (count != 1)}"


def short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= WIDTH else f"{line[: WIDTH - 4]} ..."


# boards


def came_up(night: ReviewedNight) -> dict[str, bool]:
    """Which boards came up at all in a night; those without any sign of it are left out."""
    found: dict[str, bool] = {}
    for boot in night.boots:
        found[boot.board] = found.get(boot.board, False) or not boot.fault
    booted = {boot.run for boot in night.boots}
    for run in night.runs:
        tests = [test for test in night.tests if test.run == run.id and test.outcome != "skipped"]
        failed = [test for test in tests if test.outcome == "failed"]
        if run.id in booted or not failed:
            continue
        board = board_of(run)
        never = not any(test.outcome == "passed" for test in tests)
        lost = never and all(test.fault == "infrastructure" for test in failed)
        if lost or any(test.outcome == "passed" for test in tests):
            found[board] = found.get(board, False) or not lost
    return found


def _dead(window: ReviewWindow) -> Iterator[Finding]:
    nights = [came_up(night) for night in window.nights]
    for board, up in nights[-1].items():
        if up:
            if len(nights) > 1 and nights[-2].get(board) is False:
                yield Finding(Kind.FIXED, f"{board} comes up again", board=board, new=True)
            continue
        flags = [not night[board] if board in night else None for night in nights]
        begin = streak(flags)
        boots = [boot for boot in window.night.boots if boot.board == board]
        causes = [boot.cause for boot in boots] or [
            test.cause for test in window.night.tests if window.night.board(test) == board and test.cause
        ]
        tries = f" in {len(boots)} tr{'ies' if len(boots) > 1 else 'y'}" if boots else ""
        yield Finding(
            Kind.DEAD,
            f"{board} never came up{tries}{_since(window, begin)}",
            board=board,
            since=window.names[begin] if begin else "",
            new=begin == len(nights) - 1,
            fault=boots[-1].fault if boots else "infrastructure",
            details=tuple(dict.fromkeys(short(cause) for cause in causes if cause))[:2],
            transcript=_transcript(window.night, board),
        )


def _since(window: ReviewWindow, begin: int) -> str:
    if begin == len(window.nights) - 1:
        return ", for the first time" if begin else ""
    count = len(window.nights) - begin
    return f" since {window.names[begin]}{' or earlier' * (begin == 0)}, {count} nights"


def _transcript(night: ReviewedNight, board: str) -> str:
    return next((test.transcript for test in night.tests if test.transcript and night.board(test) == board), "")


def _flaky(window: ReviewWindow, dead: frozenset[str]) -> Iterator[Finding]:
    """Boards that come up most times: boots that the image failed while others were good."""
    tonight = {(boot.board, boot.kind) for boot in window.night.boots if boot.board not in dead}
    for board, kind in sorted(tonight):
        boots = [_judged(night, board, kind) for night in window.nights]
        down = [bool(one) and all(boot.fault for boot in one) for one in boots]
        # several nights in a row without a single good boot are no flake
        flake = [
            () if down[index] and (down[index - 1 : index] == [True] or down[index + 1 : index + 2] == [True]) else one
            for index, one in enumerate(boots)
        ]
        every = [boot for one in flake for boot in one]
        failed = [boot for boot in every if boot.fault]
        if not failed or len(failed) == len(every):
            continue
        good = next(count for count, boot in enumerate(reversed(every)) if boot.fault)
        share = rate(len(failed), len(every) - good)
        if (1 - share.lower) ** good < SURE:
            continue
        nights = [index for index, one in enumerate(flake) if any(boot.fault for boot in one)]
        stages = {boot.stage or boot.cause: boot for boot in failed}
        yield Finding(
            Kind.FLAKY,
            f"{board}: of its {kind}s the image failed {rate(len(failed), len(every))},"
            f" in {len(nights)} of {sum(map(bool, boots))} nights, last on {window.names[nights[-1]]}",
            board=board,
            since=window.names[nights[0]],
            new=nights == [len(window.nights) - 1],
            fault="image",
            details=(
                *(short(boot.cause) or f"stage {boot.stage}" for boot in list(stages.values())[:3]),
                *_of_boots(window.night, board),
            ),
        )


def _judged(night: ReviewedNight, board: str, kind: str) -> tuple[Boot, ...]:
    """The boots that say something about the image."""
    return tuple(one for one in night.boots if (one.board, one.kind) == (board, kind) and one.fault in ("", "image"))


def _of_boots(night: ReviewedNight, board: str) -> Iterator[str]:
    tests = [test.test for test in night.tests if night.down(test) == board]
    if tests:
        yield f"failed with it: {_named(tests)}"


def _named(tests: Sequence[str]) -> str:
    tests = list(dict.fromkeys(tests))
    more = f" and {len(tests) - NAMED} more" if len(tests) > NAMED else ""
    return ", ".join(tests[:NAMED]) + more


# runs


def _runs(window: ReviewWindow) -> Iterator[Finding]:
    night, before = window.night, window.before
    for run in night.runs:
        tests = [test for test in night.tests if test.run == run.id]
        left = sum(test.outcome == NOT_RUN for test in tests)
        if run.state == "killed":
            told = f"; {left} of its {len(tests)} tests were not run" if left else ""
            text = f"{run.name} was cut short{told}"
            yield Finding(Kind.KILLED, text, board=board_of(run), new=True, fault="infrastructure")
        elif not tests or run.status not in (None, 0, 1):
            why = _why(run)
            flags = [_broken(one, run.name) for one in window.nights]
            yield Finding(
                Kind.BROKEN,
                f"{run.name}: {why}, {len(tests)} tests" if tests else f"{run.name}: {why}",
                board=board_of(run),
                since=window.names[begin] if (begin := streak(flags)) else "",
                new=begin == len(flags) - 1,
            )
    names = {run.name for run in night.runs} | window.idle.keys()
    for name, why in window.idle.items():
        if why:
            yield Finding(Kind.NOT_RUN, f"{name}: {short(why)}", new=True)
    for run in before.runs if before else ():
        if run.name not in names:
            yield Finding(
                Kind.MISSING, f"{run.name} was there on {run.night} and is not any more", board=board_of(run), new=True
            )


def _why(run: Run) -> str:
    """What kept a run from being one."""
    problems = [fact for name, fact in run.facts.items() if name.startswith("problem ")]
    if problems:
        more = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
        return f"it could not be collected: {short(problems[0])}{more}"
    said = {
        2: "it was interrupted",
        3: f"an error within pytest: {short(run.facts.get('died', 'see its output'))}",
        4: "pytest refused its options",
    }
    if run.status in (None, 0, 1, 5):
        return "it has no tests"
    return said.get(run.status, f"it ended with status {run.status}")


def _broken(night: ReviewedNight, name: str) -> bool | None:
    run = next((run for run in night.runs if run.name == name), None)
    return None if run is None else run.status not in (None, 0, 1) or not any(t.run == run.id for t in night.tests)


def _not_run(window: ReviewWindow, dead: frozenset[str]) -> Iterator[Finding]:
    night = window.night
    for run in night.runs:
        tests = [test for test in night.tests if test.run == run.id and test.outcome == NOT_RUN]
        if tests and run.state == "done" and board_of(run) not in dead:
            cause = next((f": {short(test.cause)}" for test in tests if test.cause), "")
            yield Finding(
                Kind.NOT_RUN,
                f"{run.name}: {len(tests)} tests were not run{cause}",
                board=board_of(run),
                new=True,
                details=(_named([test.test for test in tests]),),
            )


def _gone(window: ReviewWindow) -> Iterator[Finding]:
    """Tests that nobody may miss: there the night before, and no more."""
    night, before = window.night, window.before
    for run in night.runs if before else ():
        assert before
        now = {test.test for test in night.tests if test.run == run.id}
        then = next((one for one in before.runs if one.name == run.name), None)
        if then is None or run.state != "done" or not now:
            continue
        if gone := [test.test for test in before.tests if test.run == then.id and test.test not in now]:
            yield Finding(
                Kind.GONE,
                f"{run.name}: {len(gone)} test{'s' * (len(gone) > 1)} of {before.name} "
                f"{'are' if len(gone) > 1 else 'is'} gone",
                board=board_of(run),
                new=True,
                details=(_named(gone),),
            )


# tests


def _verdicts(window: ReviewWindow, key: tuple[str, str]) -> list[bool | None]:
    """Whether a test passed in each night; None where nothing is known."""
    return [night.verdicts.get(key) for night in window.nights]


def _failures(window: ReviewWindow, dead: frozenset[str], explained: set[tuple[str, str]]) -> Iterator[Finding]:
    """Tests that image or test failed: those of one fault and cause together, on whichever boards."""
    night = window.night
    groups: dict[tuple[str, int, str, str], list[Test]] = {}
    for test in night.tests:
        key = night.key(test)
        if night.verdict(test) is not False or night.board(test) in dead:
            continue
        if key in explained and test.cause.startswith("BoundsNotKept"):
            continue
        past = _verdicts(window, key)
        begin = streak([None if one is None else not one for one in past])
        last = _last_good(window, past)
        groups.setdefault((test.fault, begin, last, test.cause), []).append(test)
    for (fault, begin, last, cause), same in groups.items():
        test = same[0]
        new = begin == len(window.nights) - 1
        if new:
            since = f" (passed on {last})" if last else " (no verdict on it before)"
        else:
            since = f" (since {window.names[begin]}{'' if last else ' or earlier'})"
        more = f" and {len(same) - 1} more" if len(same) > 1 else ""
        yield Finding(
            Kind.FAILURE if new else Kind.STILL,
            f"{_runs_of(night, same)}: {test.test}{more}{since}: {short(cause)}",
            board=_board_of(night, same),
            test=test.test,
            since=window.names[begin] if last or new else "",
            new=new,
            fault=fault,
            details=(_named([one.test for one in same[1:]]),) if len(same) > 1 else (),
            transcript=test.transcript,
        )


def _runs_of(night: ReviewedNight, tests: Sequence[Test]) -> str:
    return _named([night.by_id[test.run].name for test in tests])


def _board_of(night: ReviewedNight, tests: Sequence[Test]) -> str:
    """The board of all of them; empty where they are of several."""
    boards = {night.board(test) for test in tests}
    return boards.pop() if len(boards) == 1 else ""


def _last_good(window: ReviewWindow, past: Sequence[bool | None]) -> str:
    """The last night before in which it passed; empty where there is none."""
    nights = zip(reversed(window.names[:-1]), reversed(past[:-1]), strict=True)
    return next((name for name, one in nights if one), "")


def _fixed(window: ReviewWindow) -> Iterator[Finding]:
    """Tests that pass, and failed when they last had a verdict."""
    night = window.night
    boards = {night.key(test): night.board(test) for test in night.tests}
    fixed: dict[tuple[str, str], list[str]] = {}
    for key in boards:
        past = [one for one in _verdicts(window, key)[:-1] if one is not None]
        if night.verdicts.get(key) and past and past[-1] is False:
            fixed.setdefault((key[0], boards[key]), []).append(key[1])
    for (run, board), tests in fixed.items():
        more = f" and {len(tests) - 1} more" if len(tests) > 1 else ""
        yield Finding(
            Kind.FIXED,
            f"{run}: {tests[0]}{more} passed again",
            board=board,
            test=tests[0],
            new=True,
            details=(_named(tests[1:]),) if len(tests) > 1 else (),
        )


def _bed(window: ReviewWindow, dead: frozenset[str]) -> Iterator[Finding]:
    """What test bed or configuration failed, by cause."""
    night = window.night
    groups: dict[tuple[str, str], list[Test]] = {}
    for test in night.tests:
        known = {night.board(test), test.place, night.down(test)} & dead
        if test.outcome == "failed" and test.fault not in ("image", "test") and not known:
            groups.setdefault((test.fault, test.cause), []).append(test)
    for (fault, cause), tests in sorted(groups.items(), key=lambda one: ORIGINS.index(one[0][0] or "test")):
        more = f" and {len(tests) - 1} more" if len(tests) > 1 else ""
        yield Finding(
            Kind.BED,
            f"{_runs_of(night, tests)}: {tests[0].test}{more} failed by the {fault}: {short(cause)}",
            board=_board_of(night, tests),
            test=tests[0].test,
            new=True,
            fault=fault,
            transcript=tests[0].transcript,
        )


# figures


def _moved(window: ReviewWindow, every: Sequence[TrendSeries]) -> Iterator[Finding]:
    for group in together(list(moves(every))):
        main = group[0]
        key = main.line.key
        drift = main.kind == "drift"
        kind = (Kind.DRIFT if drift else Kind.STEP) if main.worse else Kind.BETTER
        yield Finding(
            kind,
            f"{key.board}: {key.quantity} of {key.subject}, {main.text} since {main.since}",
            board=key.board,
            test=key.test,
            since=main.since,
            new=main.new,
            fault="image" if _changed(main) else "",
            details=(*_blame(main), *_also(main, group), *_broken_bounds(group), *_notes(window, main)),
            keys=tuple(one.line.key for one in group),
        )


def _also(main: LevelChange, group: Sequence[LevelChange]) -> Iterator[str]:
    """The rest of a group, a line for each series."""
    series: dict[tuple[str, ...], list[LevelChange]] = {}
    for one in group[1:]:
        series.setdefault(one.line.key.series, []).append(one)
    for count, others in enumerate(series.values()):
        key = others[0].line.key
        if count == NAMED:
            yield f"also: {len(series) - count} more series"
            return
        same = key.series == main.line.key.series
        yield f"also{'' if same else f' {key.quantity} of {key.subject}'}: {'; '.join(one.text for one in others)}"


def _changed(main: LevelChange) -> list[str]:
    """What else changed in the night in which it began."""
    taken = main.line.taken
    now, then = taken[main.at], taken[main.at - 1]
    return [
        f"{what} {name} {_digest(old)} -> {_digest(new)}"
        for what, name, old, new in (
            ("image", now.image, then.image_sha256, now.image_sha256),
            ("module", now.module, then.module_sha256, now.module_sha256),
        )
        if old != new
    ]


def _blame(main: LevelChange) -> Iterator[str]:
    """What may have made it."""
    changed, before = _changed(main), main.line.night(main.at - 1)
    digests = len({point.image_sha256 for point in main.line.taken[main.at - 1 :]})
    if main.kind == "drift" and digests > 2:
        yield f"there were {digests} images from {before} on"
    elif changed:
        yield f"changed from {before} to {main.since}: {'; '.join(changed)}"
    else:
        yield f"image and module are those of {before}: look at the test bed and the tests"
    if main.single:
        yield "seen in this night alone"


def _digest(digest: str) -> str:
    return digest[:8] or "(not told)"


def _broken_bounds(group: Sequence[LevelChange]) -> Iterator[str]:
    for one in group:
        figure = one.line.now
        if figure and figure.bound is not None and figure.outcome in ("fail", "inconclusive"):
            yield f"bound not kept: {bound_text(figure)}"


def bound_text(figure: StoredFigure) -> str:
    """A figure beside its bound."""
    return (
        f"{figure.name} of {figure.quantity}, {figure.subject}: {shown(figure.value, figure.unit)}, "
        f"bound {shown(figure.bound or 0.0, figure.unit)}: {figure.outcome}"
    )


def _notes(window: ReviewWindow, main: LevelChange) -> Iterator[str]:
    for note in window.notes:
        if note.night == main.since:
            yield f"note of {note.night}: {short(note.text)}"


def _bounds(window: ReviewWindow, told: set[tuple[str, str]]) -> Iterator[Finding]:
    """Bounds that are not kept, by test, unless the figure's move tells it."""
    night = window.night
    bad: dict[tuple[str, str], dict[tuple[str, str, str], StoredFigure]] = {}
    for figure in night.figures:
        key = night.key(figure)
        what = (figure.quantity, figure.subject, figure.name)
        if key in told or figure.bound is None:
            continue
        if figure.outcome in ("fail", "inconclusive"):
            bad.setdefault(key, {})[what] = figure
        else:  # a later try has kept it
            bad.get(key, {}).pop(what, None)
    kept = [
        {(*one.key(figure), figure.quantity, figure.subject, figure.name): _kept(figure) for figure in one.figures}
        for one in window.nights
    ]
    for key, figures in bad.items():
        if not figures:
            continue
        first = next(iter(figures.values()))
        watched = (*key, first.quantity, first.subject, first.name)
        flags = [None if (ok := one.get(watched)) is None else not ok for one in kept]
        begin = streak(flags)
        yield Finding(
            Kind.BOUND,
            f"{night.board(first)}: {bound_text(first)}{_since(window, begin)}",
            board=night.board(first),
            test=key[1],
            since=window.names[begin] if begin else "",
            new=begin == len(flags) - 1,
            fault="image",
            details=tuple(bound_text(figure) for figure in list(figures.values())[1:]),
            keys=tuple(
                FigureKey(*key, night.board(one), one.quantity, one.subject, one.unit, one.clock, one.seed, one.name)
                for one in figures.values()
            ),
        )


def _kept(figure: StoredFigure) -> bool | None:
    return None if figure.outcome is None else figure.outcome not in ("fail", "inconclusive")
