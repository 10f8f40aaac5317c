"""Names of tests that stay the same from night to night, on whichever board, place or machine they run."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePath

PARAMETERS = re.compile(r"(?P<function>.*?::[^\[]*)\[(?P<parameters>.*)\]", re.S)


def stable_test(nodeid: str, chosen: str, board: str, repetition: int | None = None) -> str:
    """The node id of a test with the board's name for that of its choice, and without a number of repetition.

    `chosen` is `str(BoardSelection)`, as it stands among the parameters: `qemu-reference`, `place:box-1`, `+lab=box`.
    `board` is the board's name, the stem of its file, for places too; so a history goes on whichever place was free.
    What is not among the parameters stays.
    """
    nodeid = unnumbered(nodeid, repetition)
    found = PARAMETERS.fullmatch(nodeid)
    if found is None or not chosen:
        return nodeid
    parameters = _bounded(chosen).sub(lambda _: board, found["parameters"], count=1)
    return f"{found['function']}[{parameters}]"


def choice_of(nodeid: str, choices: Iterable[str]) -> str:
    """Which of the `choices`, by their text, the test `nodeid` has among its parameters; empty where none."""
    found = PARAMETERS.fullmatch(nodeid)
    parameters = found["parameters"] if found else ""
    return max((one for one in choices if one and _bounded(one).search(parameters)), key=len, default="")


def suite_of(test: str, root: str = "") -> str:
    """The suite of a test: the directory that its file is in; where that is not told, the last one of `root`."""
    return PurePath(root, test.partition("::")[0]).parent.name


def unnumbered(nodeid: str, repetition: int | None) -> str:
    """The node id of a test without the number of its repetition, which is the last parameter."""
    if repetition is None:
        return nodeid
    before = nodeid.removesuffix(f"-{repetition}]")
    return f"{before}]" if before != nodeid else nodeid.removesuffix(f"[{repetition}]")


def repetition_in(nodeid: str, repeat: int) -> int | None:
    """The number of its repetition that the test `nodeid` has, of `repeat`; None where tests are not repeated."""
    numbers = range(1, repeat + 1) if repeat > 1 else ()
    return next((number for number in numbers if unnumbered(nodeid, number) != nodeid), None)


def _bounded(text: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![^-]){re.escape(text)}(?![^-])")
