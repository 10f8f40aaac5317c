"""Does the runner do what the specifications of WebAssembly and WASI preview 1 say, case by case?

See docs/conformance.md. One test runs a group of cases. The cases that fail on an image are listed in its manifest,
with a reason each.
"""

import contextlib
from pathlib import Path

import allure
import pytest

import hil  # names are used as hil.NAME: most of them import what a collection does without

pytestmark = pytest.mark.board

GROUPS = hil.conformance_groups(Path(__file__).parent)


@pytest.mark.parametrize("group", GROUPS, ids=str)
def test_group(board, runner, group):
    if missing := group.missing(board.manifest):
        pytest.skip(missing)
    result = hil.run_conformance(runner, group)
    for case in result.cases:
        expected = result.expected.get(case.name, "") if case.problem else ""
        with contextlib.suppress(AssertionError), allure.step(f"{case.name}{expected and f' (expected: {expected})'}"):
            assert expected or not case.problem, case.problem
    wrong = result.unexpected
    assert not wrong, f"{len(wrong)} of {len(result.cases)} cases are not as expected:\n" + "\n".join(wrong)


def test_each_expected_failure_is_a_case(board):
    wrong = hil.unknown_conformance_cases(GROUPS, board.manifest.conformance.expected_failures)
    assert not wrong, f"{board.manifest.name}: conformance.expected_failures:\n" + "\n".join(wrong)
