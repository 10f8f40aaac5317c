"""Clashes between other plugins of pytest, resolved."""

from __future__ import annotations

from types import ModuleType

import pytest

from hil.board.selection import select
from hil.plugin.checks import of_others

NAME = "hil-target"


def resolve(config: pytest.Config) -> None:
    """Restore the fixture `target` of pytest-embedded where labgrid's of the same name has no environment.

    pytest-embedded requests `target` for every test, and labgrid's would skip them all.
    """
    embedded = config.pluginmanager.getplugin("pytest_embedded")
    by_labgrid = select((), of_others(config, "lg_env")).names
    if embedded is None or by_labgrid or not config.pluginmanager.hasplugin("labgrid"):
        return
    module = ModuleType("hil_target")
    vars(module)["target"] = embedded.target
    config.pluginmanager.register(module, NAME)


def report_header(config: pytest.Config) -> list[str]:
    """Return a line on the resolved clash for the header of the run."""
    if not config.pluginmanager.hasplugin(NAME):
        return []
    return ["hil: the fixture `target` is pytest-embedded's; pass --lg-env or set LG_ENV for labgrid's"]
