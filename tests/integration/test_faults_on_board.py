"""Faults made on the reference image: what the records tell, what they are judged, and that they repeat."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from limits import HANG

from hil.errors import ConfigurationError
from hil.faults import Faults, modules
from hil.faults.catalogue import Fault, fault
from hil.faults.deployment import BAD_REQUESTS
from hil.faults.injector import Injector
from hil.faults.record import AT_ONCE, BROKEN, FRESH, HELD, WRONG
from hil.measure.probe import Probe, Request

pytestmark = [pytest.mark.board, pytest.mark.emulator, pytest.mark.destructive]
ROOT = Path(__file__).parents[2]


def test_a_freeze_in_a_deployment_is_survived_and_told(faults):
    injection = faults.freeze(1.0, during=modules.module("endless"), at=0.2)
    assert injection.done == "the machine was stopped for 1 s 0.200 s into a deployment of endless.wasm"
    assert injection.words == ("failed",)
    assert injection.seconds > 1
    assert faults.attempt(Fault("nothing", "", lambda make: injection, "failed")).usable == AT_ONCE


def test_power_cut_in_a_deployment(faults, board):
    finding = faults.attempt(
        Fault("cut", "", lambda make: make.cut_power(during=make.long_module(), at=0.1), "LineClosed", FRESH)
    )
    assert (finding.grade, finding.usable) == (HELD, FRESH), finding
    assert "QEMU was switched off" in finding.did
    assert "0.100 s into a deployment of endless.wasm" in finding.done
    assert board.up


@pytest.mark.slow  # a cold boot; tests/unit/test_faults.py cuts the boot of a small machine
def test_the_error_of_a_cut_boot_names_its_stage(faults):
    injection = faults.cut_power(stage="hypervisor")
    assert injection.words == ("LineClosed",)
    assert "did not reach stage 'hypervisor'" in injection.did
    assert "last reached: guest init" in injection.did


def test_a_broken_agent_is_broken_and_found(faults, guest):
    def hide(make: Injector):
        guest.run("mv /usr/bin/wasmedge_emit /usr/bin/hidden", check=True)
        return make.module("greeting")

    finding = faults.attempt(Fault("hidden", "", hide))
    assert (finding.grade, finding.usable, finding.verdict) == (BROKEN, FRESH, "no-agent"), finding
    assert finding.good


def test_a_lie_is_wrong(faults):
    """A module that never ends and is said to have ended well, for example."""
    honest = fault("module-endless")
    finding = faults.attempt(replace(honest, inject=lambda make: make.module("greeting")))
    assert (finding.grade, finding.verdict) == (WRONG, "exited"), finding


def test_each_wrong_request_is_refused(guest):
    answers = Probe(guest).requests([request for request, _ in BAD_REQUESTS])
    for (request, wrong), answer in zip(BAD_REQUESTS, answers, strict=True):
        assert bool(answer) == wrong, f"{request} was answered with {answer}"


def test_a_run_of_rubbish_ends_by_its_verdict(guest, runner, sample):
    assert Probe(guest).requests([Request(1, 8, 16), Request(2, 16), Request(3), Request(5), Request(99)]) == (
        0,
        0,
        0,
        0,
        1,
    )
    assert runner.run(sample("hello.wasm")).good


def test_the_same_seed_makes_the_same_faults(runner):
    one, same, other = (Injector(runner, seed=seed).malformed(3) for seed in (5, 5, 6))
    assert one.done == same.done
    assert one.did == same.did
    assert one.done != other.done


def test_a_line_that_loses_bytes_is_never_lied_about(faults):
    finding = faults.attempt(
        Fault("loss", "", lambda make: make.line_noise(Faults(drop=5e-3), Faults()), fault("line-noise").ought)
    )
    assert finding.good, finding
    assert "lied" not in finding.verdict
    assert faults.board.line.tap is None


def test_an_unknown_name_is_told(faults):
    with pytest.raises(ConfigurationError, match="did you mean"):
        faults.attempt("panik")


def test_the_command_judges_by_its_exit_status(tmp_path):
    command = [sys.executable, "-c", "from hil.cli import main; main()", "fault", "inject", "module-trapping", "--json"]
    environment = {**os.environ, "HIL_TRANSCRIPTS": str(tmp_path)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=HANG)
    assert done.returncode == 0, done.stderr
    (finding,) = json.loads(done.stdout)
    assert (finding["grade"], finding["verdict"], finding["usable"]) == (HELD, "failed", AT_ONCE)
    assert Path(finding["transcript"]).is_file()
