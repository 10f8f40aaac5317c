"""The lines of a journal, validated: each value has the right type and range."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from hil.errors import ORIGINS
from hil.host import foreign


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
        if check := CHECKS.get(name):
            try:
                check(value)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
    needed = ["when", "outcome", "seconds"] if "test" in line else ["cause"] if "problem" in line else []
    if line.get("outcome") == "failed":
        needed += ["fault", "cause"]
    if missing := [name for name in needed if name not in line]:
        raise ValueError(f"{missing[0]} is missing")
    return line


def _is_text(value: Any) -> None:
    if not isinstance(value, str):
        raise ValueError(f"{value!r:.40} is not a text")


def _are_texts(value: Any) -> None:
    for item in _list(value):
        _is_text(item)


def _is_named_text(value: Any) -> None:
    if not isinstance(value, Mapping):
        raise ValueError(f"{value!r:.40} is not a JSON object")
    for item in value.values():
        _is_text(item)


def _are_boots(value: Any) -> None:
    for item in _list(value):
        _is_named_text(item)
        if missing := {"board", "fault"} - set(item) or ({"cause"} - set(item) if item["fault"] else set()):
            raise ValueError(f"a boot without {min(missing)}")


def _list(value: Any) -> list[Any] | tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise ValueError(f"{value!r:.40} is not a list")
    return value


def _is_count(value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 53:
        raise ValueError(f"{value!r:.40} is not a number of things")


def _is_status(value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) >= 1 << 31:
        raise ValueError(f"{value!r:.40} is not an exit status")


def _is_one_of(known: tuple[str, ...]) -> Callable[[Any], None]:
    def check(value: Any) -> None:
        if value not in known:
            raise ValueError(f"{value!r:.40} is none of {', '.join(known)}")

    return check


CHECKS: Mapping[str, Callable[[Any], object]] = {
    **dict.fromkeys(("id", "host", "boot", "root", "clock", "results", "transcripts"), _is_text),
    **dict.fromkeys(("board", "place", "image", "image_sha256", "transcript", "cause"), _is_text),
    **dict.fromkeys(("problem", "died", "begin", "test", "when"), _is_text),
    **dict.fromkeys(("journal", "pid", "start", "repeat"), _is_count),
    **dict.fromkeys(("command", "collected"), _are_texts),
    "time": foreign.moment,
    "seconds": foreign.seconds,
    "choices": _is_named_text,
    "boots": _are_boots,
    "end": _is_status,
    "outcome": _is_one_of(("passed", "failed", "skipped", "rerun")),
    "fault": _is_one_of(ORIGINS),
}
"""The check for each value, by its name in a line; a later version may have other names."""
