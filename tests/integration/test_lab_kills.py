"""Parts of a lab that die under a run: the cheapest cases of bench/lab_kills.py, and power that goes by itself."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from limits import HANG
from stub_lab import until

from hil.errors import InfrastructureError
from hil.places.acquisition import acquire
from hil.places.search import RESOURCES_LIMIT
from hil.places.selector import Terms, parse

ROOT = Path(__file__).parents[2]
SUITE = [
    "suites/smoke/test_smoke.py::test_login_gives_a_root_shell",
    "suites/deploy/test_samples.py::test_case[+lab=box-hog-all]",
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "outcomes", "after"),
    [
        ("test/ser2net", {"passed": 2, "retried": 1}, "all released"),
        ("test/pytest", {}, "1 reclaimed"),
        ("wait/coordinator", {"failed": 2}, "no coordinator"),
    ],
)
def test_a_run_ends_well_when_a_part_dies(case, outcomes, after):
    command = [sys.executable, "bench/lab_kills.py", "--usual", str(HANG), "--suites", *SUITE, "--", case]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True, timeout=2 * HANG)
    row = json.loads(done.stdout.splitlines()[-1])
    assert not row["wrong"], "\n".join(row["wrong"])
    assert row["outcomes"] == outcomes
    assert row["after"].startswith(after)


CONFTEST = "from hil.plugin.session import Session\nSession._check_health = lambda session, board: None\n"
POWER_GOES = """
import pathlib, urllib.request

def test_1(board):
    tried = pathlib.Path("tried")
    if not tried.exists():
        tried.touch()
        switch = board.power.port.host.format(index=1)
        urllib.request.urlopen(urllib.request.Request(switch, b"0", method="PUT")).close()
        assert False, "the image hangs"

def test_2(board):
    board.power.off()
    assert False, "the image hangs"
"""


def test_a_board_whose_power_goes_is_not_the_image_s_fault_unless_the_test_s_hand_was_on_it(make_lab):
    lab = make_lab(1)
    (lab.directory / "conftest.py").write_text(CONFTEST)
    (lab.directory / "test_it.py").write_text(POWER_GOES)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--board", "+lab=box", "test_it.py"]
    done = subprocess.run(
        command, cwd=lab.directory, env=lab.environment, stdout=subprocess.PIPE, text=True, timeout=HANG
    )
    assert "1 failed, 1 passed, 1 retried" in done.stdout, done.stdout
    assert done.stdout.count("place box-1: its power is off, and was not switched off here") == 1
    assert lab.clean


def test_who_waits_for_a_place_of_a_dead_exporter_does_not_wait_for_who_has_reserved_it(make_lab):
    lab, told = make_lab(2), []
    lab.client("reserve", "name=box-2")
    for exporter in lab.exporters:
        exporter.kill()
    until(lambda: "exporter" not in lab.client("resources"))
    begin = time.monotonic()
    with pytest.raises(
        InfrastructureError, match="place box-1: exporter exporter-1 .*; place box-2: exporter exporter-2"
    ):
        acquire(parse("+lab=box"), lab.address, Terms(wait=100, report=told.append))
    assert RESOURCES_LIMIT <= time.monotonic() - begin < 100
    assert "box-2 is reserved for others" in told[0]
