"""The lines of a journal, validated: each value has the right type and range."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from hil.errors import ORIGINS
from hil.host import foreign

OUTCOMES = ("passed", "failed", "skipped", "rerun")


def lines(text: bytes) -> Iterator[Any]:
    """Yield the JSON values of a journal's lines; for a line that is not JSON the `ValueError`.

    Half a line at the end is left out.
    """
    for line in text.split(b"\n")[:-1]:
        try:
            yield foreign.decode(line)
        except ValueError as error:  # the disk was full, or the power failed
            yield error


def validated(line: Any) -> Mapping[str, Any]:
    """Return a line from `lines`. Raises `ValueError` with the name of a value that is wrong or missing."""
    if isinstance(line, ValueError):
        raise line
    if not isinstance(line, Mapping):
        raise ValueError("it is not a JSON object")
    for name, value in line.items():
        for kind, names, is_valid in CHECKS:
            if name in names and not is_valid(value):
                raise ValueError(f"{name}: {value!r:.40} is not {kind}")
    needed = ["when", "outcome", "seconds"] if "test" in line else ["cause"] if "problem" in line else []
    if line.get("outcome") == "failed":
        needed += ["fault", "cause"]
    if missing := [name for name in needed if name not in line]:
        raise ValueError(f"{missing[0]} is missing")
    return line


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _are_texts(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(map(_is_text, value))


def _is_named_text(value: Any) -> bool:
    return isinstance(value, Mapping) and all(map(_is_text, value.values()))


def _are_boots(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(
        _is_named_text(boot) and {"board", "fault"} <= set(boot) and ("cause" in boot or not boot["fault"])
        for boot in value
    )


def _is_number(value: Any, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _passes(check: Callable[[Any], object]) -> Callable[[Any], bool]:
    def is_valid(value: Any) -> bool:
        try:
            check(value)
        except ValueError:
            return False
        return True

    return is_valid


TEXTS = (
    *("id", "host", "boot", "root", "clock", "results", "transcripts", "board", "place", "image", "image_sha256"),
    *("transcript", "cause", "error", "dead_board", "problem", "died", "begin", "test", "when"),
)
CHECKS: tuple[tuple[str, tuple[str, ...], Callable[[Any], bool]], ...] = (
    ("a text", TEXTS, _is_text),
    ("a number of things", ("journal", "pid", "start", "repeat"), lambda value: _is_number(value, 0, 1 << 53)),
    ("an exit status", ("end",), lambda value: _is_number(value, -(1 << 31), 1 << 31)),
    ("a list of texts", ("command", "collected"), _are_texts),
    ("an object with texts", ("choices", "software", "sources"), _is_named_text),
    ("a list of boots, each with board, fault and cause", ("boots",), _are_boots),
    ("a time in seconds since 1970", ("time",), _passes(foreign.moment)),
    ("a duration in seconds", ("seconds",), _passes(foreign.seconds)),
    (f"one of {', '.join(OUTCOMES)}", ("outcome",), OUTCOMES.__contains__),
    (f"one of {', '.join(ORIGINS)}", ("fault",), ORIGINS.__contains__),
)
"""The kinds of values, the names that they have in a line, and their checks. A later version may have other names."""
