"""Errors say what, where and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from hil import errors
from hil.console import LineClosed, LineTimeout
from hil.errors import BootError, ConfigurationError, Evidence, HilError, InfrastructureError


def test_an_error_tells_all_it_knows_in_order() -> None:
    error = BootError(
        "the boot did not reach stage 'login'",
        stage="login",
        hint="look",
        evidence=Evidence(Path("/t/board.raw"), ("one", "two"), 10),
    )
    text = str(error)
    shown = ("the boot did not reach stage 'login'", "stage: login", "look", "  | one", "  | two", "/t/board.raw")
    assert [text.index(part) for part in shown] == sorted(text.index(part) for part in shown)
    assert error.message == "the boot did not reach stage 'login'"


def test_what_is_not_known_is_left_out() -> None:
    assert str(HilError("broken")) == "broken"
    assert str(HilError("broken", evidence=Evidence())) == "broken"


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        (errors.ConfigurationError, "configuration"),
        (errors.InfrastructureError, "infrastructure"),
        (errors.BootError, "image"),
        (errors.GuestError, "image"),
        (errors.RunnerError, "image"),
        (LineTimeout, "image"),
        (LineClosed, "infrastructure"),
    ],
)
def test_each_error_says_who_has_to_act(kind: type[HilError], fault: str) -> None:
    assert kind("x").origin == fault
    assert isinstance(kind("x"), HilError)


def test_a_dead_line_is_retried_like_any_failure_of_the_test_bed() -> None:
    assert issubclass(LineClosed, InfrastructureError)
    assert not issubclass(ConfigurationError, InfrastructureError)
