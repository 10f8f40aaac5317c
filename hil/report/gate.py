"""The quality gate: rules that a report's results keep or not, as `reports/allurerc.mjs` has them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from hil.errors import InfrastructureError


@dataclass(frozen=True)
class Rule:
    """A rule of the gate, and whether it was kept."""

    name: str
    kept: bool
    message: str

    def __str__(self) -> str:
        return f"{'kept' if self.kept else 'NOT kept'}: {self.message} ({self.name})"


def rules(text: str) -> tuple[Rule, ...]:
    """What the generator has said of the gate. Raises `InfrastructureError` for anything else."""
    try:
        told = json.loads(text)
        if not isinstance(told, list):
            raise TypeError("it is no list")
        return tuple(Rule(str(one["rule"]), one["success"] is True, str(one["message"])) for one in told)
    except (ValueError, LookupError, TypeError):
        raise InfrastructureError(f"the report's generator did not tell of its gate: {text[:200]!r}") from None


def kept(gate: Sequence[Rule]) -> bool:
    """Whether all rules are kept; a gate without rules is none, and is not."""
    return bool(gate) and all(rule.kept for rule in gate)
