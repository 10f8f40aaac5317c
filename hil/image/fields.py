"""Types of the fields of manifests and recipes: patterns, names, addresses, and texts with `{name}` in them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def _regex(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from None
    return pattern


def has(*groups: str) -> AfterValidator:
    """Return the validator of a pattern with these named groups."""

    def check(pattern: str) -> str:
        missing = set(groups) - set(re.compile(_regex(pattern)).groupindex)
        if missing:
            raise ValueError(f"needs the named group (?P<{sorted(missing)[0]}>...)")
        return pattern

    return AfterValidator(check)


def takes(*fields: str) -> AfterValidator:
    """Return the validator of a text with exactly these placeholders."""

    def check(text: str | None) -> str | None:
        if text is not None and (found := placeholders(text)) != set(fields):
            raise ValueError(f"needs exactly {{{'}, {'.join(fields)}}}, has {sorted(found)}")
        return text

    return AfterValidator(check)


_PLACEHOLDER = re.compile(r"\{([a-z0-9][a-z0-9._-]*)\}")


def placeholders(text: str) -> set[str]:
    """Return the names in braces in `text`; other braces are plain text."""
    return set(_PLACEHOLDER.findall(text))


def fill(text: str, values: Mapping[str, str]) -> str:
    """Return `text` with each `{name}` replaced; KeyError for a name without a value."""
    return _PLACEHOLDER.sub(lambda match: values[match[1]], text)


Regex = Annotated[str, AfterValidator(_regex)]
Address = Annotated[int, Field(ge=0, lt=1 << 64)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Model(BaseModel):
    """A strict, frozen model without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
