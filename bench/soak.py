"""How many deployments does one boot stand, and does anything grow meanwhile? Usage: soak.py [N [MODULE [ARGUMENT...]]]

N deployments (200) of a sample (hello.wasm) on one boot, each compared with the sample's expected output. Ends with
status 1 where one was wrong or something surely grows.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

from hil.board.board import Board
from hil.guest import Guest
from hil.measure.memory import PAGE
from hil.measure.soak import soak
from hil.measure.soak_result import Allowances
from hil.stats.trend import trend
from hil.wasm import Runner, Samples


def main(number: int, file: str, arguments: list[str]) -> int:
    samples = Samples()
    case = next((one for one in samples[file].case if list(one.arguments) == arguments), None)
    if case is None:
        cases = ", ".join(" ".join(one.arguments) or "(none)" for one in samples[file].case)
        raise SystemExit(f"{file} has no expected output for {arguments}; it has for: {cases}")
    with tempfile.TemporaryDirectory() as directory, Board("qemu-reference", transcripts=Path(directory)) as board:
        board.boot()
        run = soak(Runner(Guest(board)), samples(file), *arguments, deployments=number, problems=case.problems)
        print(run, run.failure, sep="\n")
    print(f"{run.done / run.seconds:.1f} deployments/s, {run.wrong} wrong of {run.done}")
    if run.deployment is not None and run.response is not None:
        rest = np.median(run.deployment.samples - run.response.samples)
        work = np.median(run.response.samples)
        print(f"of a deployment: the run {1e3 * work:.1f} ms, transfer and agent {1e3 * rest:.1f} ms,")
        between = run.seconds / run.done - float(np.mean(run.deployment.samples))
        print(f"beside it {1e3 * between:.1f} ms: typing, reading, looking at memory each {run.every}")
    allowed = Allowances().memory
    grown = [
        one.quantity for one in run.memory
        if trend(one.samples, every=run.every, quantum=PAGE).grows(allowed[one.quantity].value)
    ]  # fmt: skip
    print(f"grows: {', '.join(grown) or 'nothing'}")
    return 1 if grown or run.wrong else 0


if __name__ == "__main__":
    words = sys.argv[1:]
    file, arguments = (words[1], words[2:]) if len(words) > 1 else ("hello.wasm", [])
    sys.exit(main(int(words[0]) if words else 200, file, arguments))
