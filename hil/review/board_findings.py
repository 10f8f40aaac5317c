"""Findings about boards: dead ones, those that are back, and those that boot only sometimes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from hil.review.finding import Finding, FindingKind, common, named, short, since_text
from hil.review.night_changes import changed_since
from hil.review.review_window import ReviewedNight, ReviewWindow, board_of, streak
from hil.stats.rates import rate

if TYPE_CHECKING:
    from hil.history.rows import Boot, Test

SURE = 0.05  # the chance that the boot is still flaky, below which it counts as fixed
STAGES = 3  # stages of failed boots that a finding names


def boards_up(night: ReviewedNight) -> dict[str, bool]:
    """Return which boards came up at least once; boards without any evidence are left out."""
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
        passed = any(test.outcome == "passed" for test in tests)
        lost = not passed and all(test.fault == "infrastructure" for test in failed)
        if lost or passed:
            found[board] = found.get(board, False) or not lost
    return found


def dead_boards(window: ReviewWindow) -> Iterator[Finding]:
    """Yield boards that never came up, and boards that do again."""
    night = window.night
    nights = [boards_up(of_night) for of_night in window.nights]
    for board, up in nights[-1].items():
        if up:
            if len(nights) > 1 and nights[-2].get(board) is False:
                yield Finding(FindingKind.FIXED, f"{board} comes up again", board=board, new=True)
            continue
        begin = streak([not of_night[board] if board in of_night else None for of_night in nights])
        boots = [boot for boot in night.boots if boot.board == board]
        tests = [test for test in night.tests if night.board(test) == board]
        causes = [boot.cause for boot in boots] or [test.cause for test in tests]
        tries = f" in {len(boots)} tr{'ies' if len(boots) > 1 else 'y'}" if boots else ""
        yield _finding(
            FindingKind.DEAD,
            f"{board} never came up{tries}{since_text(window, begin)}",
            window,
            (board, begin, tests, [*boots, *tests]),
            since=window.names[begin] if begin else "",
            fault=boots[-1].fault if boots else "infrastructure",
            details=list(dict.fromkeys(short(cause) for cause in causes if cause))[:2],
        )


def flaky_boots(window: ReviewWindow, dead: frozenset[str]) -> Iterator[Finding]:
    """Yield boards whose boots the image failed at times."""
    night = window.night
    tonight = {(boot.board, boot.kind) for boot in night.boots if boot.board not in dead}
    for board, kind in sorted(tonight):
        boots = [_conclusive(of_night, board, kind) for of_night in window.nights]
        down = [bool(of_night) and all(boot.fault for boot in of_night) for of_night in boots]
        # several nights in a row without a single good boot are no flake
        flaky = [
            () if down[index] and True in (*down[:index][-1:], *down[index + 1 : index + 2]) else of_night
            for index, of_night in enumerate(boots)
        ]
        counted = [boot for of_night in flaky for boot in of_night]
        failed = [boot for boot in counted if boot.fault]
        if not failed or len(failed) == len(counted):
            continue
        good = next(count for count, boot in enumerate(reversed(counted)) if boot.fault)
        share = rate(len(failed), len(counted) - good)
        if (1 - share.lower) ** good < SURE:
            continue
        nights = [index for index, of_night in enumerate(flaky) if any(boot.fault for boot in of_night)]
        stages = {boot.stage or boot.cause: boot for boot in failed}
        tests = [test for test in night.tests if test.dead_board == board]
        yield _finding(
            FindingKind.FLAKY,
            f"{board}: of its {kind}s the image failed {rate(len(failed), len(counted))},"
            f" in {len(nights)} of {sum(map(bool, boots))} nights, last on {window.names[nights[-1]]}",
            window,
            (board, nights[0], tests, boots[-1]),
            since=window.names[nights[0]],
            fault="image",
            details=[
                *(short(boot.cause) or f"stage {boot.stage}" for boot in list(stages.values())[:STAGES]),
                *([f"failed with it: {named([test.test for test in tests])}"] if tests else ()),
            ],
        )


def _finding(
    kind: FindingKind,
    text: str,
    window: ReviewWindow,
    seen: tuple[str, int, Sequence[Test], Sequence[Boot | Test]],
    *,
    details: Sequence[str],
    **more: Any,
) -> Finding:
    """Return a finding on a board. `seen` are the board, the index of the first night, tests and all that shows it."""
    board, begin, tests, rows = seen
    new = begin == len(window.nights) - 1
    return Finding(
        kind,
        text,
        board=board,
        run=common(window.night.by_id[row.run].name for row in rows),
        clock=common(test.clock for test in tests),
        new=new,
        details=(*details, *(changed_since(window.before, window, tests[0]) if new and tests else ())),
        example=next((test for test in tests if test.transcript), None),
        **more,
    )


def _conclusive(night: ReviewedNight, board: str, kind: str) -> tuple[Boot, ...]:
    """Return the boots that are evidence about the image."""
    return tuple(
        boot for boot in night.boots if (boot.board, boot.kind) == (board, kind) and boot.fault in ("", "image")
    )
