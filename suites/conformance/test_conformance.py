"""Does the runner do what the specifications of WebAssembly and WASI preview 1 say, case by case?

See docs/conformance.md. The cases that fail on an image are listed in its manifest, with a reason each.
"""

import contextlib
from pathlib import Path

import allure
import pytest

import hil  # names are used as hil.NAME: most of them import what a collection does without

pytestmark = pytest.mark.board

GROUPS = hil.conformance_groups(Path(__file__).parent)
FAMILIES = sorted({group.family for group in GROUPS})


@pytest.mark.parametrize("family", FAMILIES)
def test_family(board, runner, family):
    manifest = board.manifest
    unknown = hil.unknown_conformance_cases(GROUPS, manifest.conformance.expected_failures)
    assert not unknown, f"{manifest.name}: conformance.expected_failures:\n" + "\n".join(unknown)
    groups = [group for group in GROUPS if group.family == family]
    if missing := [reason for group in groups if (reason := group.missing(manifest))]:
        pytest.skip(missing[0])
    results = hil.run_conformance(runner, groups)
    for name, result in results.items():
        with contextlib.suppress(AssertionError), allure.step(name):
            show(result)
    wrong = [line for result in results.values() for line in result.unexpected]
    count = sum(len(result.cases) for result in results.values())
    assert not wrong, f"{len(wrong)} of {count} cases are not as expected:\n" + "\n".join(wrong)


def show(result):
    """Make a step of each case, and fail if one is not as expected."""
    for case in result.cases:
        expected = result.expected.get(case.name, "") if case.problem else ""
        with contextlib.suppress(AssertionError), allure.step(f"{case.name}{expected and f' (expected: {expected})'}"):
            assert expected or not case.problem, case.problem
    assert not result.unexpected, "\n".join(result.unexpected)
