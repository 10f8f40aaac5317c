"""Suggestions for misspelled words."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

SIMILAR = 0.6
"""The least similarity, 0 to 1, of a word that is suggested."""


def closest(word: str, known: Iterable[str], similarity: float = SIMILAR) -> str:
    """Return the word of `known` that is most similar to `word`; empty if none is similar enough."""
    return next(iter(difflib.get_close_matches(word, list(known), n=1, cutoff=similarity)), "")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `did you mean 'WORD'? `, ending in a blank, with the closest word of `known`; empty if there is none."""
    found = closest(word, known)
    return f"did you mean {found!r}? " if found else ""
