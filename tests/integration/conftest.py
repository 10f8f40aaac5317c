"""What tests with a lab share."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from stub_lab import Lab, coordinating


@pytest.fixture
def coordinator(tmp_path: Path) -> Iterator[str]:
    with coordinating(tmp_path) as (address, _):
        yield address


@pytest.fixture(scope="session")
def idle_labs() -> Iterator[list[tuple[Lab, contextlib.ExitStack]]]:
    """The labs that earlier tests have left as they were made, each with what ends it."""
    idle: list[tuple[Lab, contextlib.ExitStack]] = []
    yield idle
    for _, ending in idle:
        ending.close()


@pytest.fixture
def make_lab(
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    idle_labs: list[tuple[Lab, contextlib.ExitStack]],
) -> Iterator[Callable[[int], Lab]]:
    """Gives a lab with so many places: one that an earlier test has left as it was made, or a new one."""
    used: list[tuple[Lab, contextlib.ExitStack]] = []

    def make(count: int) -> Lab:
        found = next((one for one in idle_labs if len(one[0].machines) == count), None)
        if found is None:
            ending = contextlib.ExitStack()
            found = Lab(tmp_path_factory.mktemp("lab"), ending, count), ending
        else:
            idle_labs.remove(found)
        used.append(found)
        found[0].use(tmp_path, stack)
        return found[0]

    with contextlib.ExitStack() as stack:
        yield make
    for lab, ending in used:
        if lab.reusable:
            idle_labs.append((lab, ending))
        else:
            ending.close()
