"""Names of tests that stay the same from night to night, whichever board, place or machine runs them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePath

PARAMETERS = re.compile(r"(?P<function>.*?::[^\[]*)\[(?P<parameters>.*)\]", re.S)


def stable_test(nodeid: str, chosen: str, board: str, repetition: int | None = None) -> str:
    """Return the node id with the board's name in place of its choice, and without a number of repetition.

    `chosen` is `str(BoardSelection)`, as it stands among the parameters: `qemu-reference`, `place:box-1`, `+lab=box`.
    `board` is the board's name, the stem of its file, for places too; so the history continues whichever place was
    free. The part before the parameters is not changed.
    """
    nodeid = unnumbered(nodeid, repetition)
    found = PARAMETERS.fullmatch(nodeid)
    if found is None or not chosen:
        return nodeid
    parameters = _bounded(chosen).sub(lambda _: board, found["parameters"], count=1)
    return f"{found['function']}[{parameters}]"


def choice_of(nodeid: str, choices: Iterable[str]) -> str:
    """Return the longest of the `choices` among the parameters of the test `nodeid`; empty where there is none."""
    found = PARAMETERS.fullmatch(nodeid)
    parameters = found["parameters"] if found else ""
    return max((choice for choice in choices if choice and _bounded(choice).search(parameters)), key=len, default="")


def suite_of(test: str, root: str = "") -> str:
    """Return the suite of a test: the directory of its file; where the node id has none, the last one of `root`."""
    return PurePath(root, test.partition("::")[0]).parent.name


def unnumbered(nodeid: str, repetition: int | None) -> str:
    """Return the node id without the number of the repetition, which is the last parameter."""
    if repetition is None:
        return nodeid
    before = nodeid.removesuffix(f"-{repetition}]")
    return f"{before}]" if before != nodeid else nodeid.removesuffix(f"[{repetition}]")


def repetition_in(nodeid: str, repeat: int) -> int | None:
    """Return the number of the repetition in `nodeid`, from 1 to `repeat`; None where tests are not repeated."""
    numbers = range(1, repeat + 1) if repeat > 1 else ()
    return next((number for number in numbers if unnumbered(nodeid, number) != nodeid), None)


def _bounded(text: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![^-]){re.escape(text)}(?![^-])")
