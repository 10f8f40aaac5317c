"""pytest-xdist: which worker gets which test, and what the workers hand over to the controller."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from hil.plugin import checks
from hil.plugin.session import SESSION


def share_out_seeds(config: pytest.Config) -> None:
    """Run --hil-seeds in one worker a processor, where xdist is installed and -n is not given."""
    option = config.option
    if getattr(option, "numprocesses", 0) is None and not (option.collectonly or checks.of_others(config, "usepdb")):
        workers = min(os.cpu_count() or 1, option.hil_seeds)
        option.numprocesses, option.tx, option.dist = workers, ["popen"] * workers, "load"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep the tests of a board in one worker where only one worker can use it."""
    selections = config.stash[SESSION].selections
    if any(selection.any for selection in selections.selected) and config.getvalue("dist") == "load":
        # a worker that waits for a place leaves its tests to those that have one
        return import_module("xdist.scheduler").WorkStealingScheduling(config, log)
    if not selections.exclusive:
        return None
    names = [str(selection) for selection in selections.selected]

    def machine(nodeid: str) -> str:
        return max((name for name in names if name in nodeid.rpartition("[")[2]), key=len, default=nodeid)

    scheduler = import_module("xdist.scheduler").LoadScopeScheduling(config, log)
    scheduler._split_scope = machine  # xdist's own `loadgroup` has no effect with pytest 9
    return scheduler


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Give a worker the run's id and results file."""
    facts = node.config.stash[SESSION].facts
    node.workerinput["hil_run"], node.workerinput["hil_results"] = facts.run, str(facts.results_file.absolute())


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Take over the facts and measurements of a worker."""
    output = getattr(node, "workeroutput", {})
    session = node.config.stash[SESSION]
    session.facts.links += output.get("hil_links", [])
    for place in output.get("hil_places", []):
        session.facts.note_place(place)
    session.hooks.take(output.get("hil_hooks", []))
    session.measurements.add_files([Path(file) for file in output.get("hil_results", [])])


def hand_over(config: pytest.Config) -> bool:
    """Hand over the facts and measurements of a worker, and return whether this process is one."""
    output: Any = getattr(config, "workeroutput", None)
    if output is None:
        return False
    session = config.stash[SESSION]
    output["hil_results"] = [str(path.absolute()) for path in session.measurements.files]
    output["hil_links"] = session.facts.links
    output["hil_places"] = session.facts.places
    output["hil_hooks"] = session.hooks.lines
    return True
