"""TOML files with a schema; errors name file, line and key: `FILE:LINE: KEY: problem`."""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from hil.errors import ConfigurationError
from hil.host import foreign
from hil.host.hints import did_you_mean

Model = TypeVar("Model", bound=BaseModel)
LIMIT = 16 << 20  # bytes


def load(path: Path, model: type[Model], what: str, hint: str | None = None) -> Model:
    """Return the contents of the file `path`, validated as `model`; `what` is its kind, as in "image manifest".

    Arrays become tuples. Raises `ConfigurationError` with each wrong line and key; `hint` is for a file that cannot
    be read.
    """
    try:
        text = foreign.read(path, LIMIT, links=True).decode("utf-8-sig")  # some editors write a byte order mark
    except (OSError, UnicodeDecodeError) as error:
        reason = foreign.why(error) if isinstance(error, OSError) else "not UTF-8 text"
        raise ConfigurationError(f"cannot read the {what} {path}: {reason}", hint=hint) from error
    try:
        validated: Model = _validated(model, text)
        return validated.model_copy()
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigurationError(f"{path}: not valid TOML: {error}") from error
    except ValidationError as error:
        whole = what.split()[-1]
        found = error.errors(include_url=False)
        problems = [_explain(path, text, model, whole, each) for each in found if not _follows(each, found)]
        raise ConfigurationError("\n".join(problems), hint=f"correct {path}") from error


@functools.lru_cache(maxsize=64)
def _validated(model: type[Model], text: str) -> Model:
    """Return `text` as a `model`. Cached: each boot reads the same manifests several times."""
    return model.model_validate(_frozen(tomllib.loads(text.replace("\r\n", "\n").replace("\r", "\n"))))


def _frozen(value: Any) -> Any:
    """Convert lists to tuples: strict validation accepts only these."""
    if isinstance(value, list):
        return tuple(_frozen(item) for item in value)
    if isinstance(value, dict):
        return {key: _frozen(item) for key, item in value.items()}
    return value


def place(path: Path, location: tuple[str | int, ...]) -> str:
    """Return `FILE:LINE: KEY` of `location` in the file `path`, without the line if it is unknown."""
    return _place(path, path.read_text(encoding="utf-8"), location)


def _place(path: Path, text: str, location: tuple[str | int, ...]) -> str:
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")
    line = line_of(text, location)
    return ": ".join(filter(None, (f"{path}:{line}" if line else str(path), key)))


def _follows(problem: Any, problems: Sequence[Any]) -> bool:
    """Return whether an array is too short only because its wrong elements were not counted."""
    location = problem["loc"]
    inner = (each["loc"] for each in problems if len(each["loc"]) > len(location))
    return problem["type"] == "too_short" and any(each[: len(location)] == location for each in inner)


def _explain(path: Path, text: str, model: type[BaseModel], whole: str, problem: Any) -> str:
    """Return one problem found by pydantic, as a line."""
    location: tuple[str | int, ...] = problem["loc"]
    if problem["type"] == "extra_forbidden":
        known = sorted(_keys(model, location[:-1]))
        what = f"unknown key; {did_you_mean(str(location[-1]), known)}known keys: {', '.join(known)}"
    elif problem["type"] == "missing":
        what = "this key is missing"
    else:
        what = str(problem["msg"]).removeprefix("Value error, ")
    return f"{_place(path, text, location)}{'' if location else f': {whole}'}: {what}"


def _keys(model: Any, location: tuple[str | int, ...]) -> Iterator[str]:
    """Yield the known keys of the table at `location`."""
    for part in location:
        if isinstance(part, str) and hasattr(model, "model_fields") and part in model.model_fields:
            model = _model_in(model.model_fields[part].annotation)
    for name, field in getattr(model, "model_fields", {}).items():
        yield field.alias or name


def _model_in(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_in(part)) is not None), None)


_HEADER = re.compile(r"\s*(\[\[?)\s*([^\[\]]+?)\s*\]\]?\s*(?:#.*)?$")
_INLINE = re.compile(r"\s*\{")
_KEY = re.compile(r"\s*([\w.\"'-]+)\s*=")


def line_of(text: str, location: tuple[str | int, ...]) -> int | None:
    """Return the number of the line closest to `location`; tomllib keeps no positions.

    Of an array of inline tables it finds those that begin a line.
    """
    best, found = 0, None
    table: tuple[str | int, ...] = ()
    counts: dict[str, int] = {}
    array: tuple[str | int, ...] = ()  # the last key, perhaps of an array of inline tables
    inline = 0  # its tables so far
    for number, line in enumerate(text.split("\n"), 1):
        if header := _HEADER.match(line):
            name = header[2]
            table = _split(name)
            if header[1] == "[[":
                counts[name] = counts.get(name, -1) + 1
                table += (counts[name],)
            here, array = table, ()
        elif key := _KEY.match(line):
            here = array = table + _split(key[1])
            inline = 0
        elif array and _INLINE.match(line):
            here = (*array, inline)
            inline += 1
        else:
            continue
        if len(here) > best and location[: len(here)] == here:
            best, found = len(here), number
    return found


def _split(dotted: str) -> tuple[str | int, ...]:
    return tuple(part.strip(" \"'") for part in dotted.split("."))
