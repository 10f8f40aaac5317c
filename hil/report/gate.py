"""The quality gate: the rules of `reports/allurerc.mjs`, and whether a report's results keep them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from hil.errors import InfrastructureError


@dataclass(frozen=True)
class Rule:
    """One rule of the gate and its result."""

    name: str
    kept: bool
    message: str

    def __str__(self) -> str:
        return f"{'kept' if self.kept else 'NOT kept'}: {self.message} ({self.name})"


def rules(text: str) -> tuple[Rule, ...]:
    """Parse the generator's output about the gate. Raises `InfrastructureError` for anything else."""
    try:
        results = json.loads(text)
        if not isinstance(results, list):
            raise TypeError("not a list")
        return tuple(Rule(str(rule["rule"]), rule["success"] is True, str(rule["message"])) for rule in results)
    except (ValueError, LookupError, TypeError):
        raise InfrastructureError(
            f"the report's generator did not return its quality gate, but {text[:200]!r}"
        ) from None


def kept(gate: Sequence[Rule]) -> bool:
    """Check that all rules are kept, and that there are some."""
    return bool(gate) and all(rule.kept for rule in gate)
