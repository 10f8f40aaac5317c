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


@pytest.fixture
def make_lab(tmp_path: Path) -> Iterator[Callable[[int], Lab]]:
    """Makes a lab with so many places."""
    with contextlib.ExitStack() as stack:
        yield lambda count: Lab(tmp_path, stack, count)
