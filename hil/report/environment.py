"""Allure's environment.properties: facts of a whole run, and how those of several runs become one table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

NAME = "environment.properties"


def parse(text: str) -> dict[str, str]:
    """Return the facts by their names, in which dots stand for spaces."""
    lines = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {name.strip(): value.strip() for name, _, value in lines}


def text(facts: Mapping[str, str]) -> str:
    """Return the file's text for `facts`."""
    return "".join(f"{name.replace(' ', '.')} = {value}\n" for name, value in facts.items())


def combined(runs: Iterable[tuple[str, Mapping[str, str]]]) -> str:
    """Return one file's text for the facts of several runs, with readable names.

    A fact that differs has each of its values with the names of its runs behind it.
    """
    values: dict[str, dict[str, dict[str, None]]] = {}
    for run, facts in runs:
        for name, value in facts.items():
            values.setdefault(name.replace(".", " "), {}).setdefault(value, {})[run] = None
    lines = []
    for name, runs_of in values.items():
        several = [f"{value} ({', '.join(filter(None, runs_of[value])) or 'unnamed'})" for value in runs_of]
        value = "; ".join(several) if len(several) > 1 else next(iter(runs_of))
        escaped = name.replace("\\", "\\\\").replace(" ", "\\ ")
        lines.append(f"{escaped} = {value}\n")
    return "".join(lines)
