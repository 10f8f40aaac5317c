"""The conformance suite: run a group of cases, and judge the results against the image's expected failures."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hil.host.hints import did_you_mean
from hil.text import printable_line
from hil.wasm.conformance_groups import ConformanceGroup, check_digest
from hil.wasm.execution import DEFAULT_LIMIT, Execution
from hil.wasm.module import Module
from hil.wasm.preopens import Preopen
from hil.wasm.runner import Runner
from hil.wasm.verdict import Failed, exited

_LINE = re.compile(r"(?P<bad>not )?ok (?P<name>.*)")
_SHOWN = 100  # characters of a line that is not a case's


@dataclass(frozen=True)
class CaseResult:
    """The result of one case, or of a whole group by the group's name.

    `problem` is empty if the case passed. A case is not `reached` if its module ended before it.
    """

    name: str
    problem: str = ""
    reached: bool = True


@dataclass(frozen=True)
class ConformanceResult:
    """The results of a group's cases beside the image's list of expected failures, reasons by name."""

    cases: tuple[CaseResult, ...]
    expected: Mapping[str, str]

    @property
    def unknown_conformance_cases(groups: Sequence[ConformanceGroup], expected: Mapping[str, str]) -> list[str]:
    """Return a line for each name in a list of expected failures that no group has."""
    known = [name for group in groups for name in group.names]
    return [
        f"there is no case {name!r}. {did_you_mean(name, known)}".strip() for name in expected if name not in {*known}
    ]
