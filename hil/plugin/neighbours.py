"""Clashes between other plugins of pytest that our users have side by side."""

from __future__ import annotations

from types import ModuleType

import pytest

from hil.board.selection import select
from hil.plugin.options import of_others

NAME = "hil-target"


def resolve(config: pytest.Config) -> None:
    """Give pytest-embedded its fixture `target` back, where labgrid's of the same name has no environment.

    pytest-embedded requests `target` for every test, and labgrid's then skips every test.
    """
    embedded = config.pluginmanager.getplugin("pytest_embedded")
    by_labgrid = select((), of_others(config, "lg_env")).names
    if embedded is None or by_labgrid or not config.pluginmanager.hasplugin("labgrid"):
        return
    module = ModuleType("hil_target")
    vars(module)["target"] = embedded.target
    config.pluginmanager.register(module, NAME)


def report_header(config: pytest.Config) -> list[str]:
    """Return what was resolved, in a line for the head of the run."""
    if not config.pluginmanager.hasplugin(NAME):
        return []
    return ["hil: the fixture `target` is pytest-embedded's; labgrid's takes its place with --lg-env or LG_ENV"]
